"""Who answers where stable can't, with the real Envoy, and the agent's two servers behind it."""

import asyncio
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web

from headgate.api.policy import Fallback, Match, Policy, Selector, StaticAnswer, StaticOutput
from headgate_serving.router.fallback import rest
from headgate_serving.router.policy.endpoints import Endpoint, State
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENT_MS, eventually
from router_envoy import BUDGET_MS, MODEL, NAMESPACE, Router, answering, prepared, running_envoy
from router_policies import with_policy
from router_upstreams import Behaviour, Upstream, many, serving

_numbers = count(700)
SAFE = StaticAnswer(
    "safe",
    (
        StaticOutput("label", "INT64", (-1,), (7,)),
        StaticOutput("scores", "FP32", (-1, 2), (0.5, 0.25)),
    ),
)
REQUEST = {
    "id": "r-1",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}],
}


@dataclass
class OtherModel:
    """Another ModelDeployment, as the agent sees it: a server that says what it was asked."""

    name: str = "simple"
    behaviour: Literal["ok", "error", "refuse", "hang", "nonsense", "binary"] = "ok"
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def _infer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.headers), await request.read()))
        match self.behaviour:
            case "hang":
                await asyncio.sleep(3600)
            case "error" | "refuse":
                return web.json_response({"error": "no"}, status=500 if self.behaviour == "error" else 400)
            case "nonsense":
                return web.Response(text="<html>")
        output: dict[str, Any] = {"name": "label", "datatype": "INT64", "shape": [1]}
        answer = {"model_name": self.name, "parameters": {"more": 1}, "outputs": [output]}
        if self.behaviour != "binary":
            output["data"] = [1]
            return web.json_response(answer)
        output["parameters"] = {"binary_data_size": 8}
        head = json.dumps(answer).encode()
        length = {"Inference-Header-Content-Length": str(len(head))}
        return web.Response(body=head + bytes(8), headers=length, content_type="application/octet-stream")

    @asynccontextmanager
    async def serving(self, router: Router) -> AsyncIterator[None]:
        app = web.Application(client_max_size=0)
        app.router.add_post("/{path:.*}", self._infer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        router.places[self.name] = f"http://{host}:{port}"
        try:
            yield
        finally:
            del router.places[self.name]
            await runner.cleanup()


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Any

    @property
    def fallback(self) -> str | None:
        found: str | None = self.headers.get("x-headgate-fallback")
        return found

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.body[: int(self.headers.get("Inference-Header-Content-Length", 1 << 30))]
        )
        return found


@dataclass
class Users:
    router: Router
    session: aiohttp.ClientSession

    async def ask(self, body: Any = REQUEST, path: str = "/v2/models/fraud/infer", **headers: str) -> Answer:
        data = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session.post(f"{self.router.url}{path}", data=data, headers=headers) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def ask_many(self, number: int, at_a_time: int = 8) -> list[Answer]:
        return await many(self.ask, number, at_a_time)


@pytest.fixture
async def users(router: Router) -> AsyncIterator[Users]:
    async with aiohttp.ClientSession() as session:
        yield Users(router, session)


def pods(*upstreams: Upstream) -> dict[str, tuple[Endpoint, ...]]:
    found: dict[str, tuple[Endpoint, ...]] = {}
    for upstream in upstreams:
        found[upstream.name] = (*found.get(upstream.name, ()), upstream.endpoint)
    return found


def pair(stable: Behaviour = "ok", candidate: Behaviour = "ok") -> tuple[Upstream, Upstream]:
    number = next(_numbers)
    return Upstream(f"fraud-5ab1e{number:03}", stable), Upstream(f"fraud-ca4d1{number:03}", candidate)


def alone(stable: Upstream, fallback: Fallback, timeout_ms: int = PATIENT_MS) -> Intent:
    return Intent((Target(stable.name, "stable", 1000),), Policy(timeout_ms, fallback=fallback))


def split(
    stable: Upstream, candidate: Upstream, percent: float, fallback: Fallback, timeout_ms: int = PATIENT_MS
) -> Intent:
    tenths = round(percent * 10)
    targets = (Target(stable.name, "stable", 1000 - tenths), Target(candidate.name, "candidate", tenths))
    return Intent(targets, Policy(timeout_ms, fallback=fallback))


async def follow(router: Router, intent: Intent, *upstreams: Upstream) -> None:
    """Envoy follows the routes, and knows the pods."""
    await router.follow(intent, pods(*upstreams))
    async with aiohttp.ClientSession() as session:

        async def known() -> bool:
            async with session.get(f"{router.url}/v2") as response:
                return response.headers.get("x-headgate-revision") in {upstream.name for upstream in upstreams}

        await eventually(router.follows_routes, "Envoy follows")
        if upstreams:
            await eventually(known, "Envoy knows the pods")
    for upstream in upstreams:
        upstream.requests = 0


def attempts(router: Router, upstream: Upstream, what: str) -> int:
    return int(router.count(f"envoy_cluster_endpoint_{what}", headgate_revision=upstream.name))


def asked(router: Router, name: str, outcome: str) -> float:
    labels = {"headgate_namespace": NAMESPACE, "headgate_model": MODEL, "fallback": name, "outcome": outcome}
    return router.registry.get_sample_value("headgate_fallback_total", labels) or 0.0


async def until_ejected(users: Users, *failing: Upstream) -> list[Answer]:
    """Wait until all threads of Envoy pass them over: it tells them together, once a second. What users got until then.

    With `long_rest` they stay where they are.
    """
    answers, name = list[Answer](), "envoy_cluster_outlier_detection_ejections_active"
    revision = failing[0].name

    async def ejected() -> bool:
        answers.extend(await users.ask_many(20))
        return users.router.count(name, headgate_revision=revision) >= len(failing)

    async def passed_over() -> bool:
        before = [pod.requests for pod in failing]
        answers.extend(await users.ask_many(50))
        return before == [pod.requests for pod in failing]

    await eventually(ejected, "Envoy ejects them")
    await eventually(passed_over, "requests pass them by")
    return answers


async def until_answered(users: Users, status: int, fallback: str | None) -> set[tuple[int, str | None]]:
    """Wait until everybody gets this, and say what users got before."""
    before = set[tuple[int, str | None]]()

    async def so() -> bool:
        found = {(answer.status, answer.fallback) for answer in await users.ask_many(20)}
        if found == {(status, fallback)}:
            return True
        before.update(found)
        return False

    await eventually(so, f"{status} of {fallback}")
    return before


@pytest.mark.parametrize("behaviour", ["error", "reset", "hang", "overloaded"])
async def test_what_stable_fails_another_model_answers_in_time_and_marked(
    router: Router, users: Users, behaviour: Behaviour
) -> None:
    stable, _ = pair()
    simple = OtherModel()
    before = asked(router, "simple", "answered")
    async with serving(stable), simple.serving(router):
        await follow(router, alone(stable, Fallback(("simple",), SAFE), BUDGET_MS), stable)
        stable.behaviour = behaviour
        answers = await asyncio.gather(*(users.ask(**{"x-user-id": "u1", "x-request-id": "mine"}) for _ in range(6)))
    # Envoy answers 504 where the time is over.
    assert {(answer.status, answer.fallback) for answer in answers} == {(200, "simple")}
    for answer in answers:
        assert answer.json["parameters"] == {"more": 1, "fallback": "simple"}
        assert answer.json["model_name"] == "simple"
        assert "x-headgate-revision" not in answer.headers
        assert not [name for name in answer.headers if name.lower().startswith("x-envoy")]
    assert stable.requests == len(simple.asked) == 6
    path, headers, body = simple.asked[0]
    assert (path, json.loads(body)) == ("/v2/models/simple/infer", REQUEST)
    assert headers["x-user-id"] == "u1"
    assert asked(router, "simple", "answered") == before + 6
    assert attempts(router, stable, "rq_error") == 6


async def test_what_stable_refuses_is_nobody_elses(router: Router, users: Users) -> None:
    stable, _ = pair()
    async with serving(stable):
        await follow(router, alone(stable, Fallback((), SAFE)), stable)
        stable.behaviour = "bad request"
        answer = await users.ask()
    assert (answer.status, answer.fallback) == (400, None)


async def test_without_a_pod_the_chain_answers_and_stable_comes_back_by_itself(router: Router, users: Users) -> None:
    stable, _ = pair()
    simple = OtherModel()
    intent = alone(stable, Fallback(("simple",), SAFE))
    async with serving(stable), simple.serving(router):
        await follow(router, intent, stable)
        assert {answer.fallback for answer in await users.ask_many(20)} == {None}
        await router.follow(intent, {})
        assert await until_answered(users, 200, "simple") <= {(200, None), (200, "simple")}
        await router.follow(intent, pods(stable))
        assert await until_answered(users, 200, None) <= {(200, None), (200, "simple")}


async def test_before_the_first_version_the_chain_answers_inference_and_nothing_else(
    router: Router, users: Users
) -> None:
    await follow(router, Intent(policy=Policy(fallback=Fallback((), SAFE))))
    answer = await users.ask()
    assert (answer.status, answer.fallback) == (200, "safe")
    ready = await users.ask(path="/v2/health/ready")
    assert (ready.status, json.loads(ready.body)) == (503, {"error": "no version is live yet"})


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [("error", "failed"), ("refuse", "refused"), ("hang", "late"), ("nonsense", "failed"), (None, "failed")],
)
async def test_at_last_there_is_the_static_answer(router: Router, users: Users, behaviour: Any, outcome: str) -> None:
    stable, _ = pair("hang")
    simple = OtherModel()
    before, safe = asked(router, "simple", outcome), asked(router, "safe", "answered")
    async with serving(stable), simple.serving(router):
        simple.behaviour = behaviour or "ok"
        if behaviour is None:
            router.places["simple"] = "http://127.0.0.1:1"
        stable.behaviour = "ok"
        await follow(router, alone(stable, Fallback(("simple",), SAFE), BUDGET_MS), stable)
        stable.behaviour = "hang"
        answer = await users.ask()
    assert (answer.status, answer.fallback) == (200, "safe")
    assert answer.json == {
        "model_name": "fraud",
        "id": "r-1",
        "parameters": {"fallback": "safe"},
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [3], "data": [7, 7, 7]},
            {"name": "scores", "datatype": "FP32", "shape": [3, 2], "data": [0.5, 0.25] * 3},
        ],
    }
    assert asked(router, "simple", outcome) == before + 1
    assert asked(router, "safe", "answered") == safe + 1


async def test_where_nobody_can_answer_everybody_is_asked_once_and_the_answer_says_why(
    router: Router, users: Users
) -> None:
    stable, _ = pair()
    simple, second = OtherModel(behaviour="error"), OtherModel("second", behaviour="refuse")
    before = asked(router, "none", "failed")
    async with serving(stable), simple.serving(router), second.serving(router):
        await follow(router, alone(stable, Fallback(("simple", "second"))), stable)
        stable.behaviour = "error"
        answer = await users.ask()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "simple: status 500; second: status 400" in answer.json["error"]
        assert not [name for name in answer.headers if name.lower().startswith("x-envoy")]
        assert (stable.requests, len(simple.asked), len(second.asked)) == (1, 1, 1)
        await router.follow(alone(stable, Fallback(("simple", "second"))), {})

        async def passed_over() -> bool:
            known = stable.requests
            assert {answer.status for answer in await users.ask_many(20)} == {503}
            return stable.requests == known

        await eventually(passed_over, "requests pass stable by")
        once = stable.requests, len(simple.asked), len(second.asked), asked(router, "none", "failed")
        assert (await users.ask()).status == 503
        now = stable.requests, len(simple.asked), len(second.asked), asked(router, "none", "failed")
        assert now == (once[0], once[1] + 1, once[2] + 1, once[3] + 1)
    assert now[1] == now[2] == now[3] - before


@pytest.mark.parametrize("candidates", ["error", "hang"])
@pytest.mark.parametrize("stables", ["error", "hang", "gone"])
async def test_where_candidate_and_stable_both_fail_the_chain_answers_in_time_and_is_no_evidence(
    router: Router, users: Users, candidates: Behaviour, stables: Any
) -> None:
    stable, candidate = pair()
    intent = split(stable, candidate, 100.0, Fallback((), SAFE), BUDGET_MS)
    async with serving(stable, candidate):
        await follow(router, intent, stable, candidate)
        if stables == "gone":
            await without_stable(router, users, intent, stable, candidate)
        else:
            stable.behaviour = stables
        candidate.behaviour, candidate.requests = candidates, 0
        answers = await asyncio.gather(*(users.ask() for _ in range(5)))

        async def histograms_are_written() -> bool:
            whose = {"headgate_revision": candidate.name, "headgate_assigned": "true"}
            return router.count("envoy_cluster_upstream_rq_time_count", **whose) >= 5

        await eventually(histograms_are_written, "the time of all five")
    # Envoy answers 504 where the time is over.
    assert {(answer.status, answer.fallback) for answer in answers} == {(200, "safe")}
    assert candidate.requests == 5
    assert stable.requests == (0 if stables == "gone" else 5)
    assert (attempts(router, candidate, "rq_error"), attempts(router, candidate, "rq_success")) == (5, 0)
    assert attempts(router, stable, "rq_error") + attempts(router, stable, "rq_success") == 0
    for upstream in (stable, candidate):
        whose = {"headgate_revision": upstream.name, "headgate_assigned": "true"}
        assert router.count("envoy_cluster_canary_upstream_rq_time_count", **whose) == 0


async def without_stable(router: Router, users: Users, intent: Intent, stable: Upstream, candidate: Upstream) -> None:
    """Its pods go, and Envoy knows. None of the requests that tell it is the candidate's."""
    testers = Match(Selector("header", "x-look"), "present", "", "stable")
    await follow(router, with_policy(intent, matches=(testers,)), stable, candidate)
    await router.follow(with_policy(intent, matches=(testers,)), pods(candidate))

    async def gone() -> bool:
        answers = await many(lambda: users.ask(**{"x-look": "1"}), 20, 8)
        return {answer.fallback for answer in answers} == {"safe"}

    await eventually(gone, "nobody asks stable")
    assert candidate.requests == 0
    stable.requests = 0


async def test_without_retries_the_candidates_failure_reaches_its_user_and_a_missing_one_the_chain(
    router: Router, users: Users
) -> None:
    stable, candidate = pair()
    intent = with_policy(split(stable, candidate, 100.0, Fallback((), SAFE)), retry_on_stable=False)
    async with serving(stable, candidate):
        await follow(router, intent, stable, candidate)
        candidate.behaviour = "error"
        assert (await users.ask()).status == 500
        await router.follow(intent, {})
        # Envoy may hear that the candidate has no pod left before it hears the same of stable, which answers meanwhile.
        assert await until_answered(users, 200, "safe") <= {(500, None), (200, None), (200, "safe")}


async def test_testers_get_the_chain_too_and_questions_about_the_model_do_not(router: Router, users: Users) -> None:
    stable, candidate = pair()
    testers = Match(Selector("header", "x-tester"), "present", "", "candidate")
    intent = with_policy(split(stable, candidate, 0.0, Fallback((), SAFE)), matches=(testers,))
    async with serving(stable, candidate):
        await follow(router, intent, stable, candidate)
        stable.behaviour = candidate.behaviour = "error"
        answer = await users.ask(**{"x-tester": "1"})
        assert (answer.status, answer.fallback) == (200, "safe")
        assert (await users.ask(path="/v2/models/fraud/ready", **{"x-tester": "1"})).status == 500
        assert (await users.ask(path="/v2/models/fraud/ready")).status == 500
    assert attempts(router, candidate, "rq_total") == 0


async def test_two_models_that_stand_in_for_each_other_end_where_they_began(router: Router, users: Users) -> None:
    """The other model is this one, by another name."""
    stable, _ = pair()
    async with serving(stable):
        router.places["other"] = router.url
        intent = alone(stable, Fallback(("other",), SAFE))
        await follow(router, intent, stable)
        stable.behaviour = "error"
        answer = await users.ask()
        assert (answer.status, answer.fallback) == (200, "safe")
        assert stable.requests == 2
        stable.behaviour = "ok"
        assert (await users.ask(**{"headgate-fallback-for": "other"})).status == 200
        stable.behaviour = "error"
        assert (await users.ask(**{"headgate-fallback-for": "other"})).status == 503
        del router.places["other"]


async def test_an_answer_in_binary_stays_one(router: Router, users: Users) -> None:
    stable, _ = pair()
    simple = OtherModel(behaviour="binary")
    request = {**REQUEST, "outputs": [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "label"}]}
    head = json.dumps(
        {**request, "inputs": [{**REQUEST["inputs"][0], "data": None, "parameters": {"binary_data_size": 24}}]}  # type: ignore[dict-item]
    ).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    async with serving(stable), simple.serving(router):
        await follow(router, alone(stable, Fallback(("simple",), SAFE)), stable)
        stable.behaviour = "error"
        answer = await users.ask(head + bytes(24), **length)
        assert answer.json["parameters"] == {"more": 1, "fallback": "simple"}
        assert answer.body[int(answer.headers["Inference-Header-Content-Length"]) :] == bytes(8)
        assert simple.asked[-1][2] == head + bytes(24)
        simple.behaviour = "error"
        answer = await users.ask(head + bytes(24), **length)
    assert answer.fallback == "safe"
    assert [(each["name"], each["shape"]) for each in answer.json["outputs"]] == [("scores", [3, 2]), ("label", [3])]
    tail = answer.body[int(answer.headers["Inference-Header-Content-Length"]) :]
    assert struct.unpack("<6f", tail) == (0.5, 0.25) * 3


@pytest.mark.parametrize("body", [b"", b"[1", b"{}", b'{"inputs": [{"shape": [1000000000, 4]}]}', b'{"inputs": [1]}'])
async def test_what_is_no_request_gets_400_of_a_static_answer(router: Router, users: Users, body: bytes) -> None:
    await follow(router, Intent(policy=Policy(fallback=Fallback((), SAFE))))
    answer = await users.ask(body)
    assert answer.status == 400
    assert "error" in answer.json


async def test_bodies_up_to_the_routers_buffer_are_answered_and_larger_ones_refused(
    router: Router, users: Users
) -> None:
    stable, _ = pair()
    simple = OtherModel()
    async with serving(stable), simple.serving(router):
        await follow(router, alone(stable, Fallback(("simple",))), stable)
        stable.behaviour = "error"
        answer = await users.ask(bytes(4 << 20))
        assert (answer.status, len(simple.asked[-1][2])) == (200, 4 << 20)
        await follow(router, Intent(policy=Policy(fallback=Fallback((), SAFE))))
        assert (await users.ask(bytes(11 << 20))).status == 413


async def test_more_bytes_than_the_agent_holds_are_refused_and_held_no_longer(
    router: Router, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    await follow(router, Intent(policy=Policy(fallback=Fallback((), SAFE))))
    with monkeypatch.context() as patch:
        patch.setattr(rest, "HELD_BYTES", 1000)
        refused = await users.ask(bytes(2000))
        assert (refused.status, refused.json) == (503, {"error": "too many requests are waiting for a fallback"})
        assert (await users.ask()).status == 200


async def test_an_answer_that_is_too_large_is_passed_over(
    router: Router, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    simple = OtherModel()
    async with simple.serving(router):
        await follow(router, Intent(policy=Policy(fallback=Fallback(("simple",), SAFE))))
        monkeypatch.setattr(rest, "LARGEST_ANSWER", 10)
        assert (await users.ask()).fallback == "safe"
    assert len(simple.asked) == 1


@pytest.mark.usefixtures("long_rest")
async def test_while_one_pod_is_left_nobody_is_sent_past_it(router: Router, users: Users) -> None:
    """Envoy's own rule would send a part of the requests on as soon as a third of the pods is out."""
    stable, candidate = pair()
    broken = [Upstream(candidate.name, "error") for _ in range(3)]
    intent = split(stable, candidate, 100.0, Fallback((), SAFE))
    async with serving(stable, candidate, *broken):
        await follow(router, intent, stable, candidate, *broken)
        await until_ejected(users, *broken)
        for upstream in (stable, candidate, *broken):
            upstream.requests = 0
        assert Counter(answer.headers.get("x-headgate-revision") for answer in await users.ask_many(200)) == {
            candidate.name: 200
        }
        assert (stable.requests, candidate.requests) == (0, 200)
        # The same for stable, with nobody but the fallback behind it.
        await follow(router, alone(candidate, Fallback((), SAFE)), candidate, *broken)
        await until_ejected(users, *broken)
        answers = await users.ask_many(200)
    assert Counter(answer.fallback for answer in answers) == {None: 200}


@pytest.mark.usefixtures("long_rest")
async def test_a_stable_that_always_fails_is_asked_ten_times_and_then_rests(router: Router, users: Users) -> None:
    stable, _ = pair()
    async with serving(stable):
        await follow(router, alone(stable, Fallback((), SAFE)), stable)
        stable.behaviour = "error"
        answers = await until_ejected(users, stable)
        failed = stable.requests
        answers += await users.ask_many(200)
    assert {(answer.status, answer.fallback) for answer in answers} == {(200, "safe")}
    assert stable.requests == failed >= 10


@pytest.mark.usefixtures("long_rest")
async def test_a_pod_that_has_become_ready_is_asked_at_once_whatever_it_failed_before(
    router: Router, users: Users
) -> None:
    stable, _ = pair()
    intent = alone(stable, Fallback((), SAFE))
    async with serving(stable):
        await follow(router, intent, stable)
        starting = {stable.name: (replace(stable.endpoint, state=State.UNREADY),)}
        await router.follow(intent, starting)
        stable.behaviour = "error"
        await until_ejected(users, stable)
        assert {answer.fallback for answer in await users.ask_many(20)} == {"safe"}
        stable.behaviour = "ok"
        await router.follow(intent, pods(stable))
        assert await until_answered(users, 200, None) <= {(200, None), (200, "safe")}


class SlowlyFailing(Upstream):
    """A pod that fails all requests together."""

    async def answer(self, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(self.delay)
        return await super().answer(writer)


async def test_many_failures_at_once_keep_nobody_from_the_chain(router: Router) -> None:
    """More than stable's own retries may be at a time."""
    stable = SlowlyFailing(pair()[0].name)
    async with serving(stable), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await follow(router, alone(stable, Fallback((), SAFE)), stable)
        stable.behaviour, stable.delay = "error", 0.5
        answers = await asyncio.gather(*(Users(router, session).ask() for _ in range(200)))
    assert Counter((answer.status, answer.fallback) for answer in answers) == {(200, "safe"): 200}
    assert stable.requests > 10


class UnsureUpstream(Upstream):
    """A pod that is not sure of its answers."""

    async def answer(self, writer: asyncio.StreamWriter) -> bool:
        if self.behaviour != "ok":
            return await super().answer(writer)
        writer.write(b"HTTP/1.1 200 OK\r\nx-headgate-low-confidence: true\r\ncontent-length: 6\r\n\r\nunsure")
        await writer.drain()
        return True


@pytest.mark.parametrize(("asked_for", "expected"), [(True, "safe"), (False, None)])
async def test_an_unsure_answer_is_the_chains_if_that_is_asked_for(
    router: Router, users: Users, asked_for: bool, expected: str | None
) -> None:
    stable = UnsureUpstream(pair()[0].name)
    async with serving(stable):
        await follow(router, alone(stable, Fallback((), SAFE, on_low_confidence=asked_for)), stable)
        answer = await users.ask()
    assert (answer.status, answer.fallback) == (200, expected)
    # An unsure answer that its user does not get counts as a failed one.
    assert attempts(router, stable, "rq_error") == asked_for
    assert attempts(router, stable, "rq_success") == (not asked_for)


async def test_what_the_candidate_is_unsure_of_stable_may_be_sure_of(router: Router, users: Users) -> None:
    stable, candidate = pair()
    candidate = UnsureUpstream(candidate.name)
    async with serving(stable, candidate):
        intent = split(stable, candidate, 100.0, Fallback((), SAFE, on_low_confidence=True))
        await follow(router, intent, stable, candidate)
        answer = await users.ask()
        assert (answer.status, answer.headers.get("x-headgate-revision"), answer.fallback) == (200, stable.name, None)
    assert (attempts(router, candidate, "rq_success"), attempts(router, candidate, "rq_error")) == (0, 1)


async def test_a_fallback_comes_and_goes_without_a_failed_request(router: Router, users: Users) -> None:
    stable, candidate = pair()
    answers, done = list[Answer](), asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            answers.append(await users.ask())

    async with serving(stable, candidate):
        await follow(router, alone(stable, Fallback()), stable)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(load())
            for fallback in (Fallback((), SAFE), Fallback(), Fallback(("simple",)), Fallback()) * 3:
                await router.follow(split(stable, candidate, 50.0, fallback), pods(stable, candidate))
                await asyncio.sleep(0.05)
            done.set()
    assert Counter((answer.status, answer.fallback) for answer in answers) == {(200, None): len(answers)}


@pytest.mark.usefixtures("long_rest")
async def test_while_the_agent_is_away_stable_is_asked_even_if_it_rests(tmp_path: Path) -> None:
    stable, _ = pair()
    router = prepared(tmp_path)
    intent = alone(stable, Fallback((), SAFE))
    async with serving(stable), aiohttp.ClientSession() as session:
        users = Users(router, session)
        with ExitStack() as envoy:
            with answering(router):
                envoy.enter_context(running_envoy(router))
                await follow(router, intent, stable)
                stable.behaviour = "error"
                await until_ejected(users, stable)
                assert (await users.ask()).fallback == "safe"
            stable.behaviour = "ok"

            async def answered() -> bool:
                return (await users.ask()).status == 200

            await eventually(answered, "stable is asked")
            answers = await users.ask_many(40)
            assert (
                Counter(answer.status for answer in answers)[200] >= 15
            )  # of 40: the other half of the tries meets nobody
            with answering(router):
                await router.follow(intent, {})

                async def answered_by_the_chain() -> bool:
                    return (await users.ask()).fallback == "safe"

                await eventually(answered_by_the_chain, "the agent is back")
