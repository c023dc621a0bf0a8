"""Secrets as the kubelet mounts them, and certificates to put into them."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_numbers = itertools.count()


@dataclass
class Mount:
    """All files of one state are behind one link, which is replaced whole."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir()

    def fill(self, **files: str | bytes) -> None:
        """Underscores in names stand for points: `tls_crt`."""
        place = self.root / f"..state-{next(_numbers)}"
        place.mkdir()
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            Path(place, name.replace("_", ".")).write_bytes(data)
        link = self.root / "..data"
        before = link.resolve() if link.exists() else None
        beside = self.root / "..data_tmp"
        beside.symlink_to(place.name)
        beside.replace(link)
        for name in set(files) - {file.name for file in self.root.iterdir()}:
            visible = self.root / name.replace("_", ".")
            if not visible.is_symlink():
                visible.symlink_to(f"..data/{visible.name}")
        if before:
            for file in before.iterdir():
                file.unlink()
            before.rmdir()


@dataclass
class Pair:
    """A certificate and its key, as PEM."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key(self) -> str:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def issue(self, name: str, *, days: int = 1) -> "Pair":
        """Signed by this one; it has ended already where `days` are negative."""
        return _made(name, self, days)


def authority(name: str) -> Pair:
    return _made(name, None, 1)


def _made(name: str, issuer: Pair | None, days: int) -> Pair:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.now(UTC) + timedelta(days=days)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=10))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(names, critical=False)
    )
    return Pair(builder.sign(issuer.private if issuer else private, hashes.SHA256()), private)
