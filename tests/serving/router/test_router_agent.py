import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from headgate_serving.router.agent import ALONE_AFTER_SECONDS, Agent, JsonLines, describe, parse_arguments
from headgate_serving.router.envoy.config import Layout
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.config.pod_sockets import pod_secrets
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.errors import PublishedUnreadable
from headgate_serving.router.metrics import Metrics
from headgate_serving.router.policy.pod_tls import PodTls
from headgate_serving.router.policy.protection import Protection
from headgate_serving.router.policy.traffic import Intent, Target
from headgate_serving.router.published import Published, read_published
from patience import PATIENCE
from router_cluster import FakeCache, endpoint, slice_of
from router_policies import written

ROUTER = {"headgate_router": "fraud-router-1"}
OLD, NEW = "fraud-1a2b3c4d", "fraud-9e8d7c6b"


@dataclass
class FakeEnvoy:
    """Notes what was written when it was asked, and may be behind."""

    folder: XdsFolder
    keeps_up: bool = True
    takes_routes: bool = True
    there: bool = True
    asked: list[Any] = field(default_factory=list)

    async def wait_for_clusters(self, version: str, seconds: float) -> Any:
        self.asked.append((version, set(self.folder.clusters()), self.folder._routed()))
        return self.keeps_up

    async def follows(self, version: str) -> Any:
        assert version == self.folder.version(self.folder.layout.routes)
        return self.takes_routes

    async def has_refused(self) -> Any:
        return False

    async def versions(self) -> Any:
        clusters, routes = self.folder.versions
        return (clusters if self.keeps_up else "", routes if self.takes_routes else "") if self.there else None


@dataclass
class World:
    root: Path
    now: float = 0.0

    def __post_init__(self) -> None:
        self.layout = Layout(PurePosixPath(self.root))
        self.deployments, self.slices = FakeCache(), FakeCache()
        self.start()

    def start(self) -> None:
        """A new agent on the same folder."""
        self.folder = XdsFolder(self.layout)
        self.folder.prepare()
        self.envoy = FakeEnvoy(self.folder)
        self.metrics = Metrics("ns", "fraud", "fraud-router-1")
        self.agent = Agent(
            "fraud", self.deployments, self.slices, self.folder, self.envoy, self.metrics, lambda: self.now
        )

    def split(self, *weights: tuple[str, str, float]) -> None:
        traffic = [{"revision": revision, "role": role, "weight": weight} for revision, role, weight in weights]
        self.deployments.objects["fraud"] = {"status": {"traffic": traffic, "policy": written()}}

    def pods(self, **revisions: str) -> None:
        self.slices.objects = {
            name: slice_of(endpoint(address=address), revision=name.replace("_", "-"))
            for name, address in revisions.items()
        }

    def document(self, path: PurePosixPath) -> str:
        return self.folder.text(path) or ""

    def routed(self) -> Any:
        """The revisions that requests are sent to."""
        return {name.partition("/")[0] for name in self.folder._routed()}

    def files(self) -> Mapping[str, tuple[int, str]]:
        return {
            str(path.relative_to(self.root)): (path.stat().st_mtime_ns, path.read_text())
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def reported(self) -> Any:
        """The revisions that the router says it may still send requests to."""
        return {rev for rev in (OLD, NEW) if self.value("headgate_router_routes", headgate_revision=rev, **ROUTER)}

    def value(self, name: Any, **labels: Any) -> Any:
        return self.metrics.registry.get_sample_value(
            name, {"headgate_namespace": "ns", "headgate_model": "fraud"} | labels
        )


@pytest.fixture
def world(tmp_path: Path) -> Any:
    return World(tmp_path)


async def test_nothing_is_written_before_both_mirrors_have_seen_everything(world: World) -> None:
    world.slices.synced = False
    assert not await world.agent.turn()
    assert not world.folder.complete
    assert not world.files()


async def test_a_model_without_a_version_gets_a_router_that_says_so(world: World) -> None:
    assert await world.agent.turn()
    assert world.folder.complete
    assert "no version is live yet" in (world.root / "rds.json").read_text()


async def test_new_clusters_are_known_to_envoy_before_a_route_names_them(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    ((_, clusters, routed),) = world.envoy.asked
    assert f"{NEW}/assigned=true" in clusters
    assert routed == set()
    assert world.routed() == {OLD, NEW}


async def test_a_new_weight_writes_one_file_and_asks_nobody(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    before = world.files()
    world.split((OLD, "stable", 80), (NEW, "candidate", 20))
    assert await world.agent.turn()
    after = world.files()
    assert [name for name in after if after[name] != before[name]] == ["rds.json"]
    assert len(world.envoy.asked) == 1
    assert world.value("headgate_router_weight", headgate_revision=NEW) == 20
    assert world.value("headgate_router_config_writes_total") > 0


async def test_routes_stay_while_envoy_is_behind_and_follow_later(world: World) -> None:
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    world.envoy.keeps_up = False
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    assert world.routed() == {OLD}
    assert world.agent._due_at == 1.0
    world.envoy.keeps_up = True
    assert await world.agent.turn()
    assert NEW in world.routed()
    assert world.agent._due_at is None


async def test_a_rollback_moves_the_routes_first_and_removes_the_clusters_later(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert world.routed() == {OLD}
    assert f"{NEW}/assigned=true" in world.folder.clusters()
    assert world.value("headgate_router_weight", headgate_revision=NEW) is None
    assert world.agent._due_at == 6.0
    world.now = 6.0
    await world.agent.turn()
    assert not [name for name in world.folder.clusters() if name.startswith(NEW)]
    assert not [name for name in world.files() if name.startswith(f"eds/{NEW}")]


async def test_endpoints_change_only_the_file_of_their_revision(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    before = world.files()
    world.pods(**{NEW: "10.0.0.7"})
    await world.agent.turn()
    after = world.files()
    assert [name for name in after if after[name] != before[name]] == [
        f"eds/{NEW}.attempts.json",
        f"eds/{NEW}.uncounted-attempts.json",
    ]


async def test_a_new_agent_finds_its_past_in_the_files_and_rewrites_nothing(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    world.pods(**{OLD: "10.0.0.1", NEW: "10.0.0.2"})
    await world.agent.turn()
    before = world.files()
    world.start()
    assert world.folder.complete
    assert not await world.agent.turn()
    assert world.files() == before


async def test_a_new_agent_lets_old_clusters_linger_too(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    world.start()
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert f"{NEW}/assigned=true" in world.folder.clusters()


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda world: world.split((OLD, "stable", 55)), id="weights that don't add up"),
        pytest.param(lambda world: world.deployments.objects.clear(), id="the ModelDeployment is gone"),
    ],
)
async def test_what_cannot_be_read_changes_nothing(world: World, break_it: Any) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    before = world.files()
    break_it(world)
    world.now = 1000.0
    assert not await world.agent.turn()
    assert world.files() == before
    # The next turn is the next change, not a deadline that has passed.
    assert world.agent._due_at is None


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(slice_of({"addresses": []}), id="no address"),
        pytest.param(slice_of(endpoint()) | {"ports": [{"name": "http"}]}, id="a port without a number"),
        pytest.param({"metadata": {"labels": {"headgate.dev/revision": OLD}}, "addressType": "IPv4"}, id="no ports"),
    ],
)
async def test_a_slice_that_cannot_be_read_holds_up_neither_pods_nor_a_rollback(
    world: World, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.split((OLD, "stable", 50), (NEW, "candidate", 50))
    world.pods(**{OLD: "10.0.0.1", NEW: "10.0.0.2"})
    await world.agent.turn()
    world.slices.objects["broken"] = broken
    world.slices.objects[OLD] = slice_of(endpoint(address="10.0.0.7"), revision=OLD)
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert world.routed() == {OLD}
    assert "10.0.0.7" in world.document(world.layout.endpoints(f"{OLD}.attempts"))
    assert ("EndpointSlice" in caplog.text) == ("ports" in broken)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"timeoutMs": 0}, id="no time"),
        pytest.param({"timeoutMs": 10**15}, id="a million years"),
        pytest.param({"timeoutMs": {}}, id="a timeout that is an object"),
        pytest.param({"timeoutMs": 200, "retryOnStable": "perhaps"}, id="perhaps as text"),
        pytest.param({"timeoutMs": 200, "matches": {"header": "x"}}, id="matches that are no list"),
        pytest.param({"timeoutMs": 200, "mirrorTo": "x"}, id="a part that only a newer release knows"),
        pytest.param(["all"], id="a list"),
        pytest.param("none", id="text"),
        pytest.param(None, id="of an operator that writes none"),
    ],
)
async def test_a_policy_that_cannot_be_read_holds_up_no_rollback(
    world: World, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.split((OLD, "stable", 50), (NEW, "candidate", 50))
    wish(world, timeout="200ms")
    await world.agent.turn()
    world.split((OLD, "stable", 100))
    world.deployments.objects["fraud"]["status"]["policy"] = policy
    assert await world.agent.turn()
    assert world.routed() == {OLD}
    assert '"timeout":"0.200s"' in world.document(world.layout.routes), "as it was"
    world.start()
    await world.agent.turn()
    assert '"timeout":"0.200s"' in world.document(world.layout.routes), "a new agent knows it too"
    assert "this agent can't follow status.policy" in caplog.text
    assert world.value("headgate_router_ignored", **ROUTER) == 1
    wish(world)
    await world.agent.turn()
    assert world.value("headgate_router_ignored", **ROUTER) == 0


async def test_a_new_router_that_knows_no_policy_at_all_does_not_guess_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.split((OLD, "stable", 100))
    del world.deployments.objects["fraud"]["status"]["policy"]
    assert not await world.agent.turn()
    assert not world.folder.complete
    assert "status.policy is missing: the operator is of another release" in caplog.text
    wish(world, timeout="200ms")
    await world.agent.turn()
    assert world.routed() == {OLD}


@dataclass
class Choosy:
    """An Envoy that refuses documents with a text in them, and keeps what it has."""

    folder: XdsFolder
    hates: str = '"timeout":"0.300s"'
    holds: dict[Any, Any] = field(default_factory=dict)
    admits: bool = True
    """Whether it counts what it has refused."""

    def look(self) -> None:
        for path in (self.folder.layout.clusters, self.folder.layout.routes):
            if (text := self.folder.text(path)) and self.hates not in text:
                self.holds[path] = self.folder.version(path)

    def refuses(self, path: PurePosixPath) -> Any:
        return self.hates in (self.folder.text(path) or "")

    async def wait_for_clusters(self, version: str, seconds: float) -> Any:
        self.look()
        return self.holds.get(self.folder.layout.clusters) == version

    async def follows(self, version: str) -> Any:
        self.look()
        return self.holds.get(self.folder.layout.routes) == version

    async def has_refused(self) -> Any:
        return self.admits

    async def versions(self) -> tuple[str, str]:
        self.look()
        return tuple(self.holds.get(path, "") for path in (self.folder.layout.clusters, self.folder.layout.routes))


@dataclass
class ChoosyWorld(World):
    """With an Envoy that refuses some documents."""

    def start(self) -> None:
        super().start()
        self.choosy = Choosy(self.folder)
        self.agent = Agent(
            "fraud", self.deployments, self.slices, self.folder, self.choosy, self.metrics, lambda: self.now
        )
        self.agent.acceptance.refuses = self.choosy.refuses


@pytest.fixture
def choosy(tmp_path: Path) -> ChoosyWorld:
    return ChoosyWorld(tmp_path)


def wish(world: World, **traffic: Any) -> None:
    world.deployments.objects["fraud"]["status"]["policy"] = written(traffic)


async def test_what_envoy_refuses_for_the_sake_of_the_spec_holds_up_no_rollback(
    choosy: ChoosyWorld, caplog: pytest.LogCaptureFixture
) -> None:
    choosy.split((OLD, "stable", 50), (NEW, "candidate", 50))
    wish(choosy, timeout="200ms", affinity={"cookie": "session"})
    await choosy.agent.turn()
    wish(choosy, timeout="300ms", affinity={"cookie": "session"})
    await choosy.agent.turn()
    assert choosy.agent._due_at is not None, "Envoy has not said yet what it makes of it"
    choosy.split((OLD, "stable", 100))
    wish(choosy, timeout="300ms", affinity={"cookie": "session"})
    await choosy.agent.turn()
    assert await choosy.choosy.versions() == choosy.folder.versions, "Envoy follows"
    assert choosy.routed() == {OLD}
    routes = choosy.document(choosy.layout.routes)
    assert '"timeout":"0.200s"' in routes
    assert "session" in routes
    assert "Envoy does not take what is made of it" in caplog.text
    before = choosy.files()
    for _ in range(3):
        await choosy.agent.turn()
    assert choosy.files() == before, "it is not tried again and again"


async def test_the_next_wish_after_a_refused_one_is_followed(choosy: ChoosyWorld) -> None:
    choosy.split((OLD, "stable", 100))
    for timeout in ("200ms", "300ms", "300ms", "400ms"):
        wish(choosy, timeout=timeout)
        await choosy.agent.turn()
    assert '"timeout":"0.400s"' in choosy.document(choosy.layout.routes)
    assert await choosy.choosy.versions() == choosy.folder.versions


async def test_a_candidate_comes_and_goes_while_a_wish_is_refused(choosy: ChoosyWorld) -> None:
    choosy.split((OLD, "stable", 100))
    wish(choosy, timeout="200ms")
    await choosy.agent.turn()
    choosy.split((OLD, "stable", 50), (NEW, "candidate", 50))
    wish(choosy, timeout="300ms")
    await choosy.agent.turn()
    await choosy.agent.turn()
    assert choosy.routed() == {OLD, NEW}
    assert await choosy.choosy.versions() == choosy.folder.versions
    choosy.split((OLD, "stable", 100))
    wish(choosy, timeout="300ms")
    await choosy.agent.turn()
    assert choosy.routed() == {OLD}
    assert await choosy.choosy.versions() == choosy.folder.versions


async def test_clusters_that_envoy_refuses_hold_up_no_rollback(choosy: ChoosyWorld) -> None:
    """Here with a candidate that comes at the same time, so that routes wait for the clusters."""
    choosy.choosy.hates = '"num_retries":1'
    choosy.split((OLD, "stable", 100))
    wish(choosy, timeout="200ms", retryOnStable=False)
    await choosy.agent.turn()
    choosy.split((OLD, "stable", 50), (NEW, "candidate", 50))
    wish(choosy, timeout="200ms", retryOnStable=True)
    await choosy.agent.turn()
    assert choosy.routed() == {OLD}
    await choosy.agent.turn()
    assert choosy.routed() == {OLD, NEW}, "without retries, as it was"
    choosy.split((OLD, "stable", 100))
    wish(choosy, timeout="200ms", retryOnStable=True)
    await choosy.agent.turn()
    assert choosy.routed() == {OLD}
    assert await choosy.choosy.versions() == choosy.folder.versions


@pytest.mark.parametrize("known", [True, False], ids=["after an earlier agent", "with an Envoy that has nothing yet"])
async def test_a_new_agent_follows_the_split_though_envoy_refuses_the_spec(choosy: ChoosyWorld, known: Any) -> None:
    choosy.split((OLD, "stable", 100))
    if known:
        wish(choosy, timeout="200ms")
        await choosy.agent.turn()
    wish(choosy, timeout="300ms")
    choosy.start()
    await choosy.agent.turn()
    await choosy.agent.turn()
    assert choosy.routed() == {OLD}
    assert await choosy.choosy.versions() == choosy.folder.versions
    assert f'"timeout":"{0.2 if known else 1.0:.3f}s"' in choosy.document(choosy.layout.routes)


async def test_an_envoy_that_has_refused_nothing_is_only_slow(choosy: ChoosyWorld) -> None:
    choosy.choosy.admits = False
    choosy.split((OLD, "stable", 100))
    for timeout in ("200ms", "300ms", "300ms"):
        wish(choosy, timeout=timeout)
        await choosy.agent.turn()
    assert '"timeout":"0.300s"' in choosy.document(choosy.layout.routes)
    assert choosy.agent._due_at is not None


async def test_a_split_that_envoy_refuses_changes_no_wish(choosy: ChoosyWorld) -> None:
    choosy.split((OLD, "stable", 100))
    wish(choosy, timeout="200ms")
    await choosy.agent.turn()
    choosy.choosy.hates = NEW
    choosy.split((OLD, "stable", 50), (NEW, "candidate", 50))
    wish(choosy, timeout="200ms")
    for _ in range(3):
        await choosy.agent.turn()
    choosy.choosy.hates = "nothing any more"
    choosy.split((OLD, "stable", 50), (NEW, "candidate", 50))
    wish(choosy, timeout="250ms")
    await choosy.agent.turn()
    assert choosy.routed() == {OLD, NEW}
    assert '"timeout":"0.250s"' in choosy.document(choosy.layout.routes)


async def test_a_refusal_is_looked_at_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.split((OLD, "stable", 100))
    task = asyncio.create_task(world.agent.run())
    turns = list[int]()

    async def turn() -> bool:
        turns.append(1)
        return False

    await asyncio.sleep(0)
    monkeypatch.setattr(world.agent, "turn", turn)
    world.agent.wake()
    async with asyncio.timeout(PATIENCE):
        while not turns:  # noqa: ASYNC110 - another task
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_router_is_ready_when_envoy_follows_routes_to_a_version_and_then_stays_so(world: World) -> None:
    await world.agent.turn()
    assert world.folder.complete
    assert not await world.agent.ready(), "there is no version"
    world.envoy.takes_routes = False
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert not await world.agent.ready(), "Envoy does not follow yet"
    world.envoy.takes_routes, world.envoy.there = True, False
    assert not await world.agent.ready(), "there is no Envoy"
    world.envoy.there = True
    assert await world.agent.ready()
    world.split((OLD, "stable", 70))
    await world.agent.turn()
    world.deployments.objects["fraud"] = {"status": {"traffic": []}}
    await world.agent.turn()
    world.envoy.there = False
    assert await world.agent.ready()


async def test_a_router_that_has_nothing_to_show_to_pods_yet_is_not_ready(world: World) -> None:
    world.agent.protection = Protection(pods=PodTls("fraud.ns.svc", {"1a2b3c4d": world.root / "mount"}))
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert not await world.agent.ready()
    for secret in pod_secrets(world.agent.protection.pods):
        for name in (secret.certificate, secret.authority):
            assert not await world.agent.ready()
            world.folder.put_in_memory(world.layout.secret(name), discovery_response({})[0])
    assert await world.agent.ready()


async def test_pods_that_it_has_no_certificate_for_are_said_and_others_are_asked(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.pods(fraud_1a2b3c4d="10.0.0.1")
    world.slices.objects["new"] = slice_of(endpoint(address="10.0.0.2"), revision=NEW, port="https-1a2b3c4d")
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    assert f"pods of {NEW} want a certificate of a Secret that is not mounted in this router" in caplog.text
    documents = {OLD: "10.0.0.1", NEW: "10.0.0.2"}
    written = {
        name: address in world.document(world.layout.endpoints(f"{name}.attempts"))
        for name, address in documents.items()
    }
    assert written == {OLD: True, NEW: False}


async def test_a_new_agent_without_an_api_server_is_ready_when_envoy_follows_what_there_is(world: World) -> None:
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    world.start()
    world.slices.synced = False
    await world.agent.turn()
    assert await world.agent.ready()


async def test_a_router_that_starts_with_what_was_published_is_ready(world: World) -> None:
    world.slices.synced = False
    world.agent.published = lambda: publish("10.0.0.1")
    world.now += ALONE_AFTER_SECONDS
    await world.agent.turn()
    assert await world.agent.ready()


async def test_with_a_fallback_a_router_is_ready_before_there_is_a_version(world: World) -> None:
    world.deployments.objects["fraud"] = {"status": {"policy": written({"fallback": [{"modelDeployment": "simple"}]})}}
    await world.agent.turn()
    assert await world.agent.ready()


async def test_what_an_agent_left_half_written_is_cleared_away(world: World) -> None:
    (world.root / ".rds.json").write_text("{")
    (world.root / "cds.json").write_text("{")
    world.start()
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert ".rds.json" not in world.files()
    assert f"{OLD}/attempts" in world.folder.clusters()


async def test_the_loop_follows_changes_until_it_is_cancelled(world: World) -> None:
    world.split((OLD, "stable", 100))
    task = asyncio.create_task(world.agent.run())
    deadline = time.monotonic() + PATIENCE
    while not world.folder.complete:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_log_line_is_json_whatever_it_says() -> None:
    record = logging.LogRecord("x", logging.ERROR, "file", 1, 'weight "%s"', ("ten",), None)
    assert json.loads(JsonLines().format(record))["message"] == 'weight "ten"'


def test_the_log_tells_the_split_in_a_line() -> None:
    intent = Intent((Target(OLD, "stable", 985), Target(NEW, "candidate", 15)))
    assert describe(intent) == f"{OLD} 98.5 %, {NEW} 1.5 %"


def test_the_command_line_is_that_of_the_contract() -> None:
    options = parse_arguments(["--namespace", "ns", "--model", "fraud", "--xds-dir", "/xds"])
    assert (options.namespace, options.model, str(options.xds_dir), options.port) == ("ns", "fraud", "/xds", 8081)


async def test_envoy_starts_with_an_edge_where_answers_become_slow(world: World) -> None:
    world.split((OLD, "stable", 100))
    world.deployments.objects["fraud"]["status"]["policy"] = written({}, {"latency": {"threshold": "210ms"}})
    await world.agent.turn()
    stats = json.loads((world.root / "bootstrap.yaml").read_text())["stats_config"]
    assert 210 in stats["histogram_bucket_settings"][0]["buckets"]


async def test_a_revision_is_reported_until_no_request_can_reach_it_any_more(world: World) -> None:
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    await world.agent.turn()
    assert world.reported() == {OLD, NEW}
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    assert world.routed() == {OLD}
    assert world.reported() == {OLD, NEW}, "a request on its way may be tried again there"
    world.now += 60
    world.envoy.takes_routes = False
    await world.agent.turn()
    assert world.reported() == {OLD, NEW}, "Envoy has not said that it follows"
    world.envoy.takes_routes = True
    await world.agent.turn()
    assert world.reported() == {OLD}


async def test_a_revision_is_reported_before_envoy_hears_of_it(world: World) -> None:
    world.split((OLD, "stable", 100))
    await world.agent.turn()
    world.split((OLD, "stable", 90), (NEW, "candidate", 10))
    world.envoy.keeps_up = False
    await world.agent.turn()
    assert world.routed() == {OLD}
    assert world.reported() == {OLD, NEW}


def publish(*addresses: Any) -> Any:
    """What the operator published: one version, and its pods."""
    slices = [slice_of(endpoint(address=address), revision=OLD) for address in addresses]
    traffic = [{"revision": OLD, "role": "stable", "weight": 100}]
    return Published({"status": {"traffic": traffic, "policy": written()}}, tuple(slices))


async def test_a_new_router_without_an_api_server_starts_with_what_was_published(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.slices.synced = False
    world.agent.published = lambda: publish("10.0.0.1")
    assert not await world.agent.turn(), "the API server may answer in a moment"
    world.now += ALONE_AFTER_SECONDS
    assert await world.agent.turn()
    assert world.routed() == {OLD}
    assert "10.0.0.1" in world.document(world.layout.endpoints(f"{OLD}.attempts"))
    assert "the API server can't be reached" in caplog.text
    world.now += 1
    world.agent.published = lambda: publish("10.0.0.2")
    assert await world.agent.turn(), "pods come and go meanwhile"
    assert "10.0.0.2" in world.document(world.layout.endpoints(f"{OLD}.attempts"))


async def test_the_api_server_knows_better_than_what_was_published(world: World) -> None:
    world.slices.synced = False
    world.agent.published = lambda: publish("10.0.0.1")
    world.now += ALONE_AFTER_SECONDS
    await world.agent.turn()
    world.slices.synced = True
    world.split((NEW, "stable", 100))
    await world.agent.turn()
    assert world.routed() == {NEW}


async def test_what_an_agent_left_is_better_than_what_was_published(world: World) -> None:
    world.split((OLD, "stable", 50), (NEW, "candidate", 50))
    await world.agent.turn()
    world.start()
    world.slices.synced = False
    world.agent.published = lambda: publish("10.0.0.1")
    world.now += ALONE_AFTER_SECONDS
    assert not await world.agent.turn()
    assert world.routed() == {OLD, NEW}


async def test_without_anything_published_a_router_waits(world: World) -> None:
    world.slices.synced = False
    world.now += ALONE_AFTER_SECONDS
    assert not await world.agent.turn()
    assert not world.folder.complete


@pytest.mark.parametrize("text", ["", "[]", '{"modelDeployment": 1, "endpointSlices": []}', '{"modelDeployment": {}}'])
def test_what_was_published_may_be_torn(tmp_path: Path, text: Any) -> None:
    file = tmp_path / "state.json"
    file.write_text(text)
    with pytest.raises(PublishedUnreadable, match=r"state\.json"):
        read_published(file)
    assert read_published(tmp_path / "nothing") is None


async def test_what_was_published_and_cannot_be_read_is_complained_of(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state.json").write_text("{")
    world.slices.synced = False
    world.agent.published = lambda: read_published(tmp_path / "state.json")
    world.now += ALONE_AFTER_SECONDS
    assert not await world.agent.turn()
    assert "state.json can't be read" in caplog.text


async def test_who_else_has_to_know_is_told_before_envoy(world: World) -> None:
    told = []
    world.agent.notify = lambda intent, endpoints: told.append((intent, endpoints, world.folder.complete))
    world.split((OLD, "stable", 100), (NEW, "candidate", 0))
    world.pods(fraud_1a2b3c4d="10.0.0.1")
    await world.agent.turn()
    ((intent, endpoints, written),) = told
    assert intent.stable and intent.candidate
    assert (intent.stable.revision, intent.candidate.revision, written) == (OLD, NEW, False)
    assert [pod.address for pod in endpoints[OLD]] == ["10.0.0.1"]
