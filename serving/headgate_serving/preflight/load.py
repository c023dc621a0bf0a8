"""The check `load`: the candidate keeps up with a stated rate of requests, for a few seconds.

Requests are due on a schedule, whether or not those before are answered, and their time counts from then. Only the
candidate is loaded. Stable, where there is one, is asked one request at a time, to see whether the load slows it.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from .endpoint import Endpoint, Kind, OutOfTime
from .findings import Findings, NothingToCheck
from .requests import Request
from .subject import Load, Subject

SECONDS, MOST_REQUESTS, MOST_IN_FLIGHT = 5.0, 500, 32
MOST_ANSWER = 1 << 20
"""Bytes of one answer: so many times the requests in flight have to fit into memory."""
MOST_LATE, MOST_FAILED, LEAST_FAILED = 0.5, 0.05, 3
"""Shares of the requests that may be late, or fail; so few failures say nothing."""
OWN_DELAY = 0.05
"""Seconds that a request may leave late while threads are free: beyond, it is the preflight that is slow."""
_WARM_UP, _ROWS = 3, 8
_PAUSE, _LOOKS = 0.25, 4
_TIMES_SLOWER, _LEAST_SLOWER = 2.0, 0.02


def check(subject: Subject, findings: Findings) -> None:
    """One load, with the golden samples in turn."""
    load, signature, endpoint = subject.load, subject.candidate.told, subject.candidate.endpoint
    if load is None:
        raise NothingToCheck("no rate is stated")
    rows = subject.candidate.golden(signature) if signature else []
    if not rows:
        raise NothingToCheck("there are no golden samples that fit the inputs")
    rows = _warm_up(endpoint, rows)
    run = _Run(endpoint, rows, load.rate)
    watch = _Watch(subject, rows[0], run.stopped)
    _together(run, watch)
    if watch.moved:
        raise NothingToCheck(f"stopped: {watch.moved}")
    if run.out_of_time:
        raise OutOfTime
    _judge(run, load, findings)


def _warm_up(endpoint: Endpoint, rows: Sequence[Request]) -> list[Request]:
    """The first few samples whose answers are good, one request at a time."""
    for _ in range(_WARM_UP):
        reply = endpoint.infer(rows[0], MOST_ANSWER)
        if reply.good:
            return [rows[0], *(row for row in rows[1:_ROWS] if endpoint.infer(row, MOST_ANSWER).good)]
    raise NothingToCheck(f"a single request is not answered: {reply.text}")


@dataclass
class _Run:
    """The requests of one load; its threads take them in turn."""

    endpoint: Endpoint
    rows: Sequence[Request]
    rate: float
    stopped: threading.Event = field(default_factory=threading.Event)
    seconds: list[float] = field(default_factory=list)
    """Of each good answer, since its request was due."""
    failed: list[str] = field(default_factory=list)
    own_delays: int = 0
    taken: int = 0
    busy: int = 0
    out_of_time: bool = False
    started: float = 0.0
    ended: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def planned(self) -> int:
        return max(1, min(MOST_REQUESTS, int(self.rate * SECONDS)))

    def work(self) -> None:
        """Of one thread."""
        while (due := self._next()) is not None:
            at, row = due
            if self.stopped.wait(max(0.0, at - time.monotonic())):
                return
            self._ask(at, row)

    def _next(self) -> tuple[float, Request] | None:
        with self.lock:
            over = time.monotonic() > self.started + self.planned / self.rate + min(self.endpoint.timeout, SECONDS)
            if self.taken >= self.planned or over or self.stopped.is_set():
                return None
            self.taken += 1
            return self.started + (self.taken - 1) / self.rate, self.rows[(self.taken - 1) % len(self.rows)]

    def _ask(self, at: float, row: Request) -> None:
        with self.lock:
            if time.monotonic() - at > OWN_DELAY and self.busy < MOST_IN_FLIGHT - 1:
                self.own_delays += 1
            self.busy += 1
        try:
            reply = self.endpoint.infer(row, MOST_ANSWER)
        except OutOfTime:
            self.out_of_time = True
            self.stopped.set()
            return
        finally:
            with self.lock:
                self.busy -= 1
        with self.lock:
            self.ended = time.monotonic()
            if reply.good:
                self.seconds.append(self.ended - at)
            elif reply.kind is not Kind.LATE:
                self.failed.append(reply.text)


class _Watch:
    """Stable's answers to single requests, before the load and during it."""

    def __init__(self, subject: Subject, row: Request, stop: threading.Event) -> None:
        self._subject, self._row, self._stop = subject, row, stop
        self.over = threading.Event()
        self.moved = ""
        self._before = self._usual()

    def work(self) -> None:
        """Until the load is over, or has to be."""
        during: list[float] = []
        while self._before is not None and not self.over.wait(_PAUSE):
            try:
                reply = self._subject.ask_stable(self._row)
            except OutOfTime:
                return
            if reply is None or not reply.good:
                self.moved = f"stable did not answer: {reply.text if reply else self._subject.left_alone}"
            else:
                during.append(reply.seconds)
                now = median(during)
                slower = now > _TIMES_SLOWER * self._before and now - self._before > _LEAST_SLOWER
                if slower and len(during) >= _LOOKS:
                    self.moved = f"stable took {now * 1000:.0f} ms, and {self._before * 1000:.0f} ms before"
            if self.moved:
                self._stop.set()
                return

    def _usual(self) -> float | None:
        """Stable's time now; None where it can't be watched."""
        replies = []
        for _ in range(_LOOKS):
            reply = self._subject.ask_stable(self._row)
            if reply is None or not reply.good:
                return None
            replies.append(reply.seconds)
            time.sleep(_PAUSE)
        return median(replies)


def _together(run: _Run, watch: _Watch) -> None:
    run.started = run.ended = time.monotonic()
    watching = threading.Thread(target=watch.work, daemon=True)
    threads = [threading.Thread(target=run.work, daemon=True) for _ in range(min(MOST_IN_FLIGHT, run.planned))]
    for thread in (watching, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    watch.over.set()
    watching.join()


def _judge(run: _Run, load: Load, findings: Findings) -> None:
    late = run.planned - len(run.seconds) - len(run.failed) + sum(one > load.budget for one in run.seconds)
    reached = len(run.seconds) / max(run.ended - run.started, run.planned / run.rate)
    findings.figures |= {"rate": load.rate, "reached": round(reached, 2), "requests": run.planned}
    findings.figures |= {"late": late, "failed": len(run.failed)}
    if run.seconds:
        p50, p99, most = np.percentile(run.seconds, [50, 99, 100]).tolist()
        findings.figures |= {"p50Ms": round(p50 * 1e3, 2), "p99Ms": round(p99 * 1e3, 2), "maxMs": round(most * 1e3, 2)}
    if len(run.failed) >= LEAST_FAILED and len(run.failed) > MOST_FAILED * run.planned:
        findings.wrong.append(f"{len(run.failed)} of {run.planned} requests failed at {load.rate:g}/s: {run.failed[0]}")
    if late <= MOST_LATE * run.planned:
        return
    text = f"{late} of {run.planned} answers took more than {load.budget:g} s, or did not come, at {load.rate:g}/s"
    if run.own_delays > MOST_FAILED * run.planned:
        findings.notes.append(f"{text}; the preflight itself was too slow to judge that")
    else:
        findings.wrong.append(f"{text}: it does not keep up, {reached:.3g}/s were answered")
