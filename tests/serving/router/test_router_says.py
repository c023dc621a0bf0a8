"""What the router says about requests: to clients and pods by headers, to people by its log."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api.policy import Policy
from headgate_serving.router.envoy.config.access_log import FIELDS
from headgate_serving.router.policy.protection import Protection
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE
from router_envoy import Router, answering, prepared, running_envoy
from router_grpc_upstreams import GrpcUpstream, serving_grpc
from router_upstreams import Upstream, serving

_numbers = count()
INFER = "/v2/models/fraud/infer"


@pytest.fixture
async def pair(router: Router) -> AsyncIterator[tuple[Upstream, Upstream]]:
    """Stable, and a candidate that gets all requests."""
    number = next(_numbers)
    stable, candidate = Upstream(f"fraud-5ab1e5{number:02}"), Upstream(f"fraud-ca4d15{number:02}")
    async with serving(stable, candidate):
        await follow(router, stable, candidate)
        yield stable, candidate


async def follow(router: Router, stable: Upstream, candidate: Upstream) -> None:
    targets = (Target(stable.name, "stable", 0), Target(candidate.name, "candidate", 1000))
    await router.follow(Intent(targets, Policy(10_000)), {pod.name: (pod.endpoint,) for pod in (stable, candidate)})
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        candidate.behaviour = "error"
        for pod in (stable, candidate):
            while (await ask(session, router)).get("x-headgate-revision") != pod.name:  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.01)
            candidate.behaviour = "ok"


async def ask(session: aiohttp.ClientSession, router: Router, path: str = INFER, **headers: str) -> dict[str, str]:
    async with session.post(f"{router.url}{path}", data=b"{}", headers=headers) as response:
        await response.read()
        return {name.lower(): value for name, value in response.headers.items()}


def log_of(router: Router) -> str:
    return Path(router.layout.root, "log").read_text()


async def line_about(router: Router, prediction: str) -> dict[str, Any]:
    """The line of Envoy's log about one prediction."""
    async with asyncio.timeout(PATIENCE):
        while True:
            lines = [json.loads(line) for line in log_of(router).splitlines() if line.startswith("{")]
            if found := [line for line in lines if line.get("prediction") == prediction]:
                (line,) = found
                return dict(line)
            await asyncio.sleep(0.02)


async def test_each_prediction_has_an_id_of_its_own_that_the_pod_knows(router: Router, pair: Any) -> None:
    _, candidate = pair
    async with aiohttp.ClientSession() as session:
        seen = set[str]()
        for _ in range(20):
            answer = await ask(session, router)
            assert answer["x-headgate-prediction-id"] == candidate.headers["x-request-id"]
            seen.add(answer["x-headgate-prediction-id"])
    assert len({UUID(one) for one in seen}) == 20


async def test_clients_choose_neither_the_id_nor_what_the_router_says_to_pods(router: Router, pair: Any) -> None:
    _, candidate = pair
    forged = {"x-request-id": "mine", "X-Headgate-Prediction-Id": "mine", "x-headgate-client": "root"}
    async with aiohttp.ClientSession() as session:
        answer = await ask(session, router, **forged, **{"x-headgate-anything": "1", "x-mine": "2"})
    assert answer["x-headgate-prediction-id"] == candidate.headers["x-request-id"] != "mine"
    assert {name: value for name, value in candidate.headers.items() if name.startswith("x-headgate")} == {}
    assert candidate.headers["x-mine"] == "2"


async def test_a_pod_can_not_rename_its_prediction(router: Router, pair: Any) -> None:
    stable, candidate = pair
    candidate.behaviour = "error"
    async with aiohttp.ClientSession() as session:
        answer = await ask(session, router)
    assert answer["x-headgate-revision"] == stable.name
    assert stable.headers["x-request-id"] == candidate.headers["x-request-id"] == answer["x-headgate-prediction-id"]


async def test_traces_go_through_as_they_came(router: Router, pair: Any) -> None:
    _, candidate = pair
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        "tracestate": "vendor=t61rcWkgMzE,other=00f067aa0ba902b7",
        "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
        "x-b3-traceid": "80f198ee56343ba864fe8b2a57d3eff7",
        "x-b3-spanid": "e457b5a2e4d86bd1",
        "x-b3-sampled": "1",
    }
    async with aiohttp.ClientSession() as session:
        await ask(session, router, **trace)
        assert {name: candidate.headers.get(name) for name in trace} == trace
        await ask(session, router)
    assert not trace.keys() & candidate.headers.keys()


async def test_a_line_says_whom_a_request_was_meant_for_and_who_answered(router: Router, pair: Any) -> None:
    stable, candidate = pair
    candidate.behaviour = "error"
    async with aiohttp.ClientSession() as session:
        answer = await ask(session, router, f"{INFER}?token=hidden", authorization="Bearer hidden")
    line = await line_about(router, answer["x-headgate-prediction-id"])
    assert line.keys() <= FIELDS.keys()
    assert (line["role"], line["revision"], line["pod"]) == ("candidate", stable.name, f"{stable.name}-pod")
    assert (line["method"], line["path"], line["status"], line["tries"]) == ("POST", INFER, 200, 2)
    assert (line["request_bytes"], line["response_bytes"]) == (2, len(stable.name))
    assert line["milliseconds"] >= 0
    assert "grpc_status" not in line
    assert "hidden" not in log_of(router)
    assert "127.0.0.1" not in json.dumps(line)


async def test_a_call_has_its_line_and_its_id_too(router: Router) -> None:
    pod = GrpcUpstream("fraud-5ab1e5a2")
    async with serving_grpc(pod), grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
        await router.follow(Intent((Target(pod.name, "stable", 1000),)), {pod.name: (pod.endpoint,)})
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        async with asyncio.timeout(PATIENCE):
            while await (call := stub.ModelInfer(service_pb2.ModelInferRequest())).code() != grpc.StatusCode.OK:  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.02)
        pod.behaviour = grpc.StatusCode.NOT_FOUND
        failed = stub.ModelInfer(service_pb2.ModelInferRequest())
        assert await failed.code() == grpc.StatusCode.NOT_FOUND
        for done, status in ((call, "OK"), (failed, "NOT_FOUND")):
            metadata = {**dict(await done.initial_metadata()), **dict(await done.trailing_metadata())}
            line = await line_about(router, str(metadata["x-headgate-prediction-id"]))
            assert (line["grpc_status"], line["status"], line["role"]) == (status, 200, "stable")


async def test_only_what_failed_is_in_the_log_where_that_is_asked_for(tmp_path: Path) -> None:
    quiet = prepared(tmp_path, Protection(access_log="Errors"))
    stable, candidate = Upstream("fraud-5ab1e5a3"), Upstream("fraud-ca4d15a3")
    async with serving(stable, candidate):
        with answering(quiet), running_envoy(quiet):
            await follow(quiet, stable, candidate)
            async with aiohttp.ClientSession() as session:
                good = await ask(session, quiet)
                stable.behaviour = candidate.behaviour = "bad request"
                bad = await ask(session, quiet)
            await line_about(quiet, bad["x-headgate-prediction-id"])
            assert good["x-headgate-prediction-id"] not in log_of(quiet)
