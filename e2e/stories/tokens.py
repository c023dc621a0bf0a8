"""Makes tokens (JWT), good ones and bad ones, and the documents with the keys that check them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER, AUDIENCE = "https://issuer.example/", "fraud"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass
class Signer:
    """Somebody who makes tokens."""

    kid: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    @staticmethod
    def rsa(kid: str, bits: int = 2048) -> Signer:
        return Signer(kid, rsa.generate_private_key(65537, bits))

    @staticmethod
    def ec(kid: str) -> Signer:
        return Signer(kid, ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, str]:
        """The public key."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            public = self.private.public_key().public_numbers()
            return {"kty": "RSA", "kid": self.kid, "n": number(public.n), "e": number(public.e)}
        point = self.private.public_key().public_numbers()
        x, y = (encoded(value.to_bytes(32, "big")) for value in (point.x, point.y))
        return {"kty": "EC", "kid": self.kid, "crv": "P-256", "x": x, "y": y}

    def token(self, **claims: Any) -> str:
        """A good one, but for what `claims` change; None leaves a claim out."""
        algorithm = "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"
        signed = unsigned({"alg": algorithm, "kid": self.kid}, **claims)
        return f"{signed}.{encoded(self._signature(signed.encode()))}"

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def unsigned(header: dict[str, str], **claims: Any) -> str:
    """Header and claims."""
    every = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": int(time.time()) + 600} | claims
    kept = {name: value for name, value in every.items() if value is not None}
    return ".".join(encoded(json.dumps(part).encode()) for part in (header, kept))


def by_secret(kid: str, secret: bytes, **claims: Any) -> str:
    """A token signed by what everybody who checks it knows too."""
    signed = unsigned({"alg": "HS256", "kid": kid}, **claims)
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def jwks(*keys: Any) -> str:
    return json.dumps({"keys": [key.jwk if isinstance(key, Signer) else key for key in keys]})
