"""What clients may do to the router and, through it, to the model: the right refusal, and nothing reaches a pod."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api.policy import RateLimit
from headgate.api.quantities import DURATION_PATTERN
from headgate.api.spec import Spec
from headgate.core.dataplane.policy import SECONDS, resolved
from headgate_serving.router.envoy.config import bootstrap
from headgate_serving.router.policy.traffic import Intent, Target, parse_deployment
from patience import PATIENCE
from router_envoy import Router, answering, prepared, running_envoy
from router_policies import with_policy
from router_upstreams import Upstream, serving

INFER = "/v2/models/fraud/infer"
SLOW_OR_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The fixture is one Envoy for all examples, and a busy machine is slow to make them."""
HEADERS_WITHIN = 2.0


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """An Envoy of its own: this one is less patient with slow clients."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(bootstrap, "HEADERS_WITHIN_MS", round(1000 * HEADERS_WITHIN))
        router = prepared(tmp_path_factory.mktemp("strict"))
        stack.enter_context(answering(router))
        stack.enter_context(running_envoy(router))
        yield router


@pytest.fixture
async def pod(strict: Router) -> AsyncIterator[Upstream]:
    """The only pod of a model that takes bodies of up to 1000 bytes."""
    pod = Upstream("fraud-1a2b3c4d")
    async with serving(pod):
        await follow(strict, pod, max_body_bytes=1000)
        yield pod


async def follow(router: Router, pod: Upstream, **limits: Any) -> None:
    intent = Intent((Target(pod.name, "stable", 1000),))
    await router.follow(with_policy(intent, **limits), {pod.name: (pod.endpoint,)})
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        while not await router.follows_routes() or await ask(session, router) == 503:  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(0.01)
    pod.requests = 0


async def ask(session: aiohttp.ClientSession, router: Router, body: bytes = b"{}", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.post(f"{router.url}{INFER}", data=body, headers=named) as response:
        await response.read()
        return response.status


async def raw(router: Router, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What comes back for bytes that no client library would send, until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", router.layout.inference_port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def request(*headers: str, body: str = "", path: str = INFER) -> bytes:
    head = "".join(f"{header}\r\n" for header in ("Host: fraud", "Connection: close", *headers))
    return f"POST {path} HTTP/1.1\r\n{head}\r\n{body}".encode()


async def test_a_body_that_is_too_large_gets_413(strict: Router, pod: Upstream) -> None:
    async with aiohttp.ClientSession() as session:
        assert await ask(session, strict, bytes(1000)) == 200
        async with session.post(f"{strict.url}{INFER}", data=bytes(1001)) as response:
            assert (response.status, await response.json()) == (413, {"error": "the request is too large"})
    assert pod.requests == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(request(*(f"x-{n}: 1" for n in range(120))), b"431", id="too many headers"),
        pytest.param(request(f"x-bomb: {'a' * (70 << 10)}"), b"431", id="a header that is too large"),
        pytest.param(request("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n"), b"400", id="both"),
        pytest.param(request("Transfer-Encoding: chunked, identity", body="0\r\n\r\n"), b"501", id="two codings"),
        pytest.param(request("Transfer-Encoding: xchunked", body="0\r\n\r\n"), b"501", id="an unknown coding"),
        pytest.param(request("Content-Length: 5", "Content-Length: 6", body="hello"), b"400", id="two lengths"),
        pytest.param(request("Content-Length: -5", body="hello"), b"400", id="a negative length"),
        pytest.param(request("x\x00y: 1"), b"400", id="a zero byte"),
        pytest.param(request(path="/v2%2f..%2fadmin"), b"400", id="an escaped slash"),
        pytest.param(request(path="/v2/../admin"), b"404", id="a way out"),
        pytest.param(request(path="/"), b"404", id="an unknown path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400", id="TLS"),
        pytest.param(b"hello\r\n\r\n", b"400", id="no HTTP"),
    ],
)
async def test_what_is_no_request_gets_the_right_refusal(
    strict: Router, pod: Upstream, sent: bytes, status: bytes
) -> None:
    answer = await raw(strict, sent)
    assert answer.split(b" ", 2)[1:2] == [status], answer[:200]
    assert pod.requests == 0


async def test_a_request_behind_another_ones_body_is_not_seen(strict: Router, pod: Upstream) -> None:
    hidden = request(path="/v2/hidden").decode()
    sent = request(f"Content-Length: {len(hidden)}", body=hidden)
    answer = await raw(strict, sent)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (answer.count(b"HTTP/1.1"), pod.requests) == (1, 1)


async def test_a_client_that_takes_its_time_for_the_head_gets_408(strict: Router, pod: Upstream) -> None:
    answer = await raw(strict, request()[:20], request()[20:40], pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert pod.requests == 0


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(b"\x00\x00\x04\x00\x00\x00\x00\x00\x00abcd", id="data without a stream"),
        pytest.param(b"\xff\xff\xff\x01\x04\x00\x00\x00\x01", id="a frame that is too large"),
        pytest.param(b"\x00\x00\x04\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff", id="headers that are none"),
        pytest.param(b"\x00\x00\x05\x04\x00\x00\x00\x00\x00abcde", id="settings of a wrong length"),
    ],
)
async def test_invalid_frames_end_their_connection_and_nothing_else(
    strict: Router, pod: Upstream, frames: bytes
) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    await raw(strict, preface + frames)
    assert pod.requests == 0
    async with aiohttp.ClientSession() as session:
        assert await ask(session, strict) == 200


async def test_a_client_that_asks_too_often_gets_429_and_takes_nothing_from_others(
    strict: Router, pod: Upstream
) -> None:
    await follow(strict, pod, rate_limit=RateLimit(5, 3600, "x-api-key"))
    async with aiohttp.ClientSession() as session:
        seen = Counter([await ask(session, strict, x_api_key="greedy") for _ in range(12)])
        assert seen == {200: 5, 429: 7}
        async with session.post(f"{strict.url}{INFER}", headers={"x-api-key": "greedy"}) as response:
            assert await response.json() == {"error": "this client asks too often"}
            assert response.headers["retry-after"] == "1"
        for number in range(5):
            assert await ask(session, strict, x_api_key=f"modest-{number}") == 200
        assert {await ask(session, strict) for _ in range(8)} == {200}  # whom nobody names is not limited
        async with session.get(f"{strict.url}/healthz", headers={"x-api-key": "greedy"}) as response:
            assert response.status == 200
    assert pod.requests == 18


async def test_without_a_header_the_address_is_the_client_and_grpc_is_counted_too(
    strict: Router, pod: Upstream
) -> None:
    await follow(strict, pod, rate_limit=RateLimit(5, 3600))
    async with aiohttp.ClientSession() as session:
        seen = Counter([await ask(session, strict) for _ in range(9)])
        assert seen[429] >= 4
        async with session.get(f"{strict.url}/healthz") as response:
            assert response.status == 200
    async with grpc.aio.insecure_channel(strict.url.removeprefix("http://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelInfer(service_pb2.ModelInferRequest(model_name="fraud"))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "this client asks too often"


async def test_more_connections_than_envoy_serves_are_not_the_models_business(strict: Router, pod: Upstream) -> None:
    idle = [socket.create_connection(("127.0.0.1", strict.layout.inference_port)) for _ in range(200)]
    try:
        async with aiohttp.ClientSession() as session:
            assert await ask(session, strict) == 200
    finally:
        for connection in idle:
            connection.close()
    assert pod.requests == 1


def test_the_log_of_envoy_has_no_payload(strict: Router) -> None:
    log = Path(strict.layout.root, "log").read_text()
    assert "hidden" not in log
    assert "greedy" not in log


names = st.text("abcXYZ019-_", min_size=1, max_size=100).filter(lambda name: name[0].isalnum())
values = st.text([chr(code) for code in range(0x21, 0x7F) if chr(code) != ";"], min_size=1, max_size=256)
selectors = st.one_of(names.map(lambda name: {"header": name}), names.map(lambda name: {"cookie": name}))
how: st.SearchStrategy[dict[str, str]] = st.one_of(
    values.map(lambda value: {"exact": value}), values.map(lambda value: {"prefix": value}), st.just({})
)
roles = st.sampled_from([{}, {"role": "candidate"}, {"role": "stable"}])
matches = st.builds(lambda *parts: {key: value for part in parts for key, value in part.items()}, selectors, how, roles)
rates = st.fixed_dictionaries(
    {"requests": st.integers(1, 10_000_000)},
    optional={"unit": st.sampled_from(list(SECONDS)), "header": names},
)
models = st.text("abz019", max_size=38).map(lambda text: {"modelDeployment": f"m{text}"})
statics = st.integers(0, 255).map(
    lambda value: {"static": {"outputs": [{"name": "y", "datatype": "UINT8", "shape": [-1], "data": [value]}]}}
)
fallbacks = st.builds(lambda models, last: models + last, st.lists(models, max_size=3), st.lists(statics, max_size=1))


def accepted(section: str, field: str, value: object) -> bool:
    """Whether the API server would take it, as the only wish."""
    spec = {"model": {"version": "v1", "uri": "file:///m"}, section: {field: value}}
    try:
        Spec.model_validate(spec)
    except ValidationError:
        return False
    return True


times = st.one_of(
    st.sampled_from(["1ms", "1.0009ms", "200ms", "59m59.9999s", "1h", "0.5ms", "9999999999h"]),
    st.from_regex(DURATION_PATTERN, fullmatch=True, alphabet=st.characters(max_codepoint=127)),
).filter(lambda text: accepted("traffic", "timeout", text))
wishes = st.fixed_dictionaries(
    {},
    optional={
        "timeout": times,
        "retryOnStable": st.booleans(),
        "match": st.lists(matches, max_size=20),
        "affinity": selectors,
        "maxBody": st.sampled_from(["1", "999999999Gi", "64Mi"]),
        "rateLimit": rates,
        "fallback": fallbacks,
    },
)


tolerances = st.one_of(st.integers(0, 1_000_000), st.floats(0, 1_000_000))
outputs = st.fixed_dictionaries({"name": st.text(min_size=1, max_size=253)}, optional={"tolerance": tolerances})
shadows = st.fixed_dictionaries(
    {},
    optional={
        "fraction": st.sampled_from(["0.0001%", "10%", "100%"]),
        "minPairs": st.integers(1, 1_000_000),
        "minAgreement": st.sampled_from(["50.1%", "99.9%"]),
        "tolerance": tolerances,
        "outputs": st.lists(outputs, max_size=50),
    },
)


@given(wishes, st.integers(0, 1000), st.integers(0, 1000), shadows)
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_OR_SHARED)
def test_envoy_takes_whatever_the_api_server_takes(
    strict: Router, wished: dict[str, Any], weight: int, shadow: int, rules: dict[str, Any]
) -> None:
    weight = 0 if shadow % 2 else weight  # copies are for who has no requests
    if any("static" in each for each in wished.get("fallback", ())):
        wished = wished | {"fallbackOnLowConfidence": bool(weight % 2)}
    spec = {"model": {"version": "v1", "uri": "file:///m"}, "traffic": wished, "rollout": {"shadow": rules}}
    slow = spec["rollout"] | {"latency": {"threshold": "1ms" if weight % 2 else "999.9s"}}
    with suppress(ValidationError):
        Spec.model_validate(spec | {"rollout": slow})
        spec["rollout"] = slow
    policy = resolved("fraud", Spec.model_validate(spec)).manifest()
    traffic = [
        {"revision": "fraud-1a2b3c4d", "role": "stable", "weight": (1000 - weight) / 10},
        {"revision": "fraud-9e8d7c6b", "role": "candidate", "weight": weight / 10, "shadow": shadow / 10},
    ]
    intent = parse_deployment({"status": {"traffic": traffic, "policy": policy}})
    assert not intent.ignored

    async def followed() -> None:
        await strict.follow(intent, {})
        async with asyncio.timeout(PATIENCE):
            while not await strict.follows_routes():  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.01)

    asyncio.run(followed())
