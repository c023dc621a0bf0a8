"""The process as a whole: what it waits for, when it leads, when it is well. Threads are stood in for."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes import FakeKube
from headgate import __main__ as process
from headgate.__main__ import Operator
from headgate.api import API_VERSION
from headgate.errors import KubernetesError, NotFound
from headgate.settings import Settings
from patience import until

SETTINGS = Settings(serving_image="serving", envoy_image="envoy", port=0, pod_name="a", workers=1)


class Cluster(FakeKube):
    """An API server that may lack the CRDs, and kopf's place in the process."""

    def __init__(self) -> None:
        super().__init__()
        self.installed, self.discovered = True, True
        self.trouble: KubernetesError | None = None
        self.kopf: asyncio.Queue[Any] = asyncio.Queue()
        """What ends kopf: an error, or None."""
        self.watching = 0

    async def list(self, api_version: str, kind: str, namespace: Any, labels: Any) -> list[Any]:
        if self.trouble:
            raise self.trouble
        if api_version == API_VERSION and not self.installed:
            raise NotFound(f"no {kind}")
        return await super().list(api_version, kind, namespace, labels)

    async def resources(self, api_version: str) -> frozenset[Any]:
        return await super().resources(api_version) if self.installed and self.discovered else frozenset()

    async def in_thread(self, name: str, main: Callable[..., Any]) -> Any:
        """In place of `threads.in_thread`."""
        if name != "kopf":
            return await main()
        self.watching += 1
        if error := await self.kopf.get():
            raise error
        return None


@pytest.fixture
async def cluster(monkeypatch: Any) -> Cluster:
    found = Cluster()
    monkeypatch.setattr(process, "in_thread", found.in_thread)
    monkeypatch.setattr(process, "AGAIN_AFTER", 0.001)
    return found


@asynccontextmanager
async def running(cluster: Any) -> AsyncIterator[Any]:
    async def connect() -> Any:
        return cluster

    operator = process.Operator(SETTINGS, cluster, connect)
    task = asyncio.create_task(operator.run())
    try:
        yield operator
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def leads(operator: Operator) -> bool:
    return operator.ready().detail == "leads"


async def test_it_leads_when_everything_was_listed(cluster: Cluster) -> None:
    async with running(cluster) as operator:
        await until(lambda: leads(operator))
        assert operator.healthy().well
        assert operator.telemetry.registry.get_sample_value("headgate_leading") == 1
    assert cluster.find("Lease", "headgate", "headgate-system")["spec"]["holderIdentity"] == ""


async def test_installed_before_its_crds_it_says_so_and_works_when_they_are_there(cluster: Cluster) -> None:
    cluster.installed = False
    async with running(cluster) as operator:
        await until(lambda: "CustomResourceDefinition" in operator.ready().detail)
        assert not operator.ready().well
        assert operator.healthy().well, "to start again would not help"
        assert cluster.watching == 0
        await until(lambda: operator.telemetry.registry.get_sample_value("headgate_waits_for_crds") == 1)
        cluster.installed = True
        await until(lambda: leads(operator))
        assert operator.telemetry.registry.get_sample_value("headgate_waits_for_crds") == 0
        assert (operator.ready().well, cluster.watching) == (True, 1)


async def test_crds_that_discovery_does_not_have_yet_are_waited_for(cluster: Cluster) -> None:
    cluster.discovered = False
    async with running(cluster) as operator:
        await until(lambda: "CustomResourceDefinition" in operator.ready().detail)
        assert not operator.election.leading, "another replica may be able to work"
        cluster.discovered = True
        await until(lambda: leads(operator))


async def test_what_can_not_be_listed_is_tried_again_and_said(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="headgate")
    cluster.trouble = KubernetesError("503 the API server starts")
    async with running(cluster) as operator:
        await until(lambda: "503" in operator.ready().detail)
        cluster.trouble = None
        await until(lambda: leads(operator))
    assert len([m for m in caplog.messages if "503" in m]) == 1, "once"


@pytest.mark.parametrize("error", [None, RuntimeError("etcdserver: no leader"), ConnectionResetError()])
async def test_when_kopf_ends_the_work_begins_anew_and_the_process_goes_on(cluster: Cluster, error: Any) -> None:
    async with running(cluster) as operator:
        await until(lambda: leads(operator))
        before = operator._leader
        cluster.kopf.put_nowait(error)
        await until(lambda: operator._leader not in (None, before) and leads(operator))
        assert cluster.watching == 2
        assert operator.election.leading, "the lease stays ours"


async def test_crds_that_are_removed_while_it_leads_are_waited_for(cluster: Cluster) -> None:
    async with running(cluster) as operator:
        await until(lambda: leads(operator))
        cluster.installed = False
        cluster.kopf.put_nowait(RuntimeError("404 not found"))
        await until(lambda: "CustomResourceDefinition" in operator.ready().detail)
        cluster.installed = True
        await until(lambda: leads(operator))


async def test_who_loses_the_lease_stops_its_work_and_stands_for_election_again(cluster: Cluster) -> None:
    async with running(cluster) as operator:
        await until(lambda: leads(operator))
        before = operator._leader
        operator._elected(False)
        await until(lambda: operator._leader is None)
        assert operator.ready().detail == "stands by"
        assert operator.telemetry.registry.get_sample_value("headgate_leading") == 0
        operator._elected(True)
        await until(lambda: leads(operator))
        assert operator._leader is not before


async def test_every_model_is_looked_at_after_a_start(cluster: Cluster) -> None:
    meta = {"namespace": "models", "name": "fraud"}
    spec = {"model": {"version": "v1", "uri": "file:///models/v1"}}
    cluster.put({"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": meta, "spec": spec})
    async with running(cluster):
        await until(lambda: cluster.find("Deployment", "fraud-router"))


async def test_it_is_not_well_when_lists_or_workers_hang(cluster: Cluster) -> None:
    async with running(cluster) as operator:
        await until(lambda: leads(operator))
        leader = operator._leader
        leader.listed_at -= 4 * process.RESYNC_EVERY
        assert "list" in operator.healthy().detail
        leader.listed_at += 4 * process.RESYNC_EVERY
        leader.queue.overdue = lambda: 2 * process.STUCK_AFTER
        assert operator.healthy().well, "others are worked on"
        leader.queue.ended_at -= 2 * process.STUCK_AFTER
        assert "no worker" in operator.healthy().detail
