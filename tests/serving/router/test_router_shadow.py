"""Copies for a candidate, with the real Envoy: what it is asked, what is counted, and that users notice nothing."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from pathlib import Path

import aiohttp
import grpc
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import service_pb2_grpc

from headgate.api.policy import Match, Policy, Selector
from headgate_serving.codec.http_message import MAX_BODY
from headgate_serving.router.mirror import bounds, consumers, session, tap
from headgate_serving.router.mirror import candidate as candidate_module
from headgate_serving.router.mirror.controller import MirrorController
from headgate_serving.router.mirror.series import REASONS, VERDICTS
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE, PATIENT_MS
from router_envoy import Router
from router_models import INFER, Model, binary_request, grpc_request, json_request, serving_models

_numbers = count(700)


def stable_says(x: int) -> int:
    return x % 3


def candidate_says(x: int) -> int | None:
    """Wrong for each tenth row, and no answer for each 25th."""
    return None if x % 25 == 7 else (x + (x % 10 == 0)) % 3


def recount(requests: Sequence[list[int]]) -> dict[str, int]:
    """What an offline comparison of both versions says."""

    def verdict(rows: list[int]) -> str:
        labels = [candidate_says(x) for x in rows]
        alike = sum(label == stable_says(x) for label, x in zip(labels, rows, strict=True))
        if None in labels:
            return "error"
        return "yes" if alike == len(rows) else "few" if alike < len(rows) / 2 else "no"

    return dict.fromkeys(VERDICTS, 0) | Counter(verdict(rows) for rows in requests)


@dataclass
class Scene:
    """A stable version and its candidate behind Envoy, and the agent's part of the shadow."""

    router: Router
    stable: Model
    candidate: Model
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.shadow = MirrorController("ns", "fraud", self.router.layout.copies_socket, self.registry)

    async def follow(self, percent: float = 100, *matches: Match, timeout_ms: int = PATIENT_MS) -> None:
        """As the agent does, and until both workers of Envoy do."""
        targets = (
            Target(self.stable.name, "stable", 1000),
            Target(self.candidate.name, "candidate", 0, round(10 * percent)),
        )
        intent = Intent(targets, Policy(timeout_ms, matches=matches))
        pods = {model.name: (model.endpoint,) for model in (self.stable, self.candidate)}
        self.shadow.follow(intent, pods)
        await self.router.follow(intent, pods)
        await until(self.router.follows_routes)

    async def ask_json(self, rows: list[int], **headers: str) -> str:
        body, kind = json_request(rows)
        return await self._post(body, kind | headers)

    async def ask_binary(self, rows: list[int]) -> str:
        return await self._post(*binary_request(rows))

    async def ask_grpc(self, rows: list[int]) -> str:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        name: str = (await stub.ModelInfer(grpc_request(rows))).model_name
        return name

    async def _post(self, body: bytes, headers: dict[str, str]) -> str:
        async with self.session.post(f"{self.router.url}{INFER}", data=BytesIO(body), headers=headers) as answer:
            await answer.read()
            assert answer.status == 200
            return answer.headers["x-headgate-revision"]

    def pairs(self) -> dict[str, int]:
        return self._values("headgate_shadow_pairs_total", "agree")

    def dropped(self) -> dict[str, int]:
        return {reason: n for reason, n in self._values("headgate_shadow_dropped_total", "reason").items() if n}

    def _values(self, name: str, label: str) -> dict[str, int]:
        samples = [s for family in self.registry.collect() for s in family.samples if s.name == name]
        whose = {
            "headgate_namespace": "ns",
            "headgate_model": "fraud",
            "headgate_revision": self.candidate.name,
            "headgate_baseline": self.stable.name,
        }
        assert all(whose.items() <= sample.labels.items() for sample in samples)
        return {sample.labels[label]: int(sample.value) for sample in samples}


async def until(done: Callable[[], Awaitable[object]], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not await done():  # noqa: ASYNC110 - asks Envoy, or waits for a count
            await asyncio.sleep(0.02)


async def counted(scene: Scene, copies: int) -> None:
    async def all_there() -> bool:
        return sum(scene.pairs().values()) + sum(scene.dropped().values()) >= copies

    await until(all_there)


async def settled(scene: Scene) -> None:
    """Wait until what the candidate was asked is counted, and it is asked no more."""

    async def so() -> bool:
        before = scene.candidate.asked
        await asyncio.sleep(0.5)
        return before == scene.candidate.asked == sum(scene.pairs().values())

    await until(so)


@pytest.fixture
async def scene(router: Router, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(tap, "RateLimiter", lambda: bounds.RateLimiter(10_000))
    number = next(_numbers)
    stable = Model(f"fraud-5ab1e{number:03}", stable_says)
    candidate = Model(f"fraud-ca4d1{number:03}", candidate_says)
    async with (
        serving_models(stable, candidate),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel,
    ):
        found = Scene(router, stable, candidate, session, channel)
        yield found
        await found.shadow.close()


@pytest.mark.parametrize("way", ["ask_json", "ask_binary", "ask_grpc"])
async def test_agreement_equals_an_offline_recount_and_no_answer_of_the_candidate_reaches_a_user(
    scene: Scene, way: str
) -> None:
    await scene.follow()
    assert scene.pairs() == recount([])
    requests = [[x, x + 1] for x in range(100)]
    answered = Counter([await getattr(scene, way)(rows) for rows in requests])
    assert set(answered) == {scene.stable.name}
    await counted(scene, len(requests))
    assert scene.pairs() == recount(requests)
    assert not scene.dropped()
    assert scene.candidate.asked == scene.candidate.marked == len(requests)
    assert scene.stable.asked == len(requests)
    assert scene.router.count("envoy_cluster_endpoint_rq_success", headgate_revision=scene.candidate.name) == 0


async def test_answers_that_a_user_wanted_compressed_are_understood(scene: Scene) -> None:
    await scene.follow()
    for x in range(20):
        await scene.ask_json([x] * 2000, **{"accept-encoding": "gzip"})
    await counted(scene, 20)
    assert scene.pairs() == recount([[x] for x in range(20)]) | {"error": 1}


async def test_a_part_of_the_requests_is_copied(scene: Scene) -> None:
    await scene.follow(10)
    for _ in range(20):
        await asyncio.gather(*(scene.ask_json([1]) for _ in range(50)))
    await settled(scene)
    assert 50 <= scene.candidate.asked <= 160
    assert scene.pairs()["yes"] == scene.candidate.asked


class RateOfOneMoment(bounds.RateLimiter):
    """However long a busy machine takes for the requests."""

    def allows(self, now: float) -> bool:
        return super().allows(0.0)


async def test_more_than_the_pace_is_let_go_and_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "RateLimiter", lambda: RateOfOneMoment(10))
    await scene.follow()
    answered = [await scene.ask_json([1]) for _ in range(40)]
    assert set(answered) == {scene.stable.name}
    await counted(scene, 40)
    assert scene.candidate.asked == scene.pairs()["yes"] == 10
    assert scene.dropped() == {"pace": 30}


async def test_testers_wait_for_the_canary_and_who_never_gets_the_candidate_is_not_copied(scene: Scene) -> None:
    tester = Match(Selector("header", "x-tester"), "present", "", "candidate")
    tenant = Match(Selector("header", "x-tenant"), "present", "", "stable")
    await scene.follow(100, tester, tenant)
    assert await scene.ask_json([1], **{"x-tester": "yes"}) == scene.stable.name
    await counted(scene, 1)
    assert await scene.ask_json([1], **{"x-tenant": "bank"}) == scene.stable.name
    await asyncio.sleep(0.3)
    assert scene.candidate.asked == 1


async def test_what_stable_did_not_answer_is_no_pair(scene: Scene) -> None:
    await scene.follow()
    scene.stable.classify = lambda _: None
    async with scene.session.post(f"{scene.router.url}{INFER}", data=json_request([1])[0]) as answer:
        assert answer.status == 500
    with pytest.raises(grpc.aio.AioRpcError):
        await scene.ask_grpc([1])
    await counted(scene, 2)
    assert scene.dropped() == {"unanswered": 2}
    assert scene.candidate.asked == 0


async def test_what_another_revision_answered_is_no_pair(scene: Scene) -> None:
    await scene.follow()
    answering, scene.stable.name = scene.stable.name, f"fraud-{next(_numbers):08}"
    targets = Target(scene.stable.name, "stable", 1000), Target(scene.candidate.name, "candidate", 0, 1000)
    scene.shadow.follow(Intent(targets), {scene.candidate.name: (scene.candidate.endpoint,)})
    await asyncio.sleep(0.2)
    assert await scene.ask_json([1]) == answering
    await counted(scene, 1)
    assert (scene.dropped(), scene.candidate.asked) == ({"other-revision": 1}, 0)


async def test_large_bodies_go_through_and_are_not_compared(scene: Scene) -> None:
    await scene.follow()
    rows = [1] * (MAX_BODY // 8 + 1)
    assert await scene.ask_binary(rows) == scene.stable.name  # says so: Envoy does not copy it
    assert await scene.ask_grpc(rows) == scene.stable.name  # does not say so
    await counted(scene, 1)
    await asyncio.sleep(0.2)
    assert (scene.dropped(), scene.candidate.asked) == ({"size": 1}, 0)


async def test_a_candidate_that_hangs_holds_up_nobody_and_what_is_more_than_the_bounds_is_dropped_and_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST_WAITING", 20)
    monkeypatch.setattr(candidate_module, "SPARE_SECONDS", 0.0)
    scene.candidate.hangs = True
    await scene.follow(timeout_ms=10_000)
    for _ in range(10):
        answered = await asyncio.gather(*(scene.ask_json([1]) for _ in range(10)))
        assert set(answered) == {scene.stable.name}
        await asyncio.sleep(0.3)  # of more than 64 at a time Envoy makes no copies
    await counted(scene, 100 - 20 - candidate_module.AT_ONCE)
    assert scene.dropped() == {"queue": 100 - 20 - candidate_module.AT_ONCE}
    assert scene.candidate.asked == candidate_module.AT_ONCE
    await counted(scene, 100 - 20)
    assert scene.pairs() == recount([]) | {"error": candidate_module.AT_ONCE}


async def test_what_the_shadow_holds_is_bounded_in_bytes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "ByteBudget", lambda: bounds.ByteBudget(most=3 << 20))
    scene.candidate.hangs = True
    await scene.follow()
    rows = [1] * (MAX_BODY // 16)
    answered = [await scene.ask_grpc(rows) for _ in range(12)]
    assert set(answered) == {scene.stable.name}
    await counted(scene, 10)
    assert scene.dropped() == {"bytes": 10}  # each is a little more than a megabyte


async def test_without_an_agent_requests_go_on(scene: Scene) -> None:
    await scene.follow()
    await scene.ask_json([1])
    await counted(scene, 1)
    await scene.shadow.close()
    for way in (scene.ask_json, scene.ask_binary, scene.ask_grpc):
        assert {await way([x]) for x in range(20)} == {scene.stable.name}
    assert scene.candidate.asked == 1


async def test_an_agent_that_hangs_is_waited_for_by_nobody(scene: Scene, tmp_path: Path) -> None:
    await scene.follow()
    await scene.shadow.close()
    socket = scene.router.layout.copies_socket
    code = f"""
import asyncio
from headgate_serving.router.mirror.tap import Tap
from headgate_serving.router.mirror.bounds import ByteBudget
from pathlib import PurePosixPath
async def serve():
    tap = Tap(PurePosixPath({str(socket)!r}), ByteBudget(), lambda exchange: print("copied", flush=True), print)
    await tap.start()
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(serve())
"""
    took: dict[str, list[float]] = {"the agent runs": [], "it hangs": []}
    loop = asyncio.get_running_loop()

    async def ask_some(when: str) -> None:
        for _ in range(20):
            began = loop.time()
            await scene.ask_json([1])
            took[when].append(loop.time() - began)

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        assert await process.stdout.readline() == b"ready\n"
        await scene.ask_json([1])
        assert await process.stdout.readline() == b"copied\n"
        await ask_some("the agent runs")
        os.kill(process.pid, signal.SIGSTOP)
        await ask_some("it hangs")  # all of them are copied: of more than 64 at a time Envoy makes no copies
        for _ in range(10):
            await asyncio.gather(*(scene.ask_json([x]) for x in range(30)))
        for _ in range(20):
            await scene.ask_grpc([1] * 50_000)
        state = await asyncio.to_thread(Path(f"/proc/{process.pid}/stat").read_text)
        assert state.rpartition(")")[2].split()[0] == "T"
        # The quickest, for all would have to wait: a busy machine makes some slow, at both times.
        assert min(took["it hangs"]) < min(took["the agent runs"]) + 0.2
    finally:
        process.kill()
        await process.wait()


async def test_the_series_of_another_pair_of_revisions_begin_at_0_and_go_with_the_shadow(scene: Scene) -> None:
    await scene.follow()
    await scene.ask_json([1])
    await counted(scene, 1)
    scene.candidate.name = f"fraud-{next(_numbers):08}"
    await scene.follow()
    assert scene.pairs() == recount([])
    assert len(scene._values("headgate_shadow_dropped_total", "reason")) == len(REASONS)
    await scene.ask_json([1])
    await counted(scene, 1)
    await scene.follow(0)
    assert (scene.pairs(), scene.dropped()) == ({}, {})
    asked = scene.candidate.asked
    await scene.ask_json([1])
    await asyncio.sleep(0.1)
    assert scene.candidate.asked == asked


async def test_pods_that_come_and_go_are_followed(scene: Scene) -> None:
    await scene.follow()
    await scene.ask_grpc([1])
    await scene.ask_json([1])
    await counted(scene, 2)
    other = Model(scene.candidate.name, candidate_says)
    async with serving_models(other):
        scene.candidate, gone = other, scene.candidate
        await scene.follow()
        await scene.ask_grpc([1])
        await scene.ask_json([1])
        await counted(scene, 4)
    assert (gone.asked, other.asked, scene.pairs()["yes"]) == (2, 2, 4)


def test_nothing_of_a_shadow_is_imported_without_one() -> None:
    code = (
        "import sys, headgate_serving.router.agent\n"
        "assert not {'grpc', 'numpy', 'google.protobuf'} & sys.modules.keys(), 'imported'"
    )
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0
