"""Who answers in stable's place over gRPC: the real Envoy, the agent behind it, and gRPC's own client."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api.policy import Fallback, Policy, StaticAnswer, StaticOutput
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENT_MS, eventually
from router_envoy import BUDGET_MS, Router
from router_grpc_upstreams import Behaviour, Context, GrpcUpstream, serving_grpc

Code = grpc.StatusCode
SAFE = StaticAnswer(
    "safe", (StaticOutput("label", "INT64", (-1,), (7,)), StaticOutput("reason", "BYTES", (1,), (), ("no model",)))
)
_numbers = count(900)


@dataclass
class OtherModel(GrpcUpstream):
    """Another ModelDeployment, as the agent sees it."""

    name: str = "simple"
    asked: list[tuple[Any, dict[str, str]]] = field(default_factory=list)

    async def _answer(self, request: Any, context: Context) -> Any:
        self.asked.append((request, dict(context.invocation_metadata() or ())))
        return await super()._answer(request, context)

    @asynccontextmanager
    async def serving(self, router: Router) -> AsyncIterator[None]:
        async with serving_grpc(self):
            # A channel of the agent's keeps its address: each of these models has a name of its own.
            router.places[f"{self.name}/grpc"] = f"127.0.0.1:{self.grpc_port}"
            yield
            del router.places[f"{self.name}/grpc"]


@dataclass
class Answer:
    code: grpc.StatusCode
    text: str
    response: Any
    metadata: dict[str, Any]


@dataclass
class Users:
    channel: grpc.aio.Channel

    async def ask(self, **metadata: str) -> Answer:
        request = service_pb2.ModelInferRequest(model_name="fraud", model_version="v7", id="r-1")
        request.inputs.add(name="x", datatype="FP32", shape=[3, 2])
        request.raw_input_contents.append(bytes(24))
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        call = stub.ModelInfer(request, metadata=tuple(metadata.items()))
        try:
            code, text, response = Code.OK, "", await call
        except grpc.aio.AioRpcError as error:
            code, text, response = error.code(), error.details() or "", None
        return Answer(code, text, response, dict(await call.initial_metadata()))


@pytest.fixture
async def users(router: Router) -> AsyncIterator[Users]:
    async with grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
        yield Users(channel)


def name_of(what: str) -> str:
    return f"{what}-{next(_numbers)}"


def stable_pod() -> GrpcUpstream:
    return GrpcUpstream(f"fraud-5ab1e{next(_numbers):03}")


async def follow(router: Router, fallback: Fallback, stable: GrpcUpstream | None, timeout_ms: int = PATIENT_MS) -> None:
    targets = (Target(stable.name, "stable", 1000),) if stable else ()
    await router.follow(
        Intent(targets, Policy(timeout_ms, fallback=fallback)), {stable.name: (stable.endpoint,)} if stable else {}
    )
    await eventually(router.follows_routes, "Envoy follows its routes")


@pytest.mark.parametrize("behaviour", [Code.INTERNAL, Code.UNAVAILABLE, "hang", Code.RESOURCE_EXHAUSTED])
async def test_what_stable_fails_another_model_answers_in_time_and_marked(
    router: Router, users: Users, behaviour: Behaviour
) -> None:
    stable, simple = stable_pod(), OtherModel(name_of("simple"))
    async with serving_grpc(stable), simple.serving(router):
        await follow(router, Fallback((simple.name,), SAFE), stable, BUDGET_MS)
        await users.ask()
        stable.requests, stable.behaviour = 0, behaviour
        answers = await asyncio.gather(*(users.ask(**{"x-user-id": "u1"}) for _ in range(5)))
    for answer in answers:
        assert (answer.code, answer.metadata.get("x-headgate-fallback")) == (Code.OK, simple.name)
        assert answer.response.parameters["fallback"].string_param == simple.name
        assert (answer.response.model_name, answer.response.id) == (simple.name, "r-1")
        assert "x-headgate-revision" not in answer.metadata
    assert stable.requests == len(simple.asked) == 5
    request, metadata = simple.asked[0]
    assert (request.model_name, request.model_version, len(request.raw_input_contents[0])) == (simple.name, "", 24)
    assert metadata["x-user-id"] == "u1"


@pytest.mark.parametrize("behaviour", ["hang", Code.INTERNAL, Code.INVALID_ARGUMENT, "refused"])
async def test_at_last_there_is_the_static_answer(router: Router, users: Users, behaviour: Behaviour) -> None:
    stable, simple = stable_pod(), OtherModel(name_of("simple"), behaviour)
    async with serving_grpc(stable), simple.serving(router):
        await follow(router, Fallback((simple.name,), SAFE), stable, BUDGET_MS)
        await users.ask()
        stable.behaviour = "hang"
        answer = await users.ask()
    assert (answer.code, answer.metadata.get("x-headgate-fallback")) == (Code.OK, "safe")
    response = answer.response
    assert (response.model_name, response.id) == ("fraud", "r-1")
    assert response.parameters["fallback"].string_param == "safe"
    assert [(each.name, each.datatype, list(each.shape)) for each in response.outputs] == [
        ("label", "INT64", [3]),
        ("reason", "BYTES", [1]),
    ]
    assert struct.unpack("<3q", response.raw_output_contents[0]) == (7, 7, 7)
    assert response.raw_output_contents[1] == b"\x08\0\0\0no model"


async def test_an_answer_that_is_none_is_passed_over(router: Router, users: Users) -> None:
    async def nonsense(_: bytes, __: Any) -> bytes:
        return b"\xff\xff"

    server, name = grpc.aio.server(), name_of("odd")
    methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(nonsense)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods),))
    router.places[f"{name}/grpc"] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    await follow(router, Fallback((name,), SAFE), None)
    assert (await users.ask()).metadata["x-headgate-fallback"] == "safe"
    await server.stop(0)


async def test_without_a_version_the_chain_answers(router: Router, users: Users) -> None:
    await follow(router, Fallback((), SAFE), None)
    assert (await users.ask()).metadata["x-headgate-fallback"] == "safe"


async def test_a_stream_is_stables_alone(router: Router, users: Users) -> None:
    stable = stable_pod()
    async with serving_grpc(stable):
        await follow(router, Fallback((), SAFE), stable)
        await users.ask()
        stable.behaviour = Code.INTERNAL
        stub = service_pb2_grpc.GRPCInferenceServiceStub(users.channel)
        stream = stub.ModelStreamInfer()
        await stream.write(service_pb2.ModelInferRequest(model_name="fraud"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
    assert (refused.value.code(), refused.value.details()) == (Code.INTERNAL, f"{stable.name} does not want to")


async def test_where_nobody_can_answer_everybody_is_asked_once_and_the_status_says_why(
    router: Router, users: Users
) -> None:
    stable, simple = stable_pod(), OtherModel(name_of("simple"), Code.INTERNAL)
    async with serving_grpc(stable), simple.serving(router):
        await follow(router, Fallback((simple.name,)), stable)
        await users.ask()
        stable.requests, stable.behaviour = 0, Code.INTERNAL
        answer = await users.ask()
    assert answer.code == Code.UNAVAILABLE
    assert f"{simple.name}: status INTERNAL" in answer.text
    assert (stable.requests, len(simple.asked)) == (1, 1)


async def test_two_models_that_stand_in_for_each_other_end_where_they_began(router: Router, users: Users) -> None:
    """The other model is this one, by another name."""
    stable, name = stable_pod(), name_of("other")
    async with serving_grpc(stable):
        router.places[f"{name}/grpc"] = router.url.removeprefix("http://")
        await follow(router, Fallback((name,), SAFE), stable)
        await users.ask()
        stable.requests, stable.behaviour = 0, Code.INTERNAL
        answer = await users.ask()
        assert (answer.code, answer.metadata["x-headgate-fallback"]) == (Code.OK, "safe")
        assert stable.requests == 2
        assert (await users.ask(**{"headgate-fallback-for": "other"})).code == Code.UNAVAILABLE


async def test_what_is_no_message_is_refused(router: Router, users: Users) -> None:
    await follow(router, Fallback((), SAFE), None)
    call = users.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"\xff\xff")
    assert refused.value.code() == Code.INVALID_ARGUMENT
