"""What the operator tells a router about its protection, and that the agent understands it."""

from pathlib import Path
from typing import Any

import pytest

from headgate_serving.router.agent import parse_arguments
from headgate_serving.router.policy.protection import ApiKeys, Protection, Tls, Tokens, protection_of
from manifests_of import children, pod, serving

TOKENS = {"secret": "issuer", "issuer": "--issuer", "audiences": ["fraud", "$(HOME)"]}


def router(**traffic: Any) -> tuple[Any, ...]:
    world = serving(traffic=traffic)
    found = children(world)
    return found["Service", "fraud"], pod(found["Deployment", "fraud-router"])


def understood(template: dict[str, Any]) -> Protection:
    (agent,) = template["initContainers"]
    words = [word.replace("$(ENVOY_MEMORY_MIB)", "512").replace("$$", "$") for word in agent["args"]]
    return protection_of(parse_arguments(words))


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        ({}, Protection()),
        ({"accessLog": "Errors"}, Protection(access_log="Errors")),
        ({"tls": {"secret": "web"}}, Protection(Tls(Path("/secrets/tls")))),
        ({"tls": {"secret": "web", "verifyClients": True}}, Protection(Tls(Path("/secrets/tls"), verify_clients=True))),
        (
            {"authentication": {"apiKeys": {"secret": "keys", "header": "X-Key"}}},
            Protection(authentication=ApiKeys(Path("/secrets/api-keys"), "X-Key")),
        ),
        (
            {"authentication": {"jwt": TOKENS}},
            Protection(authentication=Tokens(Path("/secrets/jwks"), "--issuer", ("fraud", "$(HOME)"))),
        ),
    ],
)
def test_the_agent_understands_what_it_is_told(traffic: dict[str, Any], expected: Protection) -> None:
    _, template = router(**traffic)
    assert understood(template) == expected


def test_secrets_are_mounted_where_the_agent_looks_and_hold_up_no_pod() -> None:
    _, template = router(tls={"secret": "web"}, authentication={"jwt": TOKENS})
    volumes = {volume["name"]: volume["secret"] for volume in template["volumes"] if "secret" in volume}
    assert {name: volume["secretName"] for name, volume in volumes.items()} == {"tls": "web", "jwks": "issuer"}
    assert all(volume["optional"] for volume in volumes.values())
    assert [item["key"] for item in volumes["tls"]["items"]] == ["tls.crt", "tls.key"]
    (agent,), (envoy,) = template["initContainers"], template["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"] if mount["name"] in volumes}
    assert mounts == {"tls": "/secrets/tls", "jwks": "/secrets/jwks"}
    assert [mount["name"] for mount in envoy["volumeMounts"]] == ["xds"]


@pytest.mark.parametrize(("tls", "name", "web"), [(None, "http", 80), ({"secret": "web"}, "https", 443)])
def test_no_port_of_the_service_leads_to_both_plain_text_and_tls(
    tls: dict[str, Any] | None, name: str, web: int
) -> None:
    service, template = router(tls=tls)
    ports = service["spec"]["ports"]
    assert [(port["port"], port["targetPort"]) for port in ports] == [(web, name), (8001, name)]
    (envoy,) = template["containers"]
    assert [port["name"] for port in envoy["ports"]] == [name, "metrics"]
    assert envoy["readinessProbe"]["httpGet"]["port"] == "metrics"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--verify-clients"], id="clients without TLS"),
        pytest.param(["--jwks", "/x"], id="tokens of anybody"),
        pytest.param(["--jwks", "/x", "--jwt-issuer=i"], id="tokens for anybody"),
    ],
)
def test_an_agent_that_is_told_half_does_not_start(words: list[Any]) -> None:
    options = parse_arguments(["--namespace", "ns", "--model", "fraud", "--xds-dir", "/xds", *words])
    with pytest.raises(ValueError, match="needs"):
        protection_of(options)


def test_an_agent_that_does_not_understand_does_not_start() -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--namespace", "ns", "--model", "fraud", "--xds-dir", "/xds", "--protect-me"])
