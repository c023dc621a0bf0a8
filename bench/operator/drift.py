"""`python -m bench.operator.drift`: what looking for drift costs the operator, by how wide a model is.

A Prometheus that answers from memory, the operator's own client and readings around it; no cluster. Memory is what
Python still holds of each model after its looks, CPU that of the whole look, answers included.
"""

import argparse
import asyncio
import gc
import time
import tracemalloc
from contextlib import suppress

import httpx
import numpy as np

from bench.document import put, table
from headgate.api.spec import Spec
from headgate.api.status import RevisionRef, Status
from headgate.background import DRIFT_EVERY, BackgroundReadings
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.edges.prometheus import Prometheus
from headgate.edges.prometheus_access import Access
from headgate.queue import Key

WIDTHS = (20, 100, 500)
BINS = 13
LAYOUT = "0123456789ab"
START = 1_800_000_000.0
SPEC = Spec.model_validate({"model": {"version": "1", "uri": "file:///m"}})
COMMAND = "python -m bench.operator.drift"


class Answers:
    """A Prometheus with one model of `features` numbers, at a time that is set."""

    def __init__(self, features: int) -> None:
        random = np.random.default_rng(features)
        self.now = START
        self._bins = [
            f'{{"metric":{{"feature":"feature_{f:03}","bin":"n{b:02} ({b * 1.25:g},{b * 1.25 + 1.25:g}]",'
            f'"layout":"{LAYOUT}"}},'
            for f in range(features)
            for b in range(BINS)
        ]
        self._rows = random.multinomial(2000, np.full(BINS, 1 / BINS), size=features).ravel().tolist()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """As Prometheus' HTTP API."""
        asked = request.url.params
        if asked["query"] == "time()":
            return _answer("scalar", f'{self.now},"{self.now}"')
        if not request.url.path.endswith("query_range"):
            return _answer("vector", ",".join(f'{labels}"value":[{self.now},"5000"]}}' for labels in self._bins))
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        times = np.arange(start, end + 1, step).tolist()
        values = {rows: ",".join(f'[{t},"{rows}"]' for t in times) for rows in set(self._rows)}
        bins = zip(self._bins, self._rows, strict=True)
        return _answer("matrix", ",".join(f'{labels}"values":[{values[rows]}]}}' for labels, rows in bins))


def _answer(kind: str, result: str) -> httpx.Response:
    text = f'{{"status":"success","data":{{"resultType":"{kind}","result":[{result}]}}}}'
    return httpx.Response(200, content=text.encode())


class Watch:
    """The longest time that the event loop's thread worked in one go, in seconds of CPU: nothing else came to turn."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)


class Models:
    """Readings of models of one width; only ours counts, not what the answers cost that are made here."""

    def __init__(self, features: int) -> None:
        self.answers = Answers(features)
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        self.readings = BackgroundReadings(
            Prometheus(Access(("http://prometheus",)), lambda *_, **__: client),
            EnvoyDataPlane(),
            lambda _: None,
            lambda: self.answers.now,
            jitter=lambda: 1.0,
        )
        self.making = 0.0

    def _handle(self, request: httpx.Request) -> httpx.Response:
        began = time.process_time()
        made = self.answers(request)
        self.making += time.process_time() - began
        return made

    async def look(self, name: str) -> float:
        """CPU seconds of one look at a model."""
        key = Key("models", name)
        status = Status(stable=RevisionRef(revision=f"{name}-1a2b3c4d", version="1"))
        self.making, began = 0.0, time.process_time()
        self.readings.refresh(key, SPEC, status, [])
        await self.readings.settled()
        spent = time.process_time() - began - self.making
        assert self.readings.newest(key, status).drift, "there is an answer"
        return spent


async def measured(features: int, models: int) -> list[str]:
    """A row of the table."""
    scene = Models(features)
    await scene.look("warm")  # what is imported and cached once
    scene.readings.forget(Key("models", "warm"))
    first = [await scene.look("timed")]
    later = []
    for _ in range(7):  # one of them takes in a complete half-hour
        scene.answers.now += DRIFT_EVERY
        later.append(await scene.look("timed"))
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    scene.answers.now += DRIFT_EVERY
    await scene.look("timed")
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(models):
        await scene.look(f"m{number}")
    gc.collect()
    held = (tracemalloc.get_traced_memory()[0] - before) / models / 1024
    tracemalloc.stop()
    each = sum(later) / len(later)
    return [
        str(features),
        str(features * BINS),
        f"{held:.0f}",
        f"{1000 * first[0]:.0f}",
        f"{1000 * each:.0f}",
        f"{1000 * each / DRIFT_EVERY:.2f}",
        f"{1000 * watch.longest:.0f}",
    ]


def main() -> None:
    """Print the table; with --write into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--models", type=int, default=5, help="models of each width whose memory is measured")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    args = parser.parse_args()
    rows = [asyncio.run(measured(features, args.models)) for features in WIDTHS]
    head = (
        "features",
        "bins",
        "KiB held",
        "CPU ms, first look",
        "CPU ms, later looks",
        "CPU ms/s",
        "loop at a time, ms",
    )
    text = table(head, rows)
    print(text)
    if args.write:
        put(text, COMMAND)


if __name__ == "__main__":
    main()
