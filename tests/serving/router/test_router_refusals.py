"""What a candidate refuses or answers invalidly: who answers the user, and what counts, with the real Envoy.

The counts are what the operator makes of Envoy's series, by its own code.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from typing import Literal, NamedTuple

import aiohttp
import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api import contract
from headgate.api.contract import Rejection
from headgate.api.policy import Fallback, Match, Policy, Selector, StaticAnswer, StaticOutput
from headgate.api.spec import Spec
from headgate.core import judge
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.dataplane.envoy.samples import EnvoySamples
from headgate.core.dataplane.envoy.series import REJECTED
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.rate import RateState
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Increment
from headgate.core.statistics.rates import AttemptBlock
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENT_MS, eventually
from router_envoy import BUDGET_MS, Router
from router_grpc_upstreams import GrpcUpstream, serving_grpc
from router_upstreams import LARGE, Upstream, serving

Kind = Literal["ok", "refusal", "failure", "invalid", "timeout"]
Code = grpc.StatusCode
INFER = "/v2/models/fraud/infer"
SAFE = Fallback((), StaticAnswer("safe", (StaticOutput("label", "INT64", (1,), (7,)),)))
NOBODY = Fallback()
WRONGLY_REJECTED = AttemptBlock(1, 1, candidate_rejections=1)
BODY = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}'
_numbers = count(700)


class Got(NamedTuple):
    """What a user got: how it went, and who answered."""

    kind: str
    """Of REST the status, of gRPC the name of the status."""
    who: str | None
    """The role, or "fallback"."""
    invalid: bool = False


@dataclass
class Case:
    """A candidate that gets all the traffic, stable, and users who ask one of the protocols."""

    router: Router
    stable: str
    candidate: str
    behave: Callable[[str, Kind], None]
    ask: Callable[[], Awaitable[Got]]
    ok: str
    refused: str
    failed: str
    retry: bool = True
    before: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (name, frozenset(labels)): value
            for name in EnvoyDataPlane.comparison_series
            if name.startswith("envoy_") and "bucket" not in name
            for labels, value in self.router.samples(name).items()
        }

    def counted(self) -> AttemptBlock:
        """Since `before`."""
        gained = [
            Increment({"__name__": name, **dict(labels)}, round(value - self.before.get((name, labels), 0.0)))
            for (name, labels), value in self.counters().items()
        ]
        return EnvoySamples([], gained, Comparison(self.stable, self.candidate, rescues=self.retry)).attempts()

    def rejected(self) -> dict[tuple[str, str], int]:
        """By reason and outcome."""
        found = dict[tuple[str, str], int]()
        for (name, labels), value in self.counters().items():
            told = dict(labels)
            if name == REJECTED and told[contract.REVISION] == self.candidate:
                found[told[Rejection.REASON], told[Rejection.OUTCOME]] = int(value)
        return found

    async def comes_to(self, expected: AttemptBlock) -> None:
        async def check() -> bool:
            return self.counted() == expected

        try:
            await eventually(check)
        except AssertionError:
            assert self.counted() == expected
            raise


def policy(fallback: Fallback, timeout_ms: int, *, retry: bool = True) -> Policy:
    return Policy(timeout_ms, retry, fallback=fallback)


def intent(stable: str, candidate: str, chosen: Policy, weight: int = 1000) -> Intent:
    return Intent((Target(stable, "stable", 1000 - weight), Target(candidate, "candidate", weight)), chosen)


def names() -> tuple[str, str]:
    number = next(_numbers)
    return f"fraud-5ab1e{number:03}", f"fraud-ca4d1{number:03}"


@dataclass
class Rest:
    """Users of REST."""

    router: Router
    session: aiohttp.ClientSession
    stable: Upstream = field(init=False)
    candidate: Upstream = field(init=False)

    def __post_init__(self) -> None:
        self.stable, self.candidate = (Upstream(name) for name in names())

    async def case(self, fallback: Fallback = NOBODY, timeout_ms: int = PATIENT_MS, *, retry: bool = True) -> Case:
        stable, candidate = self.stable, self.candidate
        chosen = intent(stable.name, candidate.name, policy(fallback, timeout_ms, retry=retry))
        await self.follow(chosen, stable, candidate)

        def behave(role: str, kind: Kind) -> None:
            pod = stable if role == "stable" else candidate
            pod.behaviour = {"refusal": "bad request", "failure": "error", "timeout": "hang"}.get(kind, kind)  # type: ignore[assignment]

        case = Case(self.router, stable.name, candidate.name, behave, self.ask, "200", "400", "500", retry)
        case.before = case.counters()
        return case

    async def follow(self, chosen: Intent, *upstreams: Upstream) -> None:
        await self.router.follow(chosen, {upstream.name: (upstream.endpoint,) for upstream in upstreams})
        await eventually(self.router.follows_routes, "Envoy follows its routes")

        async def known() -> bool:
            async with self.session.get(f"{self.router.url}/v2") as response:
                return response.headers.get(contract.REVISION_HEADER) in {upstream.name for upstream in upstreams}

        await eventually(known, "Envoy knows the pods")

    async def ask(self, path: str = INFER, body: bytes | BytesIO = BODY, tester: str = "no") -> Got:
        headers = {"x-tester": tester}
        async with self.session.post(f"{self.router.url}{path}", data=body, headers=headers) as response:
            await response.read()
            assert contract.REJECTED_HEADER not in response.headers
            return Got(str(response.status), self.who(response.headers), contract.INVALID_HEADER in response.headers)

    def who(self, headers: Mapping[str, str]) -> str | None:
        if headers.get(contract.FALLBACK_HEADER):
            return "fallback"
        roles = {self.stable.name: "stable", self.candidate.name: "candidate"}
        return roles.get(headers.get(contract.REVISION_HEADER, ""))


@pytest.fixture
async def rest(router: Router) -> AsyncIterator[Rest]:
    async with aiohttp.ClientSession() as session:
        users = Rest(router, session)
        async with serving(users.stable, users.candidate):
            yield users


@dataclass
class Calls:
    """Users of gRPC."""

    router: Router
    channel: grpc.aio.Channel
    stable: GrpcUpstream = field(init=False)
    candidate: GrpcUpstream = field(init=False)

    def __post_init__(self) -> None:
        self.stable, self.candidate = (GrpcUpstream(name) for name in names())

    async def case(self, fallback: Fallback = NOBODY, timeout_ms: int = PATIENT_MS, *, retry: bool = True) -> Case:
        stable, candidate = self.stable, self.candidate
        chosen = intent(stable.name, candidate.name, policy(fallback, timeout_ms, retry=retry))
        await self.router.follow(chosen, {pod.name: (pod.endpoint,) for pod in (stable, candidate)})
        await eventually(self.router.follows_routes, "Envoy follows its routes")

        def behave(role: str, kind: Kind) -> None:
            pod = stable if role == "stable" else candidate
            pod.behaviour = {
                "refusal": Code.INVALID_ARGUMENT,
                "failure": Code.INTERNAL,
                "timeout": "hang",
            }.get(kind, kind)

        told = ("OK", "INVALID_ARGUMENT", "INTERNAL")
        case = Case(self.router, stable.name, candidate.name, behave, self.ask, *told, retry)
        case.before = case.counters()
        return case

    async def ask(self) -> Got:
        request = service_pb2.ModelInferRequest(model_name="fraud", model_version="v7")
        request.inputs.add(name="x", datatype="FP32", shape=[3, 2])
        request.raw_input_contents.append(bytes(24))
        call = service_pb2_grpc.GRPCInferenceServiceStub(self.channel).ModelInfer(request)
        code = await call.code()
        metadata = dict([*await call.initial_metadata(), *await call.trailing_metadata()])
        assert contract.REJECTED_HEADER not in metadata
        roles = {self.stable.name: "stable", self.candidate.name: "candidate"}
        revision = str(metadata.get(contract.REVISION_HEADER))
        who = "fallback" if metadata.get(contract.FALLBACK_HEADER) else roles.get(revision)
        return Got(code.name, who, contract.INVALID_HEADER in metadata)


@pytest.fixture
async def calls(router: Router) -> AsyncIterator[Calls]:
    async with grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
        users = Calls(router, channel)
        async with serving_grpc(users.stable, users.candidate):
            yield users


@pytest.fixture(params=["rest", "grpc"])
def users(request: pytest.FixtureRequest, rest: Rest, calls: Calls) -> Rest | Calls:
    return rest if request.param == "rest" else calls


def got(case: Case, candidate: Kind, stable: Kind, fallback: Fallback) -> Got:
    """What the user has to get."""
    if candidate == "ok":
        return Got(case.ok, "candidate")
    if stable == "failure" and fallback:
        return Got(case.ok, "fallback")
    answers = {"ok": case.ok, "invalid": case.ok, "refusal": case.refused, "failure": case.failed}
    return Got(answers[stable], "stable", stable == "invalid")


def counts(candidate: Kind, stable: Kind) -> AttemptBlock:
    """What has to count."""
    if candidate == "ok":
        return AttemptBlock(1, 0)
    if candidate in ("failure", "timeout"):
        return AttemptBlock(1, 1)
    if stable == "ok":
        return WRONGLY_REJECTED
    return AttemptBlock(1, 0) if candidate == stable == "invalid" else AttemptBlock(0, 0)


@pytest.mark.parametrize("fallback", [pytest.param(NOBODY, id="alone"), pytest.param(SAFE, id="with a fallback")])
@pytest.mark.parametrize("candidate", ["ok", "refusal", "failure", "invalid", "timeout"])
async def test_who_answers_and_what_counts(users: Rest | Calls, candidate: Kind, fallback: Fallback) -> None:
    case = await users.case(fallback, BUDGET_MS if candidate == "timeout" else PATIENT_MS)
    stables: tuple[Kind, ...] = ("ok", "refusal", "failure", "invalid")
    case.behave("candidate", candidate)
    for stable in stables:
        case.behave("stable", stable)
        case.before = case.counters()
        assert await case.ask() == got(case, candidate, stable, fallback), stable
        await case.comes_to(counts(candidate, stable))


@pytest.mark.parametrize(
    "code",
    [
        *(Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE, Code.UNIMPLEMENTED),
        *(Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.ALREADY_EXISTS, Code.ABORTED, "late refusal"),
    ],
)
async def test_a_call_that_blames_its_client_is_stables_to_answer(calls: Calls, code: grpc.StatusCode) -> None:
    case = await calls.case()
    calls.candidate.behaviour = code
    assert await case.ask() == Got("OK", "stable")
    await case.comes_to(WRONGLY_REJECTED)
    calls.stable.behaviour = code
    assert (await case.ask()).who == "stable"
    await case.comes_to(WRONGLY_REJECTED)


@pytest.mark.parametrize("retry", [True, False])
async def test_what_its_users_get_refused_by_a_version_is_no_attempt_of_it_where_stable_is_asked(
    users: Rest | Calls, retry: bool
) -> None:
    """Where it is not, nobody says who is to blame: the refusals of both are failures."""
    case = await users.case(retry=retry)
    case.behave("candidate", "refusal")
    case.behave("stable", "refusal")
    for _ in range(5):
        assert (await case.ask()).kind == case.refused
    await case.comes_to(AttemptBlock(0, 0) if retry else AttemptBlock(5, 5))
    users.stable.behaviour = users.candidate.behaviour = "ok"
    chosen = intent(case.stable, case.candidate, policy(NOBODY, PATIENT_MS, retry=retry), weight=0)
    pods = {pod.name: (pod.endpoint,) for pod in (users.stable, users.candidate)}
    await case.router.follow(chosen, pods)
    await eventually(case.router.follows_routes, "Envoy follows its routes")
    case.before = case.counters()
    assert await case.ask() == Got(case.ok, "stable")
    case.behave("stable", "refusal")
    assert await case.ask() == Got(case.refused, "stable")
    await case.comes_to(AttemptBlock(0, 0, 1, 0) if retry else AttemptBlock(0, 0, 2, 1))


@pytest.mark.parametrize("fallback", [NOBODY, SAFE])
async def test_without_a_pod_of_the_candidate_stables_answer_is_the_last(rest: Rest, fallback: Fallback) -> None:
    case = await rest.case(fallback)
    await rest.follow(intent(case.stable, case.candidate, policy(fallback, PATIENT_MS)), rest.stable)
    case.before = case.counters()
    told: dict[Kind, Got] = {"refusal": Got("400", "stable"), "invalid": Got("200", "stable", invalid=True)}
    for kind, expected in told.items():
        case.behave("stable", kind)
        rest.stable.requests = 0
        assert await case.ask() == expected
        assert rest.stable.requests == 1
    await case.comes_to(AttemptBlock(0, 0))


async def test_without_a_pod_of_stable_the_candidates_refusal_is_what_users_get(rest: Rest) -> None:
    case = await rest.case()
    case.behave("candidate", "refusal")
    await rest.router.follow(
        intent(case.stable, case.candidate, policy(NOBODY, PATIENT_MS)), {case.candidate: (rest.candidate.endpoint,)}
    )

    async def stable_is_gone() -> bool:
        return await case.ask() == Got("400", "candidate")

    await eventually(stable_is_gone, "stable has no pod")
    case.before = case.counters()
    assert await case.ask() == Got("400", "candidate")
    await case.comes_to(AttemptBlock(0, 0))


async def test_a_refusal_of_a_request_too_large_to_be_asked_again_is_its_users(rest: Rest) -> None:
    case = await rest.case()
    case.behave("candidate", "refusal")
    await rest.router.follow(
        Intent(
            (Target(case.stable, "stable", 0), Target(case.candidate, "candidate", 1000)),
            Policy(PATIENT_MS, max_body_bytes=2 * LARGE),
        ),
        {pod.name: (pod.endpoint,) for pod in (rest.stable, rest.candidate)},
    )
    await eventually(rest.router.follows_routes, "Envoy follows its routes")
    case.before = case.counters()
    assert await rest.ask(INFER, BytesIO(bytes(LARGE))) == Got("400", "candidate")
    await case.comes_to(AttemptBlock(0, 0))
    assert case.rejected() == {}


async def test_a_large_invalid_answer_is_stables_to_give(rest: Rest) -> None:
    case = await rest.case()
    rest.candidate.behaviour = "large invalid"
    assert await case.ask() == Got("200", "stable")
    await case.comes_to(WRONGLY_REJECTED)


async def test_the_reasons_are_counted_apart(rest: Rest) -> None:
    case = await rest.case()
    for kind in ("refusal", "invalid"):
        case.behave("candidate", kind)
        for stable in ("ok", "invalid", "refusal"):
            case.behave("stable", stable)
            await case.ask()
    expected = {
        ("refusal", "answered"): 1,
        ("refusal", "undecided"): 2,
        ("invalid", "answered"): 1,
        ("invalid", "alike"): 1,
        ("invalid", "undecided"): 1,
    }

    async def all_there() -> bool:
        return case.rejected() == expected

    await eventually(all_there, f"{expected}")


@pytest.mark.parametrize("path", ["/v2/models/nobody/infer", "/v2/models/fraud/versions/9/infer", "/v2/models/nobody"])
async def test_a_wrong_name_is_stables_to_refuse_and_nobodys_evidence(rest: Rest, path: str) -> None:
    case = await rest.case(SAFE)
    case.behave("candidate", "refusal")
    case.behave("stable", "refusal")
    case.before = case.counters()
    assert await rest.ask(path) == Got("400", "stable")
    assert await rest.ask("/nowhere") == Got("404", None)
    await case.comes_to(AttemptBlock(0, 0))


async def test_testers_are_rescued_and_no_evidence(rest: Rest) -> None:
    case = await rest.case()
    chosen = Policy(PATIENT_MS, matches=(Match(Selector("header", "x-tester"), "exact", "yes", "candidate"),))
    await rest.follow(intent(case.stable, case.candidate, chosen, weight=0), rest.stable, rest.candidate)
    case.behave("candidate", "refusal")
    case.before = case.counters()
    assert await rest.ask(tester="yes") == Got("200", "stable")
    case.behave("stable", "refusal")
    assert await rest.ask(tester="yes") == Got("400", "stable")
    await case.comes_to(AttemptBlock(0, 0))
    assert case.rejected() == {}


async def test_what_pods_say_themselves_of_revisions_and_marks_does_not_count(rest: Rest) -> None:
    """A pod that writes the router's own headers is neither tried again for them nor passes for another version."""
    case = await rest.case()

    async def answer(writer: asyncio.StreamWriter) -> bool:
        forged = f"{contract.REJECTED_HEADER}: refusal\r\n{contract.REVISION_HEADER}: {case.stable}\r\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\n" + forged + b"content-length: 2\r\n\r\nok")
        await writer.drain()
        return True

    rest.candidate.answer = answer  # type: ignore[method-assign]
    assert await case.ask() == Got("200", "candidate")
    await case.comes_to(AttemptBlock(1, 0))


async def test_a_candidate_whose_input_was_renamed_harms_no_user_and_is_shown_to_be_worse(rest: Rest) -> None:
    """From the users' requests through Envoy's counters to the verdict; a fifth of the requests is malformed."""
    case = await rest.case()
    chosen = Policy(PATIENT_MS)
    await rest.follow(intent(case.stable, case.candidate, chosen, weight=200), rest.stable, rest.candidate)
    case.behave("candidate", "refusal")
    case.before = case.counters()
    got = [await case.ask() for _ in range(100)]
    case.behave("stable", "refusal")
    malformed = [await case.ask() for _ in range(25)]
    assert set(got) == {Got("200", "stable")}
    assert set(malformed) == {Got("400", "stable")}

    async def all_counted() -> bool:
        block = case.counted()
        return block.candidate_attempts + block.stable_attempts == len(got)

    await eventually(all_counted, "the good requests, and no others, are attempts")
    block = case.counted()
    assert block.candidate_attempts == block.candidate_failures == block.candidate_rejections > 0
    spec = Spec.model_validate({"model": {"version": "2", "uri": "s3://models/fraud/2"}})
    state = ERRORS.fold(RateState(), block, spec, 5.0, ceiling=100.0)
    assert judge.harmful(state.logHarm, spec.rollout.alpha)
    n = block.candidate_attempts
    assert f"{n} of {n} (100.00 %) attempts on the candidate failed, of them {n} refused or invalid" in ERRORS.summary(
        state, "stable"
    )
