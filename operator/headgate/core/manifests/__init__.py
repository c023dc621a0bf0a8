"""Child objects as plain dicts, built from a resource and its revisions by plain functions."""

from headgate.core.manifests.metadata import Manifest
from headgate.core.manifests.published import published_state
from headgate.core.manifests.resource import revision_manifest
from headgate.core.manifests.router import router_manifests, router_name
from headgate.core.manifests.runtime import runtime_manifests

__all__ = ["Manifest", "published_state", "revision_manifest", "router_manifests", "router_name", "runtime_manifests"]
