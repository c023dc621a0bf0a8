"""The lease: one leader at a time by its own clock, whatever the API server does. Time is virtual."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fakes import FakeKube
from headgate.edges.lease import Election, Elector, LeaseSettings
from headgate.errors import Conflict, KubernetesError
from virtual_time import run


@pytest.fixture(autouse=True)
def silent(caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL, logger="headgate.lease")


class Leases(FakeKube):
    """An API server that can be made to hang or to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.error: KubernetesError | None = None

    async def get(self, *about: Any) -> dict[str, Any]:
        await self._trouble()
        return await super().get(*about)

    async def replace(self, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._trouble()
        replaced: dict[str, Any] = await super().replace(manifest)
        return replaced

    async def _trouble(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error

    @property
    def lease(self) -> Any:
        return self.find("Lease", "headgate")["spec"]


def elector(kube: Leases, clock: Callable[..., Any], identity: str = "a") -> Elector:
    return Elector(kube, LeaseSettings("models", "headgate", identity), clock)


def story(test: Any) -> Any:
    def wrapped() -> None:
        run(test)

    wrapped.__name__ = test.__name__
    return wrapped


@story
async def test_the_first_one_takes_the_lease_at_once(clock: Any) -> None:
    kube = Leases()
    a, start = elector(kube, clock), clock()
    assert not a.leading
    await a.acquire()
    assert a.leading
    assert clock() == start
    assert (kube.lease["holderIdentity"], kube.lease["leaseTransitions"]) == ("a", 1)


@story
async def test_the_second_one_waits_while_the_first_one_renews(clock: Any) -> None:
    kube = Leases()
    a, b = elector(kube, clock, "a"), elector(kube, clock, "b")
    await a.acquire()
    keeping, waiting = asyncio.create_task(a.keep()), asyncio.create_task(b.acquire())
    await asyncio.sleep(100)
    assert a.leading
    assert not b.leading
    assert not waiting.done()
    for task in (keeping, waiting):
        task.cancel()
    await asyncio.gather(keeping, waiting, return_exceptions=True)


@story
async def test_a_lease_that_nobody_renews_is_taken_over_after_its_duration_by_our_clock(clock: Any) -> None:
    kube = Leases()
    await elector(kube, clock, "a").acquire()
    kube.lease["renewTime"] = "2099-01-01T00:00:00.000000Z"
    b, start = elector(kube, clock, "b"), clock()
    await b.acquire()
    assert 15 <= clock() - start <= 17
    assert (kube.lease["holderIdentity"], kube.lease["leaseTransitions"]) == ("b", 2)


@story
async def test_two_never_lead_at_the_same_time(clock: Any) -> None:
    kube = Leases()
    a, b = elector(kube, clock, "a"), elector(kube, clock, "b")
    await a.acquire()
    keeping, waiting = asyncio.create_task(a.keep()), asyncio.create_task(b.acquire())
    await asyncio.sleep(7)
    keeping.cancel()
    while not b.leading:
        await asyncio.sleep(0.1)
        assert not (a.leading and b.leading)
    await asyncio.gather(keeping, waiting, return_exceptions=True)


@story
async def test_who_cannot_renew_stops_leading_after_the_duration(clock: Any) -> None:
    kube = Leases()
    a, start = elector(kube, clock), clock()
    await a.acquire()
    kube.error = KubernetesError("the API server is gone")
    await a.keep()
    assert not a.leading
    assert 10 <= clock() - start <= 13


@story
async def test_a_call_that_hangs_is_a_failed_call(clock: Any) -> None:
    kube = Leases()
    a, start = elector(kube, clock), clock()
    await a.acquire()
    kube.hangs = True
    await a.keep()
    assert clock() - start <= 10 + 2 + 4


@story
async def test_a_hang_that_ends_in_time_costs_nothing(clock: Any) -> None:
    kube = Leases()
    a = elector(kube, clock)
    await a.acquire()
    keeping = asyncio.create_task(a.keep())
    kube.hangs = True
    await asyncio.sleep(5)
    kube.hangs = False
    await asyncio.sleep(60)
    assert a.leading
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


@story
async def test_the_time_of_a_renewal_is_the_time_before_it_was_asked_for(clock: Any) -> None:
    kube = Leases()
    a = elector(kube, clock)
    plain = kube.replace

    async def slow(manifest: Any) -> Any:
        await asyncio.sleep(3)
        return await plain(manifest)

    await a.acquire()
    kube.replace = slow  # type: ignore[method-assign]
    keeping = asyncio.create_task(a.keep())
    await asyncio.sleep(5.5)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await asyncio.sleep(2 + 10 - 5.5 - 0.1)
    assert a.leading
    await asyncio.sleep(0.2)
    assert not a.leading


@story
async def test_who_is_overtaken_by_another_write_does_not_lead(clock: Any) -> None:
    kube = Leases()
    await elector(kube, clock, "old").acquire()
    await asyncio.sleep(20)
    b = elector(kube, clock, "b")

    def somebody_is_faster(verb: Any, kind: Any, name: Any) -> None:
        if verb == "replace" and kube.lease["holderIdentity"] == "old":
            kube.put({**kube.find("Lease", "headgate"), "spec": {**kube.lease, "holderIdentity": "c"}})

    kube.before = somebody_is_faster
    waiting = asyncio.create_task(b.acquire())
    await asyncio.sleep(18)
    assert kube.lease["holderIdentity"] == "c"
    assert not b.leading
    await waiting
    assert kube.lease["holderIdentity"] == "b"


@story
async def test_two_that_create_the_lease_at_the_same_time_do_not_both_lead(clock: Any) -> None:
    kube = Leases()
    kube.failing["create", "Lease"] = Conflict("it exists")
    b = elector(kube, clock, "b")
    waiting = asyncio.create_task(b.acquire())
    await asyncio.sleep(1)
    assert not b.leading
    await waiting
    assert b.leading


@story
async def test_who_sees_another_holder_stops_leading_at_once(clock: Any) -> None:
    kube = Leases()
    a = elector(kube, clock)
    await a.acquire()
    kube.put({**kube.find("Lease", "headgate"), "spec": {**kube.lease, "holderIdentity": "b", "renewTime": "x"}})
    start = clock()
    await a.keep()
    assert not a.leading
    assert clock() - start <= 2


@story
async def test_a_released_lease_is_free_at_once(clock: Any) -> None:
    kube = Leases()
    a, b = elector(kube, clock, "a"), elector(kube, clock, "b")
    await a.acquire()
    await a.release()
    assert not a.leading
    assert kube.lease["holderIdentity"] == ""
    start = clock()
    await b.acquire()
    assert clock() == start


@story
async def test_only_an_own_lease_is_released(clock: Any) -> None:
    kube = Leases()
    a = elector(kube, clock)
    await a.release()
    assert kube.requests == []
    await a.acquire()
    kube.put({**kube.find("Lease", "headgate"), "spec": {**kube.lease, "holderIdentity": "b"}})
    await a.release()
    assert kube.lease["holderIdentity"] == "b"


@story
async def test_a_release_that_fails_is_no_error(clock: Any) -> None:
    kube = Leases()
    a = elector(kube, clock)
    await a.acquire()
    kube.error = KubernetesError("gone")
    await a.release()
    assert not a.leading


@story
async def test_who_comes_back_under_the_same_name_goes_on_at_once(clock: Any) -> None:
    kube = Leases()
    await elector(kube, clock, "a").acquire()
    start, again = clock(), elector(kube, clock, "a")
    await again.acquire()
    assert clock() == start
    assert kube.lease["leaseTransitions"] == 1


@story
async def test_an_empty_lease_is_free(clock: Any) -> None:
    kube = Leases()
    kube.put({"kind": "Lease", "metadata": {"namespace": "models", "name": "headgate"}})
    await elector(kube, clock, "a").acquire()
    assert kube.lease["holderIdentity"] == "a"


@story
async def test_the_times_are_those_of_kubernetes_own_components(clock: Any) -> None:
    found = LeaseSettings("models", "headgate", "a")
    assert (found.duration, found.renew_deadline, found.renew_every) == (15, 10, 2)


@story
async def test_the_old_leader_has_stopped_before_another_may_begin(clock: Any) -> None:
    kube = Leases()
    a, b = elector(kube, clock, "a"), elector(kube, clock, "b")
    await a.acquire()
    waiting = asyncio.create_task(b.acquire())
    stopped = None
    while not b.leading:
        await asyncio.sleep(0.1)
        if stopped is None and not a.leading:
            stopped = clock()
    assert clock() - stopped >= 4
    await waiting


@pytest.mark.parametrize(
    "error", [KubernetesError("429 too many requests"), TimeoutError(), ConnectionResetError(), ValueError()]
)
def test_the_cause_of_a_failed_renewal_is_in_the_log(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="headgate.lease")

    async def told(clock: Any) -> None:
        kube = Leases()
        a = elector(kube, clock)
        await a.acquire()
        kube.error = error
        await a.keep()

    run(told)
    cause = str(error) or ("did not answer" if isinstance(error, TimeoutError) else type(error).__name__)
    assert caplog.messages
    assert all(cause in message for message in caplog.messages)
    assert caplog.messages[-1].startswith("lost the lease")


@story
async def test_who_lost_the_lease_stands_for_election_again_and_releases_it_at_the_end(clock: Any) -> None:
    kube = Leases()
    changes: list[Any] = []

    async def connect() -> Any:
        return kube

    election = Election(connect, LeaseSettings("models", "headgate", "a"), clock, changes.append)
    running = asyncio.create_task(election.run())
    await asyncio.sleep(1)
    assert (election.leading, changes) == (True, [True])
    kube.error = KubernetesError("the API server is gone")
    await asyncio.sleep(30)
    assert (election.leading, changes) == (False, [True, False])
    kube.error = None
    await asyncio.sleep(5)
    assert (election.leading, changes) == (True, [True, False, True])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert kube.lease["holderIdentity"] == ""
    assert kube.closed
