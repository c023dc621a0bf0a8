"""The ModelRevision object."""

from headgate.api import API_VERSION
from headgate.api.stored import as_manifest
from headgate.core.manifests.metadata import Manifest, metadata
from headgate.core.model import Observation, RevisionView


def revision_manifest(o: Observation, view: RevisionView) -> Manifest:
    """A ModelRevision, without its status."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelRevision",
        "metadata": metadata(o, view.name, "runtime", view.name),
        "spec": as_manifest(view.spec),
    }
