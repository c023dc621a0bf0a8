"""An API server that closes, truncates, delays and refuses by turns while users go on: the operator's process stays,
no change of a spec is lost, and the end is the same as without all that.
"""

import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

import told_series
from faulty_proxy import FAULTS, FaultyProxy
from models_there import DEPLOYMENTS, ask, names, pods_are_ready, status
from operator_process import Operator
from patience import until
from real_apiserver import ACCOUNT, Cluster

VALUES = {"prometheus": {"url": "http://127.0.0.1:1"}}
REQUESTS = 6
"""That meet each fault."""


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(cluster.url) as found:
        yield found


async def test_the_process_stays_and_no_change_is_lost(cluster: Cluster, proxy: FaultyProxy, tmp_path: Path) -> None:
    def is_candidate(version: str) -> bool:
        return bool((status(cluster, "fraud").get("candidate") or {}).get("version") == version)

    def is_stable() -> bool:
        pods_are_ready(cluster)
        return bool(status(cluster, "fraud").get("phase") == "Stable")

    def have_met(fault: str) -> bool:
        return proxy.met[fault] >= REQUESTS

    with told_series.answering() as prometheus:
        operator = Operator(tmp_path, proxy.url, cluster.tokens[ACCOUNT], sys.executable, prometheus)
        try:
            ask(cluster, "fraud", "v1")
            await until(is_stable)
            for fault in FAULTS:
                await proxy.begin(fault)
                ask(cluster, "fraud", f"after-{fault}")
                await until(partial(have_met, fault))
                await proxy.begin("")
                await until(partial(is_candidate, f"after-{fault}"))
                assert operator.process.poll() is None, operator.log[-4000:]
            ask(cluster, "fraud", "v1")
            await until(lambda: len(names(cluster, DEPLOYMENTS)) == 2)
            await until(operator.leads)
        finally:
            assert operator.stop() == 0, operator.log[-4000:]
    assert "unhandled" not in operator.log
