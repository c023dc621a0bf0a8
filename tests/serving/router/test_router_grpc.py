"""gRPC through the router: the real Envoy between gRPC's own client and small fake pods."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api.policy import Match, Policy, Selector
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENT_MS, eventually
from router_envoy import BUDGET_MS, Router
from router_grpc_upstreams import Behaviour, GrpcUpstream, serving_grpc

Code = grpc.StatusCode
_numbers = count(500)


@dataclass
class Answer:
    code: grpc.StatusCode
    text: str
    """The name of the pod, or what went wrong."""
    revision: str | None


@dataclass
class Users:
    router: Router
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        return service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    async def ask(self, *metadata: tuple[str, str]) -> Answer:
        call = self.stub.ModelInfer(service_pb2.ModelInferRequest(model_name="fraud"), metadata=metadata)
        try:
            code, text = Code.OK, (await call).model_name
        except grpc.aio.AioRpcError as error:
            code, text = error.code(), error.details() or ""
        return Answer(code, text, dict(await call.initial_metadata()).get("x-headgate-revision"))


@pytest.fixture
async def users(router: Router) -> AsyncIterator[Users]:
    async with grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
        yield Users(router, channel)


def pair(candidate: Behaviour = "ok") -> tuple[GrpcUpstream, GrpcUpstream]:
    number = next(_numbers)
    return GrpcUpstream(f"fraud-5ab1e{number:03}"), GrpcUpstream(f"fraud-ca4d1{number:03}", candidate)


async def follow(
    router: Router,
    stable: GrpcUpstream,
    candidate: GrpcUpstream,
    percent: float,
    *matches: Match,
    timeout_ms: int = PATIENT_MS,
) -> None:
    tenths = round(percent * 10)
    targets = (Target(stable.name, "stable", 1000 - tenths), Target(candidate.name, "candidate", tenths))
    pods = {upstream.name: (upstream.endpoint,) for upstream in (stable, candidate)}
    await router.follow(Intent(targets, Policy(timeout_ms, matches=matches)), pods)
    await eventually(router.follows_routes, "Envoy follows its routes")


def attempts(router: Router, upstream: GrpcUpstream, what: str) -> int:
    return int(router.count(f"envoy_cluster_endpoint_{what}", headgate_revision=upstream.name))


async def test_the_split_follows_the_weights(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 30.0)
        answers = [answer for _ in range(40) for answer in await asyncio.gather(*(users.ask() for _ in range(25)))]
    assert {answer.code for answer in answers} == {Code.OK}
    assert all(answer.text == answer.revision for answer in answers)
    # Five standard deviations.
    assert sum(answer.text == candidate.name for answer in answers) / 1000 == pytest.approx(0.3, abs=0.075)
    assert attempts(router, candidate, "rq_success") == candidate.requests


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Code.INTERNAL, id="internal"),
        pytest.param(Code.UNAVAILABLE, id="unavailable"),
        pytest.param("hang", id="late"),
        pytest.param("refused", id="refused"),
        pytest.param(Code.RESOURCE_EXHAUSTED, id="overloaded"),
        pytest.param("late error", id="internal, after the call has begun to answer"),
    ],
)
async def test_a_failing_candidate_harms_no_user_and_every_failure_is_counted_once(
    router: Router, users: Users, behaviour: Behaviour
) -> None:
    stable, candidate = pair(behaviour)
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 100.0, timeout_ms=BUDGET_MS)
        answers = await asyncio.gather(*(users.ask() for _ in range(6)))
    assert {(answer.code, answer.text, answer.revision) for answer in answers} == {(Code.OK, stable.name, stable.name)}
    assert attempts(router, candidate, "rq_error") == 6
    assert attempts(router, candidate, "rq_success") == 0
    assert attempts(router, stable, "rq_success") + attempts(router, stable, "rq_error") == 0
    assert router.count("envoy_cluster_upstream_rq_total", envoy_cluster_name=f"{stable.name}/grpc/rescue") == 6


async def test_an_error_of_both_is_an_error_whenever_they_find_out(router: Router, users: Users) -> None:
    stable, candidate = pair("late error")
    stable.behaviour = "late error"
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 100.0)
        answer = await users.ask()
    assert (answer.code, answer.text) == (Code.INTERNAL, f"{stable.name} does not want to")
    assert (stable.requests, candidate.requests) == (1, 1)


@pytest.mark.parametrize("behaviour", [Code.INVALID_ARGUMENT, "late refusal"])
async def test_what_the_client_did_wrong_stable_is_the_last_to_say(
    router: Router, users: Users, behaviour: Behaviour
) -> None:
    stable, candidate = pair(behaviour)
    stable.behaviour = behaviour
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 100.0)
        answer = await users.ask()
        assert (stable.requests, candidate.requests) == (1, 1)
        await follow(router, stable, candidate, 0.0)
        again = await users.ask()
    for each in (answer, again):
        assert (each.code, each.text) == (Code.INVALID_ARGUMENT, f"{stable.name} does not want to")
    assert (stable.requests, candidate.requests) == (2, 1)


async def test_a_stable_that_hangs_is_given_up_when_the_budget_is_spent(router: Router, users: Users) -> None:
    stable, candidate = pair()
    stable.behaviour = "hang"
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 0.0, timeout_ms=200)
        answer = await users.ask()
    assert answer.code == Code.UNAVAILABLE
    assert answer.text == "the model did not answer in time"
    assert attempts(router, stable, "rq_error") == 1


async def test_testers_get_the_version_that_they_ask_for_and_are_no_evidence(router: Router, users: Users) -> None:
    stable, candidate = pair()
    testers = Match(Selector("header", "x-tester"), "exact", "yes", "candidate")
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 0.0, testers)
        assert (await users.ask()).text == stable.name
        assert (await users.ask(("x-tester", "yes"))).text == candidate.name
        candidate.behaviour = Code.INTERNAL
        assert (await users.ask(("x-tester", "yes"))).text == stable.name
    assert attempts(router, candidate, "rq_total") == 0
    assert attempts(router, stable, "rq_total") == 1


async def test_a_stream_may_last_longer_than_the_budget_and_is_nobodys_answer_time(
    router: Router, users: Users
) -> None:
    stable, candidate = pair()
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 100.0, timeout_ms=200)
        stream = users.stub.ModelStreamInfer()
        said = []
        for number in range(4):
            await stream.write(service_pb2.ModelInferRequest(model_name="fraud", id=str(number)))
            said.append((await stream.read()).infer_response)
            await asyncio.sleep(0.15)
        await stream.done_writing()
        assert await stream.read() == grpc.aio.EOF
        assert [answer.id for answer in said] == ["0", "1", "2", "3"]
        assert {answer.model_name for answer in said} == {candidate.name}
        await follow(router, stable, candidate, 100.0)
        assert (await users.ask()).text == candidate.name

        async def written() -> float:
            whose = {"headgate_revision": candidate.name, "headgate_assigned": "true"}
            return router.count("envoy_cluster_canary_upstream_rq_time_count", **whose)

        await eventually(written, "Envoy writes down the time of what came last")
        assert await written() == 1
    assert attempts(router, candidate, "rq_success") == 2


@pytest.mark.parametrize("behaviour", ["refused", Code.UNAVAILABLE])
async def test_a_stream_that_the_candidate_does_not_begin_is_stables(
    router: Router, users: Users, behaviour: Behaviour
) -> None:
    stable, candidate = pair(behaviour)
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 100.0)
        stream = users.stub.ModelStreamInfer()
        await stream.write(service_pb2.ModelInferRequest(model_name="fraud"))
        assert (await stream.read()).infer_response.model_name == stable.name
        await stream.done_writing()


async def test_methods_that_change_the_server_do_not_reach_it(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving_grpc(stable, candidate):
        await follow(router, stable, candidate, 50.0)
        assert (await users.stub.ModelReady(service_pb2.ModelReadyRequest(name="fraud"))).ready
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await users.stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="fraud"))
    assert refused.value.code() == Code.UNIMPLEMENTED
    assert stable.requests == candidate.requests == 0


async def test_before_the_first_version_the_router_says_so(router: Router, users: Users) -> None:
    await router.follow(Intent(), {})

    async def says_so() -> bool:
        return (await users.ask()).text == "no version is live yet"

    await eventually(says_so, "no version")
    assert (await users.ask()).code == Code.UNAVAILABLE
