"""How Envoy gets its documents: from the agent, at once, and without either of them depending on the other's life."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import pytest

from headgate.api.policy import Match, Policy, Selector
from headgate_serving.router.envoy import discovery as discovery_module
from headgate_serving.router.envoy.config import Layout
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.discovery import Discovery
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE, eventually
from router_envoy import Router, answering, prepared, running_envoy
from router_upstreams import Upstream, serving

INFER = "/v2/models/fraud/infer"


class Asking:
    """Asks as Envoy does."""

    def __init__(
        self, folder: XdsFolder, session: aiohttp.ClientSession, refusals: list[int], discovery: Discovery
    ) -> None:
        self.folder = folder
        self.discovery = discovery
        self.refusals = refusals
        self._session = session

    def put(self, path: PurePosixPath, **resource: str) -> str:
        text, version = discovery_response(resource)
        self.folder.put(path, text)
        return version

    async def ask(self, kind: str, version: str = "", *names: str) -> tuple[int, Any]:
        asked = {"version_info": version, "resource_names": names, "node": {"id": "fraud.ns"}}
        async with self._session.post(f"http://agent/v3/discovery:{kind}", json=asked) as response:
            return response.status, await response.json() if response.status == 200 else None


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    folder = XdsFolder(Layout(PurePosixPath(tmp_path)))
    folder.prepare()
    refusals = list[int]()
    discovery = Discovery(folder, lambda: refusals.append(1))
    folder.changed = discovery.changed
    runner = await discovery.serve()
    connector = aiohttp.UnixConnector(path=str(folder.layout.agent_socket), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Asking(folder, session, refusals, discovery)
    await runner.cleanup()


async def waiting(asking: Asking, path: PurePosixPath, questions: int = 1) -> None:
    """Until so many questions for a document have come and wait for news of it."""

    async def all_wait() -> bool:
        return len(asking.discovery._news[path]._waiters) >= questions

    await eventually(all_wait, f"{questions} questions wait")


async def test_who_has_nothing_gets_what_there_is(asking: Asking) -> None:
    layout = asking.folder.layout
    for kind, path, names in [
        ("clusters", layout.clusters, ()),
        ("routes", layout.routes, ("headgate",)),
        ("endpoints", layout.endpoints("fraud-1a2b3c4d"), ("fraud-1a2b3c4d",)),
    ]:
        version = asking.put(path, name=kind)
        status, answer = await asking.ask(kind, "", *names)
        assert (status, answer) == (200, {"version_info": version, "resources": [{"name": kind}]})


async def test_who_has_the_newest_waits_until_there_is_another(asking: Asking) -> None:
    routes = asking.folder.layout.routes
    first = asking.put(routes, name="first")
    questions = [asyncio.create_task(asking.ask("routes", first, "headgate")) for _ in range(3)]
    await waiting(asking, routes, 3)
    asking.put(asking.folder.layout.clusters, name="of no interest")
    await asyncio.sleep(0.05)
    assert not any(question.done() for question in questions)
    second = asking.put(routes, name="second")
    for status, answer in await asyncio.wait_for(asyncio.gather(*questions), PATIENCE):
        assert (status, answer["version_info"]) == (200, second)


async def test_without_news_the_answer_is_that_there_is_none(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "HOLD_SECONDS", 0.05)
    version = asking.put(asking.folder.layout.routes, name="first")
    assert await asking.ask("routes", version, "headgate") == (304, None)
    assert await asking.ask("endpoints", "", "not-there-yet") == (304, None)


async def test_what_envoy_did_not_take_is_said_once_and_not_sent_again_at_once(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(discovery_module, "RETRY_SECONDS", 0.2)
    routes = asking.folder.layout.routes
    good = asking.put(routes, name="good")
    bad = asking.put(routes, name="bad")
    for least in (0.0, 0.2, 0.2):
        started = time.monotonic()
        status, answer = await asking.ask("routes", good, "headgate")
        assert (status, answer["resources"][0]["name"]) == (200, "bad")
        assert time.monotonic() - started >= least
    assert caplog.messages == [f"Envoy does not take version {bad} of rds.json, and goes on with what it has"]
    assert asking.refusals == [1]


async def test_what_comes_in_place_of_a_refused_document_is_sent_at_once(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_module, "RETRY_SECONDS", 2 * PATIENCE)
    routes = asking.folder.layout.routes
    good = asking.put(routes, name="good")
    asking.put(routes, name="bad")
    await asking.ask("routes", good, "headgate")
    again = asyncio.create_task(asking.ask("routes", good, "headgate"))
    await waiting(asking, routes)
    assert asking.discovery.refuses(routes)
    asking.put(routes, name="better")
    assert not asking.discovery.refuses(routes)
    _, answer = await asyncio.wait_for(again, PATIENCE)
    assert answer["resources"][0]["name"] == "better"


async def test_what_an_envoy_that_is_gone_would_have_got_was_sent_to_nobody(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one has the version before, and has not been told of the newest."""
    monkeypatch.setattr(discovery_module, "RETRY_SECONDS", 2 * PATIENCE)
    routes = asking.folder.layout.routes
    first = asking.put(routes, name="first")
    gone = asyncio.create_task(asking.ask("routes", first, "headgate"))
    await waiting(asking, routes)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await asyncio.sleep(0.05)
    asking.put(routes, name="second")
    await asyncio.sleep(0.05)
    _, answer = await asyncio.wait_for(asking.ask("routes", first, "headgate"), PATIENCE)
    assert answer["resources"][0]["name"] == "second"
    assert not asking.refusals


async def test_an_envoy_that_has_just_started_refuses_nothing(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "RETRY_SECONDS", 5.0)
    routes = asking.folder.layout.routes
    version = asking.put(routes, name="good")
    for _ in range(2):
        assert (await asking.ask("routes", "", "headgate"))[0] == 200
    assert not asking.refusals
    # It takes nothing, and asks again and again.
    for _ in range(2):
        assert (await asking.ask("routes", "", "headgate"))[0] == 200
    assert asking.refusals == [1]
    assert asking.discovery.refuses(routes)
    # It takes it after all.
    asks = asyncio.create_task(asking.ask("routes", version, "headgate"))
    await waiting(asking, routes)
    assert not asking.discovery.refuses(routes)
    asking.put(routes, name="next")
    assert (await asks)[0] == 200


@pytest.mark.parametrize(
    ("kind", "names"),
    [("listeners", ()), ("endpoints", ()), ("endpoints", ("a", "b")), ("../rds.json", ())],
)
async def test_there_is_nothing_else(asking: Asking, kind: str, names: tuple[str, ...]) -> None:
    assert await asking.ask(kind, "", *names) == (404, None)


async def test_only_documents_are_handed_out(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "HOLD_SECONDS", 0.05)
    secret = Path(asking.folder.layout.root, "secret.json")
    await asyncio.to_thread(secret.write_text, json.dumps({"version_info": "1"}))
    assert await asking.ask("endpoints", "", "../secret") == (304, None)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Router]:
    """A router of its own: these tests end its parts."""
    yield prepared(tmp_path)


def only(upstream: Upstream) -> Intent:
    return Intent((Target(upstream.name, "stable", 1000),))


@asynccontextmanager
async def clients(router: Router) -> AsyncIterator[list[str]]:
    """Ask all the time; what was wrong with an answer is in the list."""
    wrong, over = list[str](), asyncio.Event()

    async def ask(session: aiohttp.ClientSession) -> None:
        while not over.is_set():
            try:
                async with session.post(f"{router.url}{INFER}", data=b"{}") as response:
                    if response.status != 200:
                        wrong.append(await response.text())
            except aiohttp.ClientError as error:
                wrong.append(repr(error))
            await asyncio.sleep(0.005)

    async with aiohttp.ClientSession() as session:
        task = asyncio.create_task(ask(session))
        yield wrong
        over.set()
        await task


async def until_answered_by(router: Router, upstream: Upstream, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.post(f"{router.url}{INFER}", data=b"{}") as response:
                if await response.text() == upstream.name:
                    return
            assert time.monotonic() < deadline, f"not {upstream.name} within {seconds} s"
            await asyncio.sleep(0.01)


async def test_envoy_goes_on_without_the_agent_and_follows_the_next_one(alone: Router) -> None:
    first, second = Upstream("fraud-00000001"), Upstream("fraud-00000002")
    async with serving(first, second):
        pods = {upstream.name: (upstream.endpoint,) for upstream in (first, second)}
        with ExitStack() as envoy:
            with answering(alone):
                envoy.enter_context(running_envoy(alone))
                await alone.follow(only(first), pods)
                await until_answered_by(alone, first)
            async with clients(alone) as wrong:
                await asyncio.sleep(0.5)
                with answering(alone):
                    await alone.follow(only(second), pods)
                    await until_answered_by(alone, second)
            assert not wrong


async def test_a_new_envoy_gets_everything_from_an_agent_that_has_no_api_server(alone: Router) -> None:
    stable, candidate = Upstream("fraud-00000001"), Upstream("fraud-00000002")
    targets = (Target(stable.name, "stable", 0), Target(candidate.name, "candidate", 1000))
    async with serving(stable, candidate):
        with answering(alone), running_envoy(alone):
            pods = {upstream.name: (upstream.endpoint,) for upstream in (stable, candidate)}
            await alone.follow(Intent(targets), pods)
            await until_answered_by(alone, candidate)
        # The next agent finds the documents on disk.
        folder = XdsFolder(alone.layout)
        folder.prepare()
        with answering(Router(alone.layout, folder)), running_envoy(alone):
            await until_answered_by(alone, candidate)


async def test_envoy_takes_the_longest_cookies(alone: Router) -> None:
    stable, candidate = Upstream("fraud-00000001"), Upstream("fraud-00000002")
    targets = (Target(stable.name, "stable", 1000), Target(candidate.name, "candidate", 0))
    matches = tuple(Match(Selector("cookie", "c" * 100), "prefix", "." * 256, "candidate") for _ in range(20))
    async with serving(stable, candidate):
        with answering(alone), running_envoy(alone):
            pods = {upstream.name: (upstream.endpoint,) for upstream in (stable, candidate)}
            await alone.follow(Intent(targets, Policy(matches=matches)), pods)
            await until_answered_by(alone, stable)
            async with (
                aiohttp.ClientSession(headers={"cookie": f"{'c' * 100}={'.' * 256}"}) as session,
                session.post(f"{alone.url}{INFER}", data=b"{}") as response,
            ):
                assert await response.text() == candidate.name


def opened_by(process: int, what: str) -> list[str]:
    opened = [str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()]
    return [name for name in opened if what in name]


async def test_envoy_follows_no_files(alone: Router) -> None:
    stable = Upstream("fraud-00000001")
    async with serving(stable):
        with answering(alone), running_envoy(alone) as process:
            await alone.follow(only(stable), {stable.name: (stable.endpoint,)})
            await until_answered_by(alone, stable)
            assert not opened_by(process.pid, "inotify")
