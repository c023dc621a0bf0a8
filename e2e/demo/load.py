"""The load generator: clients of the census model, as a pod. `python -m demo.load URL …`

An open loop: requests leave on schedule whatever becomes of the earlier ones, and latency counts from the time that
was planned, so a slow server can't slow its own test down. It replays real rows with their true labels, stops by
itself, and answers `GET /state` (JSON, `?since=SECOND`), `/metrics` and `/healthz` on its own port, also for a while
after it stopped. What it has counted is printed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload
from urllib.parse import parse_qs, urlsplit

from . import openinference
from .openinference import Malformed
from .tally import Tally
from .traffic import Dropped, Pool

REVISION = "x-headgate-revision"
FALLBACK = "x-headgate-fallback"
IN_FLIGHT = 500


@dataclass(frozen=True)
class Person:
    """One row ready to be sent, and whether the person is employed."""

    body: bytes
    label: int


@dataclass(frozen=True)
class Plan:
    """How many requests, how fast, and how long a client waits; in seconds."""

    rate: float
    seconds: float
    timeout: float
    burst: tuple[float, float] = (1.0, 1.0)
    """A period in seconds, and the part of it in which its requests are sent."""

    @property
    def requests(self) -> int:
        """All of them."""
        return int(self.rate * self.seconds)

    def due(self, number: int) -> float:
        """When a request is sent, in seconds from the start."""
        (period, part), steady = self.burst, number / self.rate
        return steady - steady % period + part * (steady % period)


class Load:
    """One run. `clock` is the time of day, and does not go backwards."""

    def __init__(self, plan: Plan, pool: Pool, path: str, tally: Tally, clock: Callable[[], float]) -> None:
        self.plan = plan
        self.tally = tally
        self.running = False
        self.started = 0.0
        self._pool = pool
        self._path = path
        self._clock = clock
        self._stop = asyncio.Event()
        self._pending: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()

    async def run(self, people: Sequence[Person]) -> None:
        """Send on schedule until the plan ends or `stop`; return when the last answer is there or overdue."""
        self.started, self.running = self._clock(), True
        for number in range(self.plan.requests):
            planned = self.started + self.plan.due(number)
            if await self._wait_until(planned):
                break
            self._launch(people[number % len(people)], planned)
        self.running = False
        if self._pending:
            await asyncio.wait(self._pending)
        self._pool.close()

    async def _wait_until(self, planned: float) -> bool:
        """Whether to stop."""
        ahead = planned - self._clock()
        if ahead > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), ahead)
        return self._stop.is_set()

    def _launch(self, person: Person, planned: float) -> None:
        self.tally.sent(planned)
        if len(self._pending) >= IN_FLIGHT:
            self.tally.failed(planned, 0.0, "", "overload", f"{IN_FLIGHT} requests without an answer")
            return
        task = asyncio.create_task(self._ask(person, planned))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _ask(self, person: Person, planned: float) -> None:
        revision = ""
        try:
            left = max(0.0, planned + self.plan.timeout - self._clock())
            response = await asyncio.wait_for(self._pool.post(self._path, person.body), left)
            # Who answered: a revision, or who stood in for all of them.
            revision = response.headers.get(REVISION) or response.headers.get(FALLBACK, "")
            if response.status != 200:
                message = response.body.decode(errors="replace")
                return self._failed(planned, revision, f"status {response.status}", message)
            answer = openinference.read(response.body)
        except TimeoutError:
            return self._failed(planned, revision, "timeout", f"no answer within {self.plan.timeout} s")
        except Dropped as error:
            return self._failed(planned, revision, "dropped", str(error))
        except Malformed as error:
            return self._failed(planned, revision, "malformed", str(error))
        except Exception as error:
            return self._failed(planned, revision, "error", repr(error))
        latency = self._clock() - planned
        correct = answer.label == person.label
        return self.tally.good(planned, latency, revision, positive=answer.label == 1, correct=correct)

    def _failed(self, planned: float, revision: str, kind: str, message: str) -> None:
        self.tally.failed(planned, self._clock() - planned, revision, kind, message)

    def to_json(self, since: int = 0) -> dict[str, Any]:
        """What `GET /state` answers."""
        plan = {"rate": self.plan.rate, "limit_seconds": self.plan.seconds, "budget_ms": 1000 * self.tally.budget}
        about = {"running": self.running, "started": round(self.started, 3), "connections": self._pool.opened}
        return {**about, **plan, **self.tally.to_json(since)}


@dataclass(frozen=True)
class Shift:
    """A column, by its number, that has moved by some amount: inputs that drift."""

    column: int
    amount: float


def shift(text: str) -> Shift:
    """COLUMN:AMOUNT as it is given on the command line."""
    column, _, amount = text.partition(":")
    return Shift(int(column), float(amount))


def burst(text: str) -> tuple[float, float]:
    """PERIOD:PART as it is given on the command line."""
    period, _, part = text.partition(":")
    return float(period), float(part)


class People(Sequence[Person]):
    """The rows of `live.npz`, made ready one by one."""

    def __init__(self, place: Path, shifts: Sequence[Shift] = ()) -> None:
        import numpy as np

        with np.load(place) as rows:
            self._features, self._labels = rows["features"], rows["labels"]
        if shifts:
            self._features = self._features.astype(np.float32)
        for each in shifts:
            self._features[:, each.column] += each.amount

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, at: int) -> Person: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Person]: ...

    def __getitem__(self, at: int | slice) -> Person | Sequence[Person]:
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(len(self)))]
        return Person(openinference.request(self._features[at].tolist()), int(self._labels[at]))


def metrics(state: dict[str, Any]) -> str:
    """The totals in Prometheus' text form."""
    lines = [
        f'demo_requests_total{{revision="{revision}",outcome="{name}"}} {outcomes[name]}'
        for revision, outcomes in state["revisions"].items()
        for name in ("ok", "failed", "late")
    ]
    sent = f"demo_requests_sent_total {state['totals']['sent']}"
    return "\n".join(["# TYPE demo_requests_total counter", *lines, sent, ""])


async def answer_questions(load: Load, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One HTTP request about the run."""
    try:
        line = await asyncio.wait_for(reader.readline(), 5)
        url = urlsplit(line.decode("latin-1").split(" ")[1])
        while (await asyncio.wait_for(reader.readline(), 5)).strip():
            pass
        since = int(parse_qs(url.query).get("since", ["0"])[0])
        if url.path == "/state":
            status, content = "200 OK", json.dumps(load.to_json(since))
        elif url.path == "/metrics":
            status, content = "200 OK", metrics(load.to_json())
        else:
            status, content = ("200 OK", "ok") if url.path == "/healthz" else ("404 Not Found", "no such page")
    except (TimeoutError, ValueError, IndexError):
        status, content = "400 Bad Request", "not understood"
    kind = "application/json" if content.startswith("{") else "text/plain"
    body = content.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError):
        writer.write(head.encode() + body)
        await writer.drain()
    writer.close()


async def serve(args: argparse.Namespace) -> dict[str, Any]:
    """Run to the end and return the last state."""
    url = urlsplit(args.url)
    began, monotonic = time.time(), time.monotonic()

    def clock() -> float:
        return began + time.monotonic() - monotonic

    pool = Pool(url.hostname or "", url.port or 80, clock)
    load = Load(Plan(args.rate, args.seconds, args.timeout, args.burst), pool, url.path, Tally(args.budget), clock)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        load.stop()
        ended.set()

    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, end)
    server = await asyncio.start_server(lambda r, w: answer_questions(load, r, w), args.host, args.port)
    async with server:
        await load.run(People(args.rows, args.shift))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), args.linger)
    return load.to_json()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("demo.load", description="Replay real rows through a model's Service.")
    parser.add_argument("url", help="http://HOST[:PORT]/v2/models/MODEL/infer")
    parser.add_argument("--rows", type=Path, required=True, help="live.npz")
    parser.add_argument(
        "--shift", type=shift, action="append", default=[], metavar="COLUMN:AMOUNT", help="add to a column, by number"
    )
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument(
        "--burst", type=burst, default=(1.0, 1.0), metavar="PERIOD:PART", help="send in a part of each period only"
    )
    parser.add_argument("--seconds", type=float, default=900.0, help="when to stop by itself")
    parser.add_argument("--timeout", type=float, default=2.0, help="after which an answer is a failed one")
    parser.add_argument("--budget", type=float, default=0.5, help="after which an answer is a late one")
    parser.add_argument("--linger", type=float, default=900.0, help="how long to answer questions after the end")
    parser.add_argument("--host", default="0.0.0.0", help="where to answer questions")
    parser.add_argument("--port", type=int, default=8080)
    state = asyncio.run(serve(parser.parse_args(argv)))
    del state["seconds"]
    print(json.dumps(state), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
