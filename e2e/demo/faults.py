"""What versions of a model do wrong in production, built into the real server of a pod.

The environment's FAULT names one; `sitecustomize.py`, which Python imports first, installs it. Everything but inference
stays as it is, so such a version becomes ready, and fails when it gets its first users.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

VARIABLE = "FAULT"
SLOW_SECONDS = 20.0
SHARE = 0.05
HOARD = 48 << 20
"""Bytes that each request leaves behind."""


def install(name: str) -> None:
    """Build the fault into this process. KeyError if there is none of that name."""
    FAULTS[name]()


def _error() -> None:
    from headgate_serving.errors import ExecutionFailed

    _instead_of_begin(lambda request, _: request.fail(ExecutionFailed("this version can't answer anything")))


def _some_errors() -> None:
    from headgate_serving.errors import ExecutionFailed

    def begin(request: Any, really: Callable[[Any], None]) -> None:
        if random.random() < SHARE:
            request.fail(ExecutionFailed("this version can't answer everything"))
        else:
            really(request)

    _instead_of_begin(begin)


def _hang() -> None:
    _instead_of_begin(lambda *_: None)


def _slow() -> None:
    _instead_of_begin(lambda request, really: asyncio.get_running_loop().call_later(SLOW_SECONDS, really, request))


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
}
