"""Child objects as plain dicts, built from a resource and its revisions by plain functions."""

from headgate.core.manifests.metadata import Manifest
from headgate.core.manifests.resource import revision_manifest
from headgate.core.manifests.runtime import runtime_manifests

__all__ = ["Manifest", "revision_manifest", "runtime_manifests"]
