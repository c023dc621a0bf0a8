"""One version, asked over REST: one request at a time, each with a connection, a time and a number of bytes of its own.

A connection of its own, so that one which is lost is the request's fault, and not that of an idle connection.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import httpx
import numpy as np
import orjson

from ..codec.http_message import Message
from ..codec.lenient import Tensors, Unreadable, outputs_of
from .findings import shown
from .requests import Request, binary_of, body_of, has_infinity

MAX_ANSWER = 16 << 20
"""Bytes of an answer."""
_BINARY = "binary_tensor_data"
_PAUSE = 0.1


class OutOfTime(Exception):
    """There is not enough time left for one more answer."""


class Kind(IntEnum):
    """Of a reply, from good to bad."""

    ANSWER = 0
    REFUSED = 1
    FAILED = 2
    LATE = 3
    LOST = 4


@dataclass(frozen=True)
class Reply:
    """What came of a request; `text` says what is wrong with it."""

    kind: Kind
    text: str = ""
    outputs: Tensors = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether there are outputs."""
        return self.kind is Kind.ANSWER


@dataclass(frozen=True)
class Raw:
    """An answer of HTTP; `status` is 0 where none came."""

    status: int
    body: bytes
    kind: Kind = Kind.ANSWER
    text: str = ""


@dataclass(frozen=True)
class Secured:
    """How a version is asked whose pods speak TLS: what is shown to them, and the name that they show."""

    context: ssl.SSLContext
    server_name: str


class _Connection:
    """That of one request, which ends when the time is over: httpx bounds each read, and not the whole answer."""

    def __init__(self) -> None:
        self.cut = False
        self._socket: socket.socket | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpx at each step."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Cut it off after so long."""
        timer = threading.Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        self.cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Endpoint:
    """A version at a URL. `deadline`, of `clock`, is that of all checks together."""

    def __init__(
        self,
        url: str,
        model: str,
        timeout: float,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
        secured: Secured | None = None,
    ) -> None:
        self._base, self._model, self.timeout, self._deadline, self._clock = (
            url.rstrip("/"),
            model,
            timeout,
            deadline,
            clock,
        )
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"accept-encoding": "identity"}
        verify = secured.context if secured else True
        self._client = httpx.Client(timeout=timeout, limits=limits, trust_env=False, headers=headers, verify=verify)
        # The name in the certificate is that of no pod, and of no revision's Service.
        self._extensions = {"sni_hostname": secured.server_name} if secured else {}
        self._binary: bool | None = None
        self.requests = 0

    def close(self) -> None:
        """Let go of it."""
        self._client.close()

    def ready(self) -> Raw:
        """Whether it takes requests: status 200."""
        return self._ask("GET", "/v2/health/ready")

    def wait_until_ready(self, seconds: float) -> Raw:
        """Ask until it is, for so long at most; the last answer."""
        until = min(self._clock() + seconds, self._deadline - self.timeout)
        while True:
            answer = self.ready()
            if answer.status == 200 or self._clock() >= until:
                return answer
            time.sleep(_PAUSE)

    def metadata(self) -> Raw:
        """Of the model."""
        return self._ask("GET", f"/v2/models/{self._model}")

    def infer(self, request: Request, most: int = MAX_ANSWER) -> Reply:
        """The outputs, or what came instead of them, of so many bytes; OutOfTime if there is not time enough for it."""
        self.requests += 1
        if has_infinity(request) and self.takes_binary():
            body, length = binary_of(request)
            headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}
        else:
            body, headers = body_of(request), {"content-type": "application/json"}
        started = self._clock()
        raw = self._ask("POST", f"/v2/models/{self._model}/infer", body, headers, most)
        return _reply(raw, self._clock() - started)

    def takes_binary(self) -> bool:
        """Whether it knows tensors as bytes, in which alone infinity can be written."""
        if self._binary is None:
            try:
                self._binary = _BINARY in orjson.loads(self._ask("GET", "/v2").body).get("extensions", ())
            except (ValueError, AttributeError, TypeError):
                self._binary = False
        return self._binary

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None, most: int = MAX_ANSWER
    ) -> Raw:
        started = self._clock()
        if started + self.timeout > self._deadline:
            raise OutOfTime
        late = f"no answer within {self.timeout:g} s"
        connection = _Connection()
        extensions = {**self._extensions, "trace": connection.trace}
        try:
            with (
                connection.within(self.timeout),
                self._client.stream(
                    method, self._base + path, content=body, headers=headers, extensions=extensions
                ) as answer,
            ):
                read = bytearray()
                for piece in answer.iter_raw():
                    read += piece
                    if len(read) > most:
                        return Raw(0, b"", Kind.FAILED, f"an answer of more than {most} bytes")
                    if self._clock() - started > self.timeout:
                        return Raw(0, b"", Kind.LATE, late)
                if connection.cut:
                    return Raw(0, b"", Kind.LATE, late)
                return Raw(answer.status_code, bytes(read))
        except httpx.HTTPError as error:
            if connection.cut or isinstance(error, httpx.TimeoutException):
                return Raw(0, b"", Kind.LATE, late)
            return Raw(0, b"", Kind.LOST, f"the connection was lost: {shown(str(error) or type(error).__name__)}")


def _reply(raw: Raw, seconds: float) -> Reply:
    if raw.status == 0:
        return Reply(raw.kind, raw.text, seconds=seconds)
    if raw.status != 200:
        kind = Kind.REFUSED if 400 <= raw.status < 500 else Kind.FAILED
        return Reply(kind, f"answered {raw.status}: {shown(_error_of(raw.body))}", seconds=seconds)
    try:
        return Reply(Kind.ANSWER, outputs=outputs_of(Message(pieces=[raw.body]), is_grpc=False), seconds=seconds)
    except Unreadable as error:
        return Reply(Kind.FAILED, f"an answer that can't be read: {shown(error)}", seconds=seconds)


def _error_of(body: bytes) -> str:
    """The protocol's message, or what there is instead."""
    try:
        return str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:400].decode("utf-8", "replace")


def not_finite(outputs: Tensors) -> list[str]:
    """Names of the outputs with NaN or infinity."""
    return [name for name, one in outputs.items() if one.is_float and not bool(np.isfinite(one.values).all())]
