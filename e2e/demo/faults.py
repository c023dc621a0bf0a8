"""What versions of a model do wrong in production, built into the real server of a pod.

The environment's FAULT names one; `sitecustomize.py`, which Python imports first, installs it. Everything but inference
stays as it is, so such a version becomes ready, and fails when it gets its first users.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Any

VARIABLE = "FAULT"
SLOW_SECONDS = 20.0
LATE_SECONDS = 0.1
SHARE, SMALL_SHARE, LARGE_SHARE = 0.05, 0.02, 0.2
CRASH_AFTER = 400
"""Requests: more than a preflight asks."""
ONSET_SECONDS = 180.0
BUSY = 10
"""Requests in a second from which one that is slow under load is slow."""
OUTAGE, OUTAGE_EVERY = 4.0, 60.0
"""Seconds of each minute in which what both versions need is away."""
HOARD = 48 << 20
"""Bytes that each request leaves behind."""


def install(name: str) -> None:
    """Build the fault into this process. KeyError if there is none of that name."""
    FAULTS[name]()


def _error() -> None:
    from headgate_serving.errors import ExecutionFailed

    _instead_of_begin(lambda request, _: request.fail(ExecutionFailed("this version can't answer anything")))


def _errors_where(wrong: Callable[[], bool]) -> None:
    from headgate_serving.errors import ExecutionFailed

    def begin(request: Any, really: Callable[[Any], None]) -> None:
        if wrong():
            request.fail(ExecutionFailed("this version can't answer everything"))
        else:
            really(request)

    _instead_of_begin(begin)


def _some_errors() -> None:
    _errors_where(lambda: random.random() < SHARE)


def _few_errors() -> None:
    _errors_where(lambda: random.random() < SMALL_SHARE)


def _late_onset() -> None:
    started = time.monotonic()
    _errors_where(lambda: time.monotonic() - started > ONSET_SECONDS and random.random() < LARGE_SHARE)


def _outage() -> None:
    """By the time of day, so that both versions fail at the same time."""
    _errors_where(lambda: time.time() % OUTAGE_EVERY < OUTAGE)


def _hang() -> None:
    _instead_of_begin(lambda *_: None)


def _slow() -> None:
    _after(SLOW_SECONDS)


def _late() -> None:
    _after(LATE_SECONDS)


def _after(seconds: float) -> None:
    _instead_of_begin(lambda request, really: asyncio.get_running_loop().call_later(seconds, really, request))


def _slow_under_load() -> None:
    begun: deque[float] = deque(maxlen=BUSY)

    def begin(request: Any, really: Callable[[Any], None]) -> None:
        now = time.monotonic()
        busy = len(begun) == BUSY and now - begun[0] < 1
        begun.append(now)
        if busy:
            asyncio.get_running_loop().call_later(2 * LATE_SECONDS, really, request)
        else:
            really(request)

    _instead_of_begin(begin)


def _crash_at_load() -> None:
    import onnxruntime

    def load(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    onnxruntime.InferenceSession.__init__ = load


def _crash_first() -> None:
    _instead_of_begin(lambda *_: os.kill(os.getpid(), signal.SIGSEGV))


def _crash_later() -> None:
    begun = itertools.count()

    def begin(request: Any, really: Callable[[Any], None]) -> None:
        if next(begun) >= CRASH_AFTER:
            os.kill(os.getpid(), signal.SIGSEGV)
        really(request)

    _instead_of_begin(begin)


def _oom() -> None:
    hoard: list[bytes] = []

    def begin(request: Any, really: Callable[[Any], None]) -> None:
        hoard.append(b"x" * HOARD)
        really(request)

    _instead_of_begin(begin)


def _instead_of_begin(begin: Callable[[Any, Callable[[Any], None]], object]) -> None:
    """`begin` gets each request, and what would have been done with it."""
    from headgate_serving.server.inference import Inference

    really = Inference.begin
    Inference.begin = lambda request: begin(request, really)  # type: ignore[method-assign, assignment]


def _cut() -> None:
    _instead_of_answers(lambda answer: answer[: len(answer) // 2])


def _garbage() -> None:
    _instead_of_answers(lambda _: b"\0\1 this is no answer\r\n\r\n")


def _instead_of_answers(change: Callable[[bytes], bytes]) -> None:
    """What goes over the wire for an answer, and then the connection is closed."""
    from headgate_serving.http import http1
    from headgate_serving.server.grpc_inference import ModelInfer

    write, answer = http1.Connection._write, ModelInfer.answer

    def write_http(connection: Any, *given: Any, **named: Any) -> None:
        if connection._current and connection._current.path.endswith("/infer"):
            connection._transport = _Changing(connection._transport, change)
        write(connection, *given, **named)

    def answer_grpc(call: Any, results: Any) -> None:
        connection = call._stream._connection
        connection._transport = _Changing(connection._transport, change)
        answer(call, results)

    http1.Connection._write = write_http  # type: ignore[method-assign, assignment]
    ModelInfer.answer = answer_grpc  # type: ignore[method-assign, assignment]


class _Changing:
    """A transport that sends something else, and ends the connection."""

    def __init__(self, transport: Any, change: Callable[[bytes], bytes]) -> None:
        self._transport, self._change = transport, change

    def write(self, data: bytes) -> None:
        self._transport.write(self._change(bytes(data)))
        asyncio.get_running_loop().call_later(0.005, self._transport.abort)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


FAULTS: dict[str, Callable[[], None]] = {
    "error": _error,
    "some-errors": _some_errors,
    "hang": _hang,
    "oom": _oom,
    "cut": _cut,
    "slow": _slow,
    "garbage": _garbage,
    "few-errors": _few_errors,
    "late-onset": _late_onset,
    "outage": _outage,
    "late": _late,
    "slow-under-load": _slow_under_load,
    "crash-at-load": _crash_at_load,
    "crash-first": _crash_first,
    "crash-later": _crash_later,
}
