"""What users and the operator see of the router, with the real Envoy between small fake pods."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from itertools import count

import aiohttp
import pytest

from headgate.api.policy import Match, Policy, Role, Selector
from headgate_serving.router.envoy.config import clusters
from headgate_serving.router.envoy.step import Memory
from headgate_serving.router.policy.endpoints import Endpoint, State
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENT_MS, eventually
from ports import free_port
from router_envoy import BUDGET_MS, MODEL, NAMESPACE, SLOW_MS, Router
from router_policies import with_policy
from router_upstreams import LARGE, Behaviour, Upstream, many, serving

INFER = "/v2/models/fraud/infer"
_numbers = count()


@dataclass
class Answer:
    status: int
    body: str
    revision: str | None


@dataclass
class Users:
    """Send requests and keep what came back."""

    router: Router
    session: aiohttp.ClientSession
    answers: list[Answer] = field(default_factory=list)

    async def ask(self, path: str = INFER, body: bytes | BytesIO = b"{}", /, **headers: str) -> Answer:
        async with self.session.post(f"{self.router.url}{path}", data=body, headers=headers) as response:
            text = await response.text()
            revision = response.headers.get("x-headgate-revision")
        return Answer(response.status, text, revision)

    async def who_answers(self, **headers: str) -> str | None:
        return (await self.ask(**headers)).revision

    async def ask_many(self, number: int, at_a_time: int = 16) -> list[Answer]:
        return await many(self.ask, number, at_a_time)


@pytest.fixture
async def users(router: Router) -> AsyncIterator[Users]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        yield Users(router, session)


def pair(candidate: Behaviour = "ok") -> tuple[Upstream, Upstream]:
    number = next(_numbers)
    return Upstream(f"fraud-5ab1e{number:03}"), Upstream(f"fraud-ca4d1{number:03}", candidate)


def split(
    stable: Upstream, candidate: Upstream, percent: float, timeout_ms: int = PATIENT_MS, *, retry: bool = True
) -> Intent:
    tenths = round(percent * 10)
    targets = (Target(stable.name, "stable", 1000 - tenths), Target(candidate.name, "candidate", tenths))
    return Intent(targets, Policy(timeout_ms, retry))


def matching(intent: Intent, *matches: Match, affinity: Selector | None = None) -> Intent:
    return with_policy(intent, matches=matches, affinity=affinity)


def pods(*upstreams: Upstream) -> dict[str, tuple[Endpoint, ...]]:
    return {upstream.name: (upstream.endpoint,) for upstream in upstreams}


async def answered_by(users: Users, *upstreams: Upstream) -> None:
    """Wait until Envoy follows: the counters of the pods are there, and one of the pods answers."""

    async def check() -> bool:
        return (await users.ask("/v2")).revision in {upstream.name for upstream in upstreams}

    await eventually(check, "an answer of the new revisions")


def attempts(router: Router, upstream: Upstream, what: str) -> int:
    return int(router.count(f"envoy_cluster_endpoint_{what}", headgate_revision=upstream.name))


async def test_the_split_follows_the_weights(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 30.0), pods(stable, candidate))
        await answered_by(users, stable, candidate)
        answers = Counter(answer.body for answer in await users.ask_many(1500))
    assert answers.keys() == {stable.name, candidate.name}
    # Five standard deviations.
    assert answers[candidate.name] / 1500 == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize(
    ("behaviour", "total", "error", "late"),
    [
        pytest.param("error", 6, 6, 0, id="an answer 500 is an error"),
        pytest.param("reset", 6, 6, 0, id="a broken connection is an error"),
        pytest.param("hang", 6, 6, 6, id="a late answer is an error and a timeout"),
        pytest.param("refused", 0, 6, 0, id="a refused connection is an error but no request"),
        pytest.param("overloaded", 6, 6, 0, id="an answer 429 is an error"),
        pytest.param("cut", 6, 6, 0, id="an answer that breaks off is an error"),
        pytest.param("stuck", 6, 6, 6, id="an answer that never ends is an error and a timeout"),
        pytest.param("garbage", 6, 6, 0, id="an answer that is no HTTP is an error"),
        pytest.param("bad request", 6, 6, 0, id="an answer 400 where stable answers is an error"),
        pytest.param("ok", 6, 0, 0, id="an answer 200 is a success"),
    ],
)
async def test_a_failing_candidate_harms_no_user_and_every_failure_is_counted_once(
    router: Router, users: Users, behaviour: Behaviour, total: int, error: int, late: int
) -> None:
    stable, candidate = pair(behaviour)
    async with serving(stable, candidate):
        if behaviour == "refused":
            candidate.port = free_port()
        await router.follow(split(stable, candidate, 0.0, BUDGET_MS), pods(stable, candidate))
        await answered_by(users, stable)
        await router.follow(split(stable, candidate, 100.0, BUDGET_MS), pods(stable, candidate))
        rescued = f"{stable.name}/rescue"
        before = router.count("envoy_cluster_endpoint_rq_success", headgate_revision=stable.name)
        answers = []

        async def six_for_the_candidate() -> bool:
            there = attempts(router, candidate, "rq_success") + attempts(router, candidate, "rq_error")
            answers.extend(await users.ask_many(6 - there))
            return attempts(router, candidate, "rq_success") + attempts(router, candidate, "rq_error") >= 6

        await eventually(six_for_the_candidate, "six attempts of the candidate")
        after = router.count("envoy_cluster_endpoint_rq_success", headgate_revision=stable.name)
        moved = after - before
        assert {answer.status for answer in answers} <= {200}
        assert attempts(router, candidate, "rq_total") == total
        assert attempts(router, candidate, "rq_error") == error
        assert attempts(router, candidate, "rq_timeout") == late
        assert attempts(router, candidate, "rq_success") == 6 - error
        assert router.count("envoy_cluster_upstream_rq_total", envoy_cluster_name=rescued) == error
        # What users of the candidate got, rescue included; and none of it counts as stable's.
        assigned = {"headgate_assigned": "true", "envoy_response_code_class": "2"}
        assert router.count("envoy_cluster_upstream_rq_xx", headgate_revision=candidate.name, **assigned) == 6
        assert router.count("envoy_cluster_upstream_rq_xx", headgate_revision=stable.name, **assigned) <= moved + 1


async def test_the_answer_says_who_really_gave_it(router: Router, users: Users) -> None:
    stable, candidate = pair("error")
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 100.0), pods(stable, candidate))
        await answered_by(users, stable)
        assert (await users.ask()).revision == stable.name
        candidate.behaviour = "ok"
        assert (await users.ask()).revision == candidate.name


async def test_without_retries_the_candidates_failure_reaches_its_user(router: Router, users: Users) -> None:
    stable, candidate = pair("error")
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 100.0, retry=False), pods(stable, candidate))
        await answered_by(users, candidate)
        assert (await users.ask()).status == 500
    assert stable.requests == 0


async def test_a_candidate_without_pods_leaves_its_users_to_stable(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 100.0), pods(stable))
        await answered_by(users, stable)
        assert [answer.body for answer in await users.ask_many(20)] == [stable.name] * 20


async def test_a_large_request_is_rescued_too(router: Router, users: Users) -> None:
    stable, candidate = pair("error")
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 100.0), pods(stable, candidate))
        await answered_by(users, stable)
        answer = await users.ask(INFER, BytesIO(bytes(4 * 1024 * 1024)))
    assert (answer.status, answer.body) == (200, stable.name)


@pytest.mark.usefixtures("long_rest")
async def test_an_ejected_candidate_rests_and_its_users_do_not_notice(router: Router, users: Users) -> None:
    stable, candidate = pair("error")
    statuses = set[int]()

    async def passed_by() -> bool:
        before = candidate.requests
        statuses.update({answer.status for answer in await users.ask_many(100)})
        return candidate.requests == before

    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 50.0), pods(stable, candidate))
        await answered_by(users, stable)
        await eventually(router.follows_routes, "the split")
        await eventually(passed_by, "the candidate rests")
        failed = candidate.requests
        statuses.update({answer.status for answer in await users.ask_many(200)})
    assert statuses == {200}
    assert candidate.requests == failed >= 10
    ejections = router.count(
        "envoy_cluster_outlier_detection_ejections_enforced_total", headgate_revision=candidate.name
    )
    assert ejections >= 1


async def test_the_only_stable_pod_goes_on_serving_after_many_errors(router: Router, users: Users) -> None:
    stable, _ = pair()
    stable.behaviour = "error"
    async with serving(stable):
        await router.follow(Intent((Target(stable.name, "stable", 1000),)), pods(stable))
        await answered_by(users, stable)
        assert {answer.status for answer in await users.ask_many(30)} == {500}
        stable.behaviour = "ok"
        assert {answer.status for answer in await users.ask_many(30)} == {200}


async def test_a_new_weight_is_live_at_once(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 0.0), pods(stable, candidate))
        await answered_by(users, stable)
        for percent, expected in [(100.0, candidate), (0.0, stable)] * 3:
            await router.follow(split(stable, candidate, percent), pods(stable, candidate))

            async def moved(expected: Upstream = expected) -> bool:
                return (await users.ask()).revision == expected.name

            await eventually(moved, f"requests at {expected.name}")
            await eventually(router.follows_routes, "all threads follow")
            assert {answer.revision for answer in await users.ask_many(10)} == {expected.name}


async def more_than(answers: list[Answer], number: int) -> bool:
    return len(answers) > number


async def test_no_request_is_lost_over_fifty_changes_under_load(router: Router, users: Users) -> None:
    stable, candidate = pair()
    stable.behaviour, stable.delay = "slow", 0.004
    candidate.behaviour, candidate.delay = "slow", 0.004
    alone = Intent((Target(stable.name, "stable", 1000),))
    answers: list[Answer] = []
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            answers.append(await users.ask())

    async with serving(stable, candidate):
        await router.follow(alone, pods(stable))
        await answered_by(users, stable)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(load())
            for number in range(50):
                intent = alone if number % 5 == 0 else split(stable, candidate, (number * 17) % 101)
                await router.follow(intent, pods(stable, candidate))
                if number % 10 == 9:
                    # As if it had lingered long enough: clusters and endpoints go while requests are under way.
                    router.memory = Memory(router.memory.clusters, dict.fromkeys(router.memory.until, 0.0))
                    await router.follow(alone, pods(stable))
                await eventually(partial(more_than, answers, len(answers) + 8), "answers under the new routes")
            done.set()
    assert Counter(answer.status for answer in answers) == {200: len(answers)}
    assert candidate.requests > 50


async def test_what_a_pod_failed_before_it_crashed_stays_counted(router: Router, users: Users) -> None:
    stable, candidate = pair("error")
    intent = split(stable, candidate, 100.0)

    async def five_failed() -> bool:
        await users.ask()
        return attempts(router, candidate, "rq_error") >= 5

    async with serving(stable, candidate):
        ready = pods(stable, candidate)
        crashed = ready | {candidate.name: (replace(candidate.endpoint, state=State.UNREADY),)}
        await router.follow(intent, ready)
        await eventually(five_failed, "five attempts that failed")
        await router.follow(intent, crashed)
        await nobody_asks(users, candidate)
        failed = attempts(router, candidate, "rq_error")
        candidate.behaviour = "ok"
        await router.follow(intent, ready)
        await answered_by(users, candidate)
        assert attempts(router, candidate, "rq_error") == failed >= 5


async def nobody_asks(users: Users, upstream: Upstream) -> None:
    """Wait until requests don't reach a pod any more."""

    async def check() -> bool:
        before = upstream.requests
        await users.ask_many(5)
        return upstream.requests == before

    await eventually(check, "requests pass the pod by")


async def test_a_promotion_touches_neither_the_pods_counters_nor_their_connections(
    router: Router, users: Users
) -> None:
    old, new = pair()
    async with serving(old, new):
        await router.follow(split(old, new, 100.0), pods(old, new))
        await answered_by(users, new)
        await users.ask_many(20, at_a_time=1)
        before = {what: attempts(router, new, what) for what in ("rq_total", "cx_total")}
        await router.follow(
            Intent((Target(new.name, "stable", 1000), Target(old.name, "candidate", 0))), pods(old, new)
        )
        await eventually(router.follows_routes, "the new routes")
        await users.ask_many(20, at_a_time=1)
        after = {what: attempts(router, new, what) for what in ("rq_total", "cx_total")}
    assert after["rq_total"] == before["rq_total"] + 20
    assert after["cx_total"] <= before["cx_total"] + 1


async def test_before_the_first_version_the_router_says_so(router: Router, users: Users) -> None:
    await router.follow(Intent(), {})
    await eventually(router.follows_routes, "the empty routes")
    answer = await users.ask()
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "no version is live yet"})


async def test_with_no_pod_left_the_router_says_so(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 50.0), pods(stable, candidate))
        await answered_by(users, stable, candidate)
        await router.follow(split(stable, candidate, 50.0), {})

        async def unavailable() -> bool:
            answers = await users.ask_many(20)
            return {answer.status for answer in answers} == {503} and said in {answer.body for answer in answers}

        said = '{"error":"no pod of the model is ready"}\n'
        await eventually(unavailable, said)


async def test_a_stable_that_hangs_is_given_up_when_the_budget_is_spent(router: Router, users: Users) -> None:
    stable, _ = pair()
    async with serving(stable):
        await router.follow(Intent((Target(stable.name, "stable", 1000),), Policy(200)), pods(stable))
        await answered_by(users, stable)
        stable.behaviour = "hang"
        # A client's own wishes about time and retries don't count.
        answer = await users.ask(**{"x-envoy-upstream-rq-timeout-ms": "5000", "x-envoy-max-retries": "9"})
    assert (answer.status, json.loads(answer.body)) == (504, {"error": "the model did not answer in time"})
    assert attempts(router, stable, "rq_timeout") == attempts(router, stable, "rq_error") == 1


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/v1/models/fraud", 404), ("/v2x", 404), ("/healthz", 200)])
async def test_only_the_protocols_paths_reach_the_model(router: Router, users: Users, path: str, status: int) -> None:
    answer = await users.ask(path)
    assert answer.status == status
    assert answer.body == "ok" if status == 200 else "error" in json.loads(answer.body)


async def test_all_series_say_whose_they_are(router: Router, users: Users) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 50.0), pods(stable, candidate))
        await answered_by(users, stable, candidate)
        whose = {"headgate_namespace": NAMESPACE, "headgate_model": MODEL, "headgate_revision": candidate.name}
        # Before the candidate's first failure, and maybe its first request.
        for what in ("rq_total", "rq_success", "rq_error", "rq_timeout"):
            (labels,) = router.samples(f"envoy_cluster_endpoint_{what}", **whose)
            assert dict(labels) == whose | {
                "envoy_cluster_name": f"{candidate.name}/attempts",
                "envoy_endpoint_address": f"127.0.0.1:{candidate.port}",
                "envoy_endpoint_hostname": f"{candidate.name}-pod",
            }
        await users.ask_many(40)

        async def flushed() -> bool:
            buckets = router.samples(
                "envoy_cluster_upstream_rq_time_bucket", **whose, headgate_assigned="true", le="1000"
            )
            return sum(buckets.values()) > 0

        await eventually(flushed, "the histogram")
        assert router.count("envoy_cluster_upstream_rq_xx", **whose, headgate_assigned="true") > 0


async def test_the_times_of_a_versions_own_answers_are_told_apart_from_those_of_a_rescue(
    router: Router, users: Users
) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 100.0), pods(stable, candidate))
        await answered_by(users, candidate)
        fast = len(await users.ask_many(9))
        candidate.behaviour, candidate.delay = "slow", 0.05  # more than what is slow
        slow = len(await users.ask_many(6))
        candidate.behaviour = "error"
        rescued = len(await users.ask_many(5))

        def times(upstream: Upstream, name: str, **labels: str) -> int:
            whose = {"headgate_revision": upstream.name, "headgate_assigned": "true"}
            return int(router.count(f"envoy_cluster_{name}", **whose, **labels))

        async def flushed() -> bool:
            return times(candidate, "upstream_rq_time_count") >= fast + slow + rescued

        await eventually(flushed, "the histograms")
        all_of_them = times(candidate, "upstream_rq_time_count")
        assert times(candidate, "canary_upstream_rq_time_count") == all_of_them - rescued
        within = times(candidate, "canary_upstream_rq_time_bucket", le=str(SLOW_MS))
        # On a busy machine any of the fast ones may be late; none of the slow ones is in time.
        assert slow <= all_of_them - rescued - within <= all_of_them - rescued
        assert times(stable, "canary_upstream_rq_time_count") == times(stable, "upstream_rq_time_count")


async def test_the_metrics_port_shows_counters_and_nothing_else_of_the_admin(router: Router, users: Users) -> None:
    for path in ("/", "/config_dump", "/quitquitquit", "/stats/prometheus/../../config_dump"):
        async with users.session.post(f"http://127.0.0.1:{router.layout.metrics_port}{path}") as answer:
            assert answer.status == 404
    async with users.session.post(f"http://127.0.0.1:{router.layout.metrics_port}/stats/prometheus") as answer:
        assert answer.status == 404
    assert not router.samples("envoy_cluster_upstream_cx_active", envoy_cluster_name="admin")


@pytest.mark.parametrize("role", ["stable", "candidate"])
async def test_a_pod_that_is_gone_is_passed_over_without_a_failed_answer(
    router: Router, users: Users, role: Role
) -> None:
    stable, candidate = pair()
    async with serving(stable, candidate):
        broken = {"stable": stable, "candidate": candidate}[role]
        gone = Upstream(broken.name, port=free_port())
        endpoints = pods(stable, candidate)
        endpoints[broken.name] = (gone.endpoint, broken.endpoint)
        await router.follow(split(stable, candidate, 50.0), endpoints)
        await answered_by(users, stable, candidate)
        assert {answer.status for answer in await users.ask_many(60)} == {200}


async def test_testers_get_the_version_that_their_requests_ask_for(router: Router, users: Users) -> None:
    stable, candidate = pair()
    tester, tenant, beta = Selector("header", "x-tester"), Selector("header", "x-tenant"), Selector("cookie", "beta")
    matches = (
        Match(tester, "exact", "yes", "candidate"),
        Match(tenant, "prefix", "bank-", "stable"),
        Match(beta, "exact", "on.1", "candidate"),
        Match(Selector("cookie", "any"), "present", "", "candidate"),
    )
    async with serving(stable, candidate):
        await router.follow(matching(split(stable, candidate, 0.0), *matches), pods(stable, candidate))
        await answered_by(users, stable)
        for headers, expected in [
            ({}, stable),
            ({"X-Tester": "yes"}, candidate),
            ({"x-tester": "yes, no"}, stable),
            ({"x-tester": "no"}, stable),
            ({"Cookie": "beta=on.1"}, candidate),
            ({"Cookie": "a=b; beta=on.1; c=d"}, candidate),
            ({"Cookie": "beta=on.12"}, stable),
            ({"Cookie": "beta=on11"}, stable),
            ({"Cookie": "alphabeta=on.1"}, stable),
            ({"Cookie": "any=thing"}, candidate),
        ]:
            assert await users.who_answers(**headers) == expected.name, headers
        await router.follow(matching(split(stable, candidate, 100.0), *matches), pods(stable, candidate))
        await eventually(router.follows_routes, "the new routes")
        for headers, expected in [
            ({}, candidate),
            ({"x-tenant": "bank-7"}, stable),
            ({"x-tenant": "shop-7"}, candidate),
            # The first match counts.
            ({"x-tenant": "bank-7", "x-tester": "yes"}, candidate),
        ]:
            assert await users.who_answers(**headers) == expected.name, headers


@pytest.mark.parametrize("behaviour", ["error", "reset", "hang"])
async def test_testers_of_a_failing_candidate_are_rescued_and_are_no_evidence(
    router: Router, users: Users, behaviour: Behaviour
) -> None:
    stable, candidate = pair(behaviour)
    testers = Match(Selector("header", "x-tester"), "present", "", "candidate")
    async with serving(stable, candidate):
        await router.follow(matching(split(stable, candidate, 0.0, BUDGET_MS), testers), pods(stable, candidate))
        await answered_by(users, stable)
        before = attempts(router, stable, "rq_total")
        answers = await asyncio.gather(*(users.ask(**{"x-tester": "1"}) for _ in range(6)))
        assert {(answer.status, answer.revision) for answer in answers} == {(200, stable.name)}
        assert candidate.requests == 6
        assert attempts(router, candidate, "rq_total") == attempts(router, candidate, "rq_error") == 0
        assert attempts(router, stable, "rq_total") == before
        for upstream in (stable, candidate):
            assigned = {"headgate_revision": upstream.name, "headgate_assigned": "true"}
            assert router.count("envoy_cluster_upstream_rq_xx", **assigned) <= before


async def test_matches_come_and_go_without_a_failed_request(router: Router, users: Users) -> None:
    stable, candidate = pair()
    testers = Match(Selector("header", "x-tester"), "exact", "yes", "candidate")
    alone, both = Intent((Target(stable.name, "stable", 1000),)), split(stable, candidate, 50.0)
    statuses = Counter[int]()
    async with serving(stable, candidate):
        for intent in (alone, both, matching(both, testers), both, matching(alone, testers)) * 3:
            await router.follow(intent, pods(stable, candidate))
            await eventually(router.follows_routes, "the new routes")
            statuses += Counter([(await users.ask(**{"x-tester": "yes"})).status for _ in range(10)])
    assert statuses == {200: 150}


@pytest.mark.parametrize("affinity", [Selector("header", "x-user-id"), Selector("cookie", "user")])
async def test_who_got_the_candidate_keeps_it_while_its_weight_grows(
    router: Router, users: Users, affinity: Selector
) -> None:
    stable, candidate = pair()
    everybody = range(1000)

    async def with_the_candidate() -> set[int]:
        left, found = iter(everybody), set[int]()

        async def work() -> None:
            for user in left:
                name, value = ("x-user-id", f"u{user}") if affinity.kind == "header" else ("cookie", f"user=u{user}")
                if await users.who_answers(**{name: value}) == candidate.name:
                    found.add(user)

        await asyncio.gather(*(work() for _ in range(16)))
        return found

    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 0.0), pods(stable, candidate))
        await answered_by(users, stable)
        before = set[int]()
        for percent in (1.0, 5.0, 25.0, 50.0, 100.0):
            await router.follow(matching(split(stable, candidate, percent), affinity=affinity), pods(stable, candidate))
            await eventually(router.follows_routes, "the new weight")
            found = await with_the_candidate()
            assert before <= found
            # Five standard deviations.
            assert len(found) / len(everybody) == pytest.approx(percent / 100, abs=0.08)
            before = found
        # Who says nothing is split at random.
        await router.follow(matching(split(stable, candidate, 50.0), affinity=affinity), pods(stable, candidate))
        await eventually(router.follows_routes, "the new weight")
        assert {await users.who_answers() for _ in range(40)} == {stable.name, candidate.name}


async def test_a_large_answer_of_a_candidate_goes_on_as_it_comes(router: Router, users: Users) -> None:
    stable, candidate = pair("large")
    async with serving(stable, candidate):
        await router.follow(split(stable, candidate, 100.0), pods(stable, candidate))
        await answered_by(users, candidate)
        answer = await users.ask()
        assert (answer.status, answer.revision) == (200, candidate.name)
        assert LARGE - 100 < len(answer.body) <= LARGE


@pytest.mark.parametrize("known", [pytest.param(False, id="new"), pytest.param(True, id="not ready before")])
async def test_a_pod_that_has_just_come_gets_less_than_its_share(
    users: Users, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    for window in (3, 10, 30, 90):
        monkeypatch.setattr(clusters, "SLOW_START_MS", 1000 * window)
        if await gets_less_while_it_is_new(users, window, known=known):
            return
    raise AssertionError("this machine does not get to 320 requests in a minute")


async def gets_less_while_it_is_new(users: Users, window: int, *, known: bool) -> bool:
    """False if the machine was too busy to ask enough while the pod was new."""
    warm, cold = pair()
    cold.name = warm.name
    intent = Intent((Target(warm.name, "stable", 1000),))
    async with serving(warm, cold):
        come = replace(cold.endpoint, pod="cold")
        starting = (replace(come, state=State.UNREADY),) if known else ()
        await users.router.follow(intent, {warm.name: (warm.endpoint, *starting)})
        await answered_by(users, warm)
        await asyncio.sleep(window + 0.2)
        assert not cold.requests
        began = time.monotonic()
        await users.router.follow(intent, {warm.name: (warm.endpoint, come)})
        await users.ask_many(20)
        warm.requests = cold.requests = 0
        await users.ask_many(300)
        if time.monotonic() - began > 0.6 * window:
            return False
        assert cold.requests < 0.4 * 300
        await asyncio.sleep(window + 0.2)
        warm.requests = cold.requests = 0
        await users.ask_many(300)
        assert cold.requests > 0.4 * 300
    return True
