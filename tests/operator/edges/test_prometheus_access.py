"""How Prometheus is reached: credentials from files, headers, certificates, addresses; and what is shown of it."""

import os
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest

from headgate.edges.prometheus import Prometheus
from headgate.edges.prometheus_access import Access, host_of
from headgate.errors import MetricsError, SettingsError
from headgate.settings import read_settings

IMAGES = {"HEADGATE_SERVING_IMAGE": "s:1", "HEADGATE_ENVOY_IMAGE": "e:1"}
TIME = {"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}


class Servers:
    """Answers by host; whoever is not named refuses connections."""

    def __init__(self, access: Access, **answers: Any) -> None:
        self.answers: dict[str, Any] = answers
        self.asked: list[httpx.Request] = []
        self.source = Prometheus(access, self._connect)
        self.made = 0

    def _connect(self, url: str, **options: Any) -> httpx.AsyncClient:
        self.made += 1
        return httpx.AsyncClient(transport=httpx.MockTransport(self._handle), **options)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.get(request.url.host)
        if answer is None:
            raise httpx.ConnectError(f"no connection to {request.url}")
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.asked]


async def test_a_token_is_read_anew_for_each_question(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    servers = Servers(Access(("http://a",), credentials=tmp_path), a=TIME)
    await servers.source.now()
    token.write_text("two")
    await servers.source.now()
    assert [each.headers["authorization"] for each in servers.asked] == ["Bearer one", "Bearer two"]


async def test_user_and_password_and_further_headers_are_sent(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("headgate")
    (tmp_path / "password").write_text("pa55")
    servers = Servers(Access(("http://a",), headers={"X-Scope-OrgID": "team"}, credentials=tmp_path), a=TIME)
    await servers.source.now()
    (asked,) = servers.asked
    assert asked.headers["authorization"] == httpx.BasicAuth("headgate", "pa55")._auth_header
    assert asked.headers["x-scope-orgid"] == "team"
    assert asked.headers["accept-encoding"] == "identity"


async def test_without_credentials_none_are_sent(tmp_path: Path) -> None:
    servers = Servers(Access(("http://a",), credentials=tmp_path), a=TIME)
    await servers.source.now()
    assert "authorization" not in servers.asked[0].headers


async def test_credentials_that_can_not_be_read_are_a_metrics_error(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(MetricsError, match=r"token of prometheus\.auth"):
        await Servers(Access(("http://a",), credentials=tmp_path), a=TIME).source.now()


async def test_the_first_address_that_answers_is_asked_from_then_on() -> None:
    servers = Servers(Access(("http://a", "http://b/prefix/")), b=TIME)
    assert await servers.source.now() == 1.0
    assert await servers.source.now() == 1.0
    assert servers.hosts == ["a", "b", "b"]
    assert servers.asked[-1].url.path == "/prefix/api/v1/query"
    servers.answers = {"a": TIME, "b": httpx.Response(503, text="no")}
    await servers.source.now()
    assert servers.hosts[3:] == ["b", "a"]


async def test_where_none_answers_all_are_named() -> None:
    with pytest.raises(MetricsError, match=r"http://a can't be asked.*http://b:9090 refused"):
        refused = httpx.Response(400, json={"status": "error", "error": "bad"})
        await Servers(Access(("http://a", "http://b:9090")), b=refused).source.now()


async def test_who_rotates_certificates_restarts_nothing(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(certifi.contents())
    servers = Servers(Access(("https://a",), ca=ca), a=TIME)
    for _ in range(2):
        await servers.source.now()
    assert servers.made == 1
    os.utime(ca, (1, 1))
    await servers.source.now()
    assert servers.made == 2


async def test_a_certificate_that_can_not_be_used_is_a_metrics_error(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(MetricsError, match="http"):
        await Servers(Access(("https://a",), ca=tmp_path / "ca.crt"), a=TIME).source.now()
    with pytest.raises(MetricsError, match="http"):
        await Servers(Access(("https://a",), ca=tmp_path / "none"), a=TIME).source.now()


SECRET = "s3cr3t-pa55"


@pytest.mark.parametrize(
    "url", [f"http://headgate:{SECRET}@a", f"http://a/{SECRET}/x", f"http://a?token={SECRET}", f"http://{SECRET}@a:1"]
)
async def test_no_message_shows_more_than_the_host(url: str) -> None:
    answers: list[Any] = [
        None,
        httpx.Response(401, text="no"),
        httpx.Response(200, text="ok"),
        {"status": "success", "data": {}},
    ]
    for answer in answers:
        with pytest.raises(MetricsError) as raised:
            await Servers(Access((url,)), a=answer).source.now()
        assert SECRET not in str(raised.value)
        assert "http://a" in str(raised.value)
    assert SECRET not in host_of(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "http://user:pass@prometheus"),
        ("URL", "http://good,http://user@prometheus"),
        ("URL", "ftp://prometheus"),
        ("URL", ""),
        ("HEADERS", '{"X Y": "a"}'),
        ("HEADERS", '{"X-Y": "a\\nb: c"}'),
        ("HEADERS", "no"),
        ("MATCHERS", '{"clus-ter": "a"}'),
    ],
)
def test_settings_that_can_not_be_right_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"HEADGATE_PROMETHEUS_{name}"):
        read_settings({**IMAGES, f"HEADGATE_PROMETHEUS_{name}": value})


def test_settings_say_how_prometheus_is_reached(tmp_path: Path) -> None:
    told = {
        "URL": "http://a:9090,https://b/prometheus",
        "MATCHERS": '{"cluster": "a"}',
        "HEADERS": '{"X-Scope-OrgID": "team"}',
        "AUTH": str(tmp_path),
        "CA": str(tmp_path / "ca.crt"),
    }
    access = read_settings(
        {**IMAGES, **{f"HEADGATE_PROMETHEUS_{name}": value for name, value in told.items()}}
    ).prometheus
    assert access == Access(
        ("http://a:9090", "https://b/prometheus"),
        {"cluster": "a"},
        {"X-Scope-OrgID": "team"},
        tmp_path,
        tmp_path / "ca.crt",
    )
