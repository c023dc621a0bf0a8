"""Certificates and kubeconfigs: one authority per cluster, one identity per component, as kubeadm does it."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .layout import API_PORT, API_SERVICE_IP, NODE, NODE_IP, Layout

VALID = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Authority:
    """A certificate and the key that signs with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def issue(layout: Layout) -> None:
    """Write all certificates, keys and kubeconfigs of a cluster."""
    folder = layout.certificates
    folder.mkdir(parents=True, mode=0o700)
    cluster = _authority(folder, "ca")
    front_proxy = _authority(folder, "front-proxy-ca")
    _certificate(folder, "front-proxy-client", front_proxy, "front-proxy-client")
    _certificate(
        folder,
        "apiserver",
        cluster,
        "kube-apiserver",
        names=["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"],
        addresses=[API_SERVICE_IP, NODE_IP, "127.0.0.1"],
    )
    _certificate(folder, "kubelet-serving", cluster, f"system:node:{NODE}", names=[NODE], addresses=[NODE_IP])
    _certificate(folder, "apiserver-kubelet-client", cluster, "headgate:apiserver", group="system:masters")
    _write_key(folder / "service-account.key", ec.generate_private_key(ec.SECP256R1()))
    clients = {
        "controller-manager": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "kubelet": (f"system:node:{NODE}", "system:nodes"),
        "kube-proxy": ("system:kube-proxy", ""),
        "coredns": ("headgate:coredns", ""),
        "admin": ("headgate:admin", "system:masters"),
    }
    for name, (user, group) in clients.items():
        _certificate(folder, name, cluster, user, group=group)
        _kubeconfig(layout, name, layout.kubeconfig if name == "admin" else folder / f"{name}.kubeconfig")


def _authority(folder: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"headgate-{name}")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        # Python's own TLS client insists on both identifiers.
        .add_extension(identifier, critical=False)
    )
    authority = Authority(builder.sign(key, hashes.SHA256()), key)
    _write(folder, name, authority)
    return authority


def _certificate(
    folder: Path,
    name: str,
    authority: Authority,
    user: str,
    *,
    group: str = "",
    names: list[str] | None = None,
    addresses: list[str] | None = None,
) -> None:
    """Issue one certificate; with names or addresses it is a server's, without a client's."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    alternatives = [
        *(x509.DNSName(each) for each in names or []),
        *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses or []),
    ]
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if alternatives else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(x509.Name(attributes), authority.certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    _write(folder, name, Authority(builder.sign(authority.key, hashes.SHA256()), key))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is set back a little must not make a running cluster invalid.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALID)
    )


def _write(folder: Path, name: str, pair: Authority) -> None:
    (folder / f"{name}.crt").write_bytes(pair.certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(folder / f"{name}.key", pair.key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    _write_private(path, pem)


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _kubeconfig(layout: Layout, name: str, place: Path) -> None:
    """Write a kubeconfig that holds all it needs, so that it can be copied."""
    pki = layout.certificates
    context = f"headgate-{layout.name}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": f"https://{NODE_IP}:{API_PORT}",
                    "certificate-authority-data": _base64(pki / "ca.crt"),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _base64(pki / f"{name}.crt"),
                    "client-key-data": _base64(pki / f"{name}.key"),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
        "current-context": context,
    }
    _write_private(place, yaml.safe_dump(config).encode())


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
