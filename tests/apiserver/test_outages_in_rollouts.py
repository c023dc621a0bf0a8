"""An API server that closes, truncates, delays, refuses and loses answers by turns while several models are rolled out:
good versions are promoted and bad ones rolled back as they are without all that. The process stays, and every
Kubernetes event is stored once.

How long the faults go on: OUTAGE_SECONDS, ten minutes without it.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import told_series
from faulty_proxy import FAULTS, TURNS, FaultyProxy
from headgate.core.exposure import GROWTH
from made_up_models import MadeUpModels
from models_there import DEPLOYMENTS, ask, names
from operator_process import Operator
from patience import until
from real_apiserver import ACCOUNT, Cluster, Installed
from rollout_record import PASSING, Record

VALUES = {"prometheus": {"url": "http://127.0.0.1:1"}}
SECONDS = float(os.environ.get("OUTAGE_SECONDS", "600"))
LENGTHS = ((3.0, 3.0), (14.0, 6.0), (25.0, 10.0))
"""Seconds of a fault and of the rest after it, by round: short ones; ones in which the lease is lost; long ones."""
MIXED = 30.0
"""Seconds between two rounds in which each request meets another fault."""
ROLLOUT_SECONDS = 75.0
"""Between the beginnings of two rollouts of a model while there are faults."""

COMMON = {"shadow": {"enabled": False}, "soak": "5s"}
LADDER = [{"weight": weight, "hold": "2s"} for weight in (5, 25, 50)]
MODELS: dict[str, dict[str, Any]] = {
    "ladder": {**COMMON, "steps": LADDER},
    "evidence": COMMON,
    "other": {**COMMON, "riskBudget": 100},
}


def versions() -> list[str]:
    """What is rolled out of each model: by turns a good and a bad version."""
    more = max(2, int(SECONDS / ROLLOUT_SECONDS))
    return ["good-0", *(f"{'good' if number % 2 else 'bad'}-{number}" for number in range(1, more + 1))]


@dataclass
class Place:
    """An API server, the operator before it, and all that is around them."""

    cluster: Cluster
    operator: Operator
    record: Record

    async def roll_out(self, model: str, every: float) -> None:
        """All versions one after the other, the next one not before so many seconds have passed."""
        for version in versions():
            began = time.monotonic()
            ask(self.cluster, model, version, rollout=MODELS[model])
            while not self.record.has_ended(model, version):
                assert self.operator.process.poll() is None, self.operator.log[-4000:]
                await asyncio.sleep(0.2)
            if version != "good-0":
                await asyncio.sleep(max(0.0, began + every - time.monotonic()))

    async def roll_out_all(self, every: float = 0.0) -> None:
        """Of all models at once."""
        async with asyncio.TaskGroup() as all_of_them:
            for model in MODELS:
                all_of_them.create_task(self.roll_out(model, every))

    async def settle(self) -> None:
        """Until nothing is left to be done or told."""
        await until(lambda: all(map(self.record.has_settled, MODELS)))
        await until(lambda: len(names(self.cluster, DEPLOYMENTS)) == 2 * len(MODELS))
        await until(lambda: sum(self.record.due().values()) <= sum(self.record.told().values()))
        await until(self.operator.leads)


@asynccontextmanager
async def place(cluster: Cluster, url: str, folder: Path) -> AsyncIterator[Place]:
    """The operator works at an API server that it reaches by this URL."""
    series = told_series.ToldSeries()
    around = asyncio.create_task(MadeUpModels(cluster, series).live())
    with told_series.answering(series) as prometheus:
        async with Record(cluster) as record:
            operator = Operator(folder, url, cluster.tokens[ACCOUNT], sys.executable, prometheus)
            try:
                await until(operator.leads)
                yield Place(cluster, operator, record)
                assert not around.done()
            finally:
                ended = operator.stop()
                around.cancel()
                with suppress(asyncio.CancelledError):
                    await around
            assert ended == 0, operator.log[-4000:]
            assert "unhandled" not in operator.log


async def trouble(proxy: FaultyProxy, seconds: float) -> None:
    """All faults by turns, for so long; then none."""
    until_ = time.monotonic() + seconds
    for lasts, rest in itertools.cycle(LENGTHS):
        for fault in (*FAULTS, TURNS):
            for name, time_of_it in ((fault, MIXED if fault == TURNS else lasts), ("", rest)):
                await proxy.begin(name)
                await asyncio.sleep(max(0.0, min(time_of_it, until_ - time.monotonic())))
        if time.monotonic() >= until_:
            return


def identity(process_id: int) -> str:
    """Of a process: what another one with its number would not have."""
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]


@pytest.mark.timeout(2 * SECONDS + 1200)
async def test_rollouts_end_as_they_do_without_faults(installed: Installed, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("well", "ill")]
    for folder in folders:
        folder.mkdir()
    with installed() as cluster:
        async with place(cluster, cluster.url, folders[0]) as well:
            await well.roll_out_all()
            await well.settle()
        expected, told = {model: well.record.end(model) for model in MODELS}, well.record.told()
        ladder, due = well.record.weights("ladder"), well.record.due()
    assert told == due
    assert not [reason for _, _, reason, _ in told if reason in PASSING]
    for each in expected.values():
        decided = {version: decision for version, decision, _ in each["history"]}
        assert decided == {v: "RolledBack" if v.startswith("bad") else "Promoted" for v in versions()[1:]} | {
            "good-0": "Live"
        }

    with installed() as cluster:
        async with FaultyProxy(cluster.url) as proxy, place(cluster, proxy.url, folders[1]) as ill:
            process = ill.operator.process.pid
            born = identity(process)
            faults = asyncio.create_task(trouble(proxy, SECONDS))
            await asyncio.gather(faults, ill.roll_out_all(ROLLOUT_SECONDS))
            await ill.settle()
            assert (ill.operator.process.pid, identity(process)) == (process, born)
        found = {model: ill.record.end(model) for model in MODELS}
        assert ill.record.told() == ill.record.due(), "each event once"
        met = {fault: proxy.met[fault] for fault in FAULTS}
        lost = ill.operator.log.count("lost the lease")
        print(f"{SECONDS:g} s; requests that met faults: {met}; the lease was lost {lost} times")
        for model in MODELS:
            assert found[model] == expected[model], model
            weights = ill.record.weights(model)
            assert weights.keys() == {*versions()[1:]}
            good = [weights[version] for version in weights if version.startswith("good")]
            assert all(each[-1] == 100 for each in good), weights
            if model != "ladder":
                assert all(b <= GROWTH * a for each in good for a, b in pairwise(each[:-1])), weights
            assert all(max(each) <= 50 for version, each in weights.items() if version.startswith("bad"))
        assert {v: w for v, w in ill.record.weights("ladder").items() if v.startswith("good")} == {
            v: w for v, w in ladder.items() if v.startswith("good")
        }
    assert min(met.values()) > 0
