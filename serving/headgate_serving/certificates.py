"""Certificates in Secrets of cert-manager's form (`tls.crt`, `tls.key`, `ca.crt`), as a kubelet mounts them.

The runtime shows one to routers, routers and the preflight show one to it, and both look at who vouches for the other's
(`Identity`); a router shows one to users. All files of one state are read together, and contexts are made of what was
read, so a Secret that changes meanwhile is never half of each.

Both sides speak TLS 1.3 alone, and no session is resumed: that would let a client in whom nobody vouches for any more.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .errors import UnusableSecret

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Certificate:
    """As PEM: the certificate with what leads to its root, and its private key."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """One side of mutual TLS: what it shows, and as PEM the authority that has to vouch for the other side's."""

    certificate: Certificate
    authority: str


def read_certificate(mount: Path) -> Certificate:
    """The certificate, if its key belongs to it; else UnusableSecret."""
    found = settled(mount, _certificate)
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), found)
    return found


def read_authority(mount: Path) -> str:
    """The certificates, as PEM, of those who may vouch for the other side; UnusableSecret if they are none."""
    text = settled(mount, _authority)
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), text)
    return text


def read_identity(mount: Path) -> Identity:
    """As the files are; `server_context` and `client_context` find out whether they can be used. UnusableSecret."""
    return settled(mount, lambda place: Identity(_certificate(place), _authority(place)))


def server_context(identity: Identity, protocol: str) -> ssl.SSLContext:
    """Lets in who shows a certificate that the authority vouches for; `protocol` as ALPN calls it. UnusableSecret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    return _prepared(context, identity, protocol)


def client_context(identity: Identity, protocol: str) -> ssl.SSLContext:
    """Asks only whom the authority vouches for under the name that is asked for. UnusableSecret."""
    return _prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), identity, protocol)


def settled(mount: Path, read: Callable[[Path], _T]) -> _T:
    """What `read` makes of one state of the mount: the kubelet replaces all files at once, by one link."""
    link = mount / "..data"
    while True:
        place = link.resolve() if link.exists() else mount
        try:
            return read(place)
        except OSError as error:
            if link.exists() and link.resolve() != place:
                continue
            raise UnusableSecret(
                f"the Secret does not exist, or has no {Path(error.filename or mount).name}"
            ) from error


def _prepared(context: ssl.SSLContext, identity: Identity, protocol: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([protocol])
    _load(context, identity.certificate)
    _trust(context, identity.authority)
    return context


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """OpenSSL takes them from a file only: from one that is in memory alone, and has no name."""
    with os.fdopen(os.memfd_create("certificate"), "w") as file:
        file.write(f"{certificate.chain}\n{certificate.key}\n")
        file.flush()
        try:
            # A password would be asked for at a terminal.
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
        except ssl.SSLError as error:
            reason = error.reason or "neither is PEM"
            raise UnusableSecret(f"{CERTIFICATE} and {KEY} can't be used: {reason}") from None


def _trust(context: ssl.SSLContext, authority: str) -> None:
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "it is no PEM"
        raise UnusableSecret(f"{AUTHORITY} can't be used: {reason}") from None


def _certificate(place: Path) -> Certificate:
    return Certificate(_pem(place / CERTIFICATE), _pem(place / KEY))


def _authority(place: Path) -> str:
    return _pem(place / AUTHORITY)


def _pem(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except UnicodeDecodeError:
        raise UnusableSecret(f"{file.name} is no PEM") from None
