"""Volumes that hold a certificate: of model pods, and of whoever asks those (routers, a preflight)."""

from headgate.core.manifests.metadata import Manifest

READABLE = 0o440
"""By the group, which is a container's own user."""

IDENTITY_KEYS = ("tls.crt", "tls.key", "ca.crt")
"""Of a Secret of cert-manager's: what is shown, its key, and who vouches for the other side."""


def identity_volume(name: str, secret: str) -> Manifest:
    """One side of mutual TLS. The pod waits for the Secret, and for all of its keys: it could do nothing without."""
    items = [{"key": key, "path": key} for key in IDENTITY_KEYS]
    return {"name": name, "secret": {"secretName": secret, "defaultMode": READABLE, "items": items}}


def identity_mount(name: str, folder: str) -> Manifest:
    """Where it is."""
    return {"name": name, "mountPath": folder, "readOnly": True}
