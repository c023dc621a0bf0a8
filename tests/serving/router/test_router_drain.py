"""The drain before a router's end: the pod's own hook alone starts it, and nobody cuts it short."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import aiohttp
import pytest

from headgate_serving.router import drain_hook
from headgate_serving.router.drain import GO_ON_SECONDS, LONGEST_SECONDS, MOST_WAITING, Drain
from patience import PATIENCE, until
from virtual_time import run


@dataclass
class FakeEnvoy:
    told: list[bool] = field(default_factory=list)
    broken: bool = False

    async def drain(self, *, on: bool) -> bool:
        if self.broken:
            raise RuntimeError
        self.told.append(on)
        return True


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Path, FakeEnvoy]]:
    envoy, socket = FakeEnvoy(), folder / "drain.sock"
    drain = Drain(envoy)
    runner = await drain.serve(PurePosixPath(socket))
    try:
        yield socket, envoy
    finally:
        await drain.close()
        await runner.cleanup()


def asked(socket: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession("http://agent", connector=aiohttp.UnixConnector(str(socket), limit=0))


def test_an_earlier_drain_does_not_end_the_pods_own() -> None:
    async def story(clock: Callable[[], float]) -> None:
        drain = Drain(envoy := FakeEnvoy())
        await drain.wait(0)
        await asyncio.sleep(GO_ON_SECONDS - 20)
        begun = clock()
        await drain.wait(30)
        assert clock() == begun + 30
        assert drain.on
        assert envoy.told == [True, True], "nothing ended the drain within its time"

    run(story)


def test_who_asks_meanwhile_waits_for_the_same_end_and_moves_it_neither_way() -> None:
    async def story(clock: Callable[[], float]) -> None:
        drain = Drain(envoy := FakeEnvoy())
        begun = clock()

        async def later(after: float, seconds: float) -> float:
            await asyncio.sleep(after)
            await drain.wait(seconds)
            return clock() - begun

        assert [*await asyncio.gather(later(0, 30), later(1, 0), later(2, 600))] == [30, 30, 30]
        assert envoy.told == [True]

    run(story)


def test_a_pod_that_does_not_end_after_all_goes_on_and_can_be_drained_again() -> None:
    async def story(clock: Callable[[], float]) -> None:
        drain = Drain(envoy := FakeEnvoy())
        for turns in (1, 2):
            await drain.wait(5)
            assert drain.on
            await asyncio.sleep(GO_ON_SECONDS + 1)
            assert not drain.on
            assert envoy.told == [True, False] * turns

    run(story)


async def test_a_fault_ends_the_drain_for_who_waits() -> None:
    drain = Drain(FakeEnvoy(broken=True))
    async with asyncio.timeout(PATIENCE):
        await drain.wait(600)
    await drain.close()


async def test_a_crowd_is_not_held(tmp_path: Path) -> None:
    async with listening(tmp_path) as (socket, envoy), asked(socket) as session:
        questions = [asyncio.create_task(session.post("/drain?seconds=600")) for _ in range(50)]
        await until(lambda: sum(each.done() for each in questions) == 50 - MOST_WAITING)
        assert {each.result().status for each in questions if each.done()} == {503}
        assert envoy.told == [True]
        for each in questions:
            each.cancel()
        await asyncio.gather(*questions, return_exceptions=True)


@pytest.mark.parametrize(
    "query", ["", "?seconds=soon", "?seconds=-1", f"?seconds={LONGEST_SECONDS + 1}", "?seconds=nan"]
)
async def test_a_time_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    async with listening(tmp_path) as (socket, envoy), asked(socket) as session:
        assert (await session.post(f"/drain{query}")).status == 400
        assert envoy.told == []


async def test_the_hook_ends_with_the_drain(tmp_path: Path) -> None:
    async with listening(tmp_path) as (socket, envoy):
        assert await asyncio.to_thread(drain_hook.main, ["--socket", str(socket), "--seconds", "0"]) == 0
        assert envoy.told == [True]


async def test_the_hook_says_why_there_was_no_drain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drain_hook.main(["--socket", str(tmp_path / "drain.sock"), "--seconds", "30"]) == 1
    assert f"the agent at {tmp_path / 'drain.sock'} does not answer" in capsys.readouterr().err
    async with listening(tmp_path) as (socket, _):
        assert await asyncio.to_thread(drain_hook.main, ["--socket", str(socket), "--seconds", "6000"]) == 1
    assert "seconds has to be 0 to 600" in capsys.readouterr().err
