"""Reads what the Secrets with the credentials of clients hold, in the agent's mounts: API keys, keys of tokens.

`secret_watcher` calls them every two seconds, as it does those of `certificates`. Whatever can't be used is
`UnusableSecret`, or is left out and said, with a reason that never holds a part of a secret: it ends up in the log.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate_serving.certificates import settled
from headgate_serving.errors import UnusableSecret

TOKEN_KEYS = "jwks.json"

SHORTEST_KEY = 16
"""Characters of an API key. Nobody counts wrong guesses, so a key has to be beyond guessing."""

_API_KEY = re.compile(rf"[!-~]{{{SHORTEST_KEY},4096}}")
_RSA_BYTES = 256
_CURVES = {"P-256": 32, "P-384": 48, "P-521": 66}
_PUBLIC = ("kty", "kid", "alg", "use", "crv", "n", "e", "x", "y")


def read_api_keys(mount: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The key of each client by its name, and what is wrong with those that are left out."""
    return settled(mount, _api_keys)


def read_token_keys(mount: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """The public keys of `jwks.json`, and what is wrong with those that are left out. UnusableSecret without any."""
    return settled(mount, _token_keys)


def _api_keys(place: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    values = {file.name: file.read_bytes() for file in sorted(place.iterdir()) if not file.name.startswith("..")}
    # A line's end is not meant: `kubectl create secret --from-file` brings it along.
    keys = {client: value.decode("ascii", "replace").strip() for client, value in values.items()}
    wrong = {client: "is no key" for client, key in keys.items() if not _API_KEY.fullmatch(key)}
    wrong |= {client: f"is shorter than {SHORTEST_KEY}" for client, key in keys.items() if len(key) < SHORTEST_KEY}
    owners: dict[str, list[str]] = {}
    for client, key in keys.items():
        owners.setdefault(key, []).append(client)
    # Who of them it is can't be told, so it is nobody.
    wrong |= {client: "is another client's too" for several in owners.values() if several[1:] for client in several}
    if not keys.keys() - wrong.keys():
        raise UnusableSecret("; ".join(["the Secret has no usable key", *_told(wrong)]))
    return {client: key for client, key in keys.items() if client not in wrong}, tuple(_told(wrong))


def _told(wrong: Mapping[str, str]) -> list[str]:
    return [f"the key of {client} {reason}" for client, reason in sorted(wrong.items())]


def _token_keys(place: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    text = (place / TOKEN_KEYS).read_bytes()
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UnusableSecret(f"{TOKEN_KEYS} is no JSON with a list of keys") from None
    if not isinstance(keys, list):
        raise UnusableSecret(f"keys of {TOKEN_KEYS} is no list")
    found, wrong = list[dict[str, str]](), list[str]()
    for number, key in enumerate(keys):
        try:
            _check_token_key(key)
        except ValueError as error:
            wrong.append(f"keys[{number}] of {TOKEN_KEYS} is left out: {error}")
        else:
            found.append({name: key[name] for name in _PUBLIC if isinstance(key.get(name), str)})
    if not found:
        raise UnusableSecret("; ".join([f"{TOKEN_KEYS} has no usable key", *wrong]))
    return found, tuple(wrong)


def _check_token_key(key: object) -> None:
    """ValueError unless it is a public key that is good enough to trust what it signed."""
    if not isinstance(key, Mapping):
        raise ValueError("it is no object")  # noqa: TRY004 - caught with the others
    if key.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures")
    match key.get("kty"):
        case "RSA":
            if len(_number(key, "n")) < _RSA_BYTES:
                raise ValueError("it has less than 2048 bits")
            _number(key, "e")
        case "EC":
            length = _CURVES.get(str(key.get("crv")))
            if length is None:
                raise ValueError("its curve is none of P-256, P-384 and P-521")
            if any(len(_bytes(key, name)) != length for name in ("x", "y")):
                raise ValueError("it is no point of its curve")
        case "OKP":
            if key.get("crv") != "Ed25519" or len(_bytes(key, "x")) != 32:
                raise ValueError("it is no Ed25519 key")
        case "oct":
            raise ValueError("it is symmetric: who checks tokens by it could make them")
        case _:
            raise ValueError("its kty is none of RSA, EC and OKP")


def _number(key: Mapping[str, Any], name: str) -> bytes:
    return _bytes(key, name).lstrip(b"\0")


def _bytes(key: Mapping[str, Any], name: str) -> bytes:
    text = key.get(name)
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+=*", text):
        raise ValueError(f"its {name} is no base64url")
    try:
        return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error:
        raise ValueError(f"its {name} is no base64url") from None
