"""An Envoy that is killed and comes back: who connects in between is answered, with the real Envoy."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from headgate_serving.router.envoy import standby
from headgate_serving.router.envoy.standby import StandbyListener
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE, eventually
from router_envoy import Router, answering, prepared, running_envoy
from router_upstreams import Upstream, serving

POD = Upstream("fraud-4017d001")
INFER = "/v2/models/fraud/infer"


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return prepared(tmp_path)


@pytest.fixture
async def ending(router: Router, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bool]]:
    """Whether the pod ends; the agent's part runs."""
    monkeypatch.setattr(standby, "HELD_SECONDS", PATIENCE)  # a busy machine is not what this is about
    said = [False]
    layout = router.layout
    keeper = StandbyListener(Path(layout.admin_socket), layout.bind, layout.inference_port, lambda: said[0])
    task = asyncio.create_task(keeper.run())
    yield said
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ask(router: Router) -> tuple[int, str | None]:
    """On a connection of its own."""
    async with aiohttp.ClientSession() as session, session.post(f"{router.url}{INFER}", data=b"{}") as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-headgate-revision")


async def serve(router: Router) -> None:
    await router.follow(Intent((Target(POD.name, "stable", 1000),)), {POD.name: (POD.endpoint,)})
    async with asyncio.timeout(PATIENCE):
        while await ask(router) != (200, POD.name):  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(0.02)


async def refused(router: Router) -> bool:
    """Not even connected; who is held is, and may be let go later."""
    try:
        await asyncio.wait_for(ask(router), PATIENCE / 2)
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        return isinstance(error, aiohttp.ClientConnectorError)
    return False


async def connected(admin: Path) -> bool:
    """Whether somebody has a connection to Envoy's admin socket that lasts: Linux lists its end and the listener."""
    for _ in range(2):
        if (await asyncio.to_thread(Path("/proc/net/unix").read_text)).count(str(admin)) < 2:
            return False
        await asyncio.sleep(0.05)
    return True


@asynccontextmanager
async def no_envoy(router: Router, caplog: pytest.LogCaptureFixture, *, killed: bool = True) -> AsyncIterator[None]:
    """There was one, which served; the agent is there, and knows."""
    async with serving(POD):
        with answering(router):
            with running_envoy(router) as envoy:
                await serve(router)
                await eventually(partial(connected, Path(router.layout.admin_socket)), "the agent's connection")
                envoy.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
                envoy.wait()
            async with asyncio.timeout(PATIENCE):
                while killed and "connections wait" not in caplog.text:  # noqa: ASYNC110 - reads the log
                    await asyncio.sleep(0.01)
            yield


async def test_who_comes_while_envoy_is_away_is_answered_by_the_next_one(
    router: Router, ending: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    async with no_envoy(router, caplog):
        waiting = [asyncio.create_task(ask(router)) for _ in range(50)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in waiting)
        with running_envoy(router):
            assert set(await asyncio.gather(*waiting)) == {(200, POD.name)}
            assert {await ask(router) for _ in range(20)} == {(200, POD.name)}


async def test_a_connection_that_was_held_lasts(
    router: Router, ending: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    async with no_envoy(router, caplog), aiohttp.ClientSession() as session:
        first = asyncio.create_task(session.post(f"{router.url}{INFER}", data=BytesIO(bytes(5 << 20))).__aenter__())
        await asyncio.sleep(0.2)
        with running_envoy(router):
            assert (await first).status == 200
            for size in (1, 1 << 20, 5 << 20):
                async with session.post(f"{router.url}{INFER}", data=BytesIO(bytes(size))) as answer:
                    assert (answer.status, len(await answer.read()) > 0) == (200, True)


async def test_where_envoy_does_not_come_back_nobody_waits_for_long(
    router: Router, ending: list[bool], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "HELD_SECONDS", 0.5)
    async with no_envoy(router, caplog):
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(router)
        assert await refused(router)


async def test_where_the_pod_ends_nobody_is_held(
    router: Router, ending: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    ending[0] = True
    async with no_envoy(router, caplog, killed=False):
        await asyncio.sleep(0.1)
        assert await refused(router)


async def test_more_than_the_bound_are_let_go(
    router: Router, ending: list[bool], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "MOST_HELD", 5)
    async with no_envoy(router, caplog):
        waiting = [asyncio.create_task(ask(router)) for _ in range(8)]

        async def three_are_let_go() -> bool:
            return sum(task.done() for task in waiting) == 3

        await eventually(three_are_let_go)
        with running_envoy(router):
            ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert ends.count((200, POD.name)) == 5
    assert sum(isinstance(end, aiohttp.ClientConnectionError) for end in ends) == 3
