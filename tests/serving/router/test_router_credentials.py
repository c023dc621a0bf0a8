"""What of a Secret is used, and what is said of the rest: never a part of it."""

import json
from pathlib import Path

import pytest

from headgate_serving.certificates import read_authority, read_certificate
from headgate_serving.errors import UnusableSecret
from headgate_serving.router.envoy.credentials import read_api_keys, read_token_keys
from router_mounts import Mount
from stories.tokens import Signer, encoded, jwks

GOOD_RSA, GOOD_EC = Signer.rsa("a"), Signer.ec("b")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "mount")


def test_keys_are_read_by_their_clients_names(mount: Mount) -> None:
    mount.fill(shop="0123456789abcdef\n", bank="fedcba9876543210")
    assert read_api_keys(mount.root) == ({"shop": "0123456789abcdef", "bank": "fedcba9876543210"}, ())


def test_keys_that_can_not_be_used_are_left_out_and_said(mount: Mount) -> None:
    mount.fill(shop="0123456789abcdef", short="secret", odd="0123456789 abcdef", raw=b"\xff" * 20)
    keys, wrong = read_api_keys(mount.root)
    assert keys == {"shop": "0123456789abcdef"}
    assert wrong == ("the key of odd is no key", "the key of raw is no key", "the key of short is shorter than 16")


def test_clients_with_the_same_key_are_nobody(mount: Mount) -> None:
    mount.fill(shop="0123456789abcdef", bank="0123456789abcdef", post="fedcba9876543210")
    keys, wrong = read_api_keys(mount.root)
    assert keys == {"post": "fedcba9876543210"}
    assert wrong == ("the key of bank is another client's too", "the key of shop is another client's too")


@pytest.mark.parametrize("files", [{}, {"shop": ""}, {"shop": "short"}])
def test_without_a_key_the_secret_is_unusable(mount: Mount, files: dict[str, str]) -> None:
    mount.fill(**files)
    with pytest.raises(UnusableSecret, match="no usable key"):
        read_api_keys(mount.root)


def test_public_keys_are_read_and_nothing_else_of_them(mount: Mount) -> None:
    mount.fill(jwks_json=jwks(GOOD_RSA.jwk | {"d": "private", "use": "sig"}, GOOD_EC))
    keys, wrong = read_token_keys(mount.root)
    assert keys == [GOOD_RSA.jwk | {"use": "sig"}, GOOD_EC.jwk]
    assert wrong == ()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param({"kty": "oct", "k": encoded(b"secret" * 8)}, "symmetric", id="symmetric"),
        pytest.param(Signer.rsa("short", 1024), "less than 2048 bits", id="short"),
        pytest.param(GOOD_RSA.jwk | {"n": "!"}, "its n is no base64url", id="garbage"),
        pytest.param(GOOD_RSA.jwk | {"use": "enc"}, "not for signatures", id="for encryption"),
        pytest.param(GOOD_EC.jwk | {"crv": "P-192"}, "its curve is none of", id="curve"),
        pytest.param(GOOD_EC.jwk | {"x": encoded(b"1")}, "no point", id="no point"),
        pytest.param({"kty": "OKP", "crv": "X25519", "x": encoded(bytes(32))}, "no Ed25519", id="X25519"),
        pytest.param({}, "its kty is none of", id="nothing"),
        pytest.param("key", "it is no object", id="text"),
    ],
)
def test_keys_that_prove_nothing_are_left_out_and_said(mount: Mount, key: object, reason: str) -> None:
    mount.fill(jwks_json=jwks(GOOD_EC, key))
    keys, (wrong,) = read_token_keys(mount.root)
    assert keys == [GOOD_EC.jwk]
    assert wrong.startswith("keys[1] of jwks.json is left out: ")
    assert reason in wrong
    mount.fill(jwks_json=jwks(key))
    with pytest.raises(UnusableSecret, match="no usable key"):
        read_token_keys(mount.root)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", "null", '{"keys": 5}', '{"keys": []}', "[" * 100_000, json.dumps({"keys": {}})]
)
def test_what_is_no_set_of_keys_is_unusable(mount: Mount, text: str) -> None:
    mount.fill(jwks_json=text)
    with pytest.raises(UnusableSecret):
        read_token_keys(mount.root)


@pytest.mark.parametrize("read", [read_certificate, read_authority, read_token_keys])
def test_a_secret_that_is_not_there_is_said(mount: Mount, read: object) -> None:
    for root in (mount.root, mount.root / "missing"):
        with pytest.raises(UnusableSecret, match="does not exist, or has no"):
            read(root)  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_authority_is_unusable(mount: Mount, text: str) -> None:
    mount.fill(ca_crt=text)
    with pytest.raises(UnusableSecret, match=r"ca\.crt can't be used"):
        read_authority(mount.root)
