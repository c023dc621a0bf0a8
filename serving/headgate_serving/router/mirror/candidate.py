"""Asks the candidate what a user has asked stable, and compares. Called by `session`, by several workers at a time.

The candidate's pods are asked directly, in turn: Envoy's counters are about users. What is wrong with stable's answer
or with the request makes no pair; what is wrong with the candidate's is an error of the candidate.
"""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Self

import aiohttp
import grpc

from headgate.api import contract
from headgate.api.policy import Agreement
from headgate_serving.certificates import Identity
from headgate_serving.codec.http_message import MAX_BODY, Message
from headgate_serving.codec.lengths import Lengths
from headgate_serving.codec.lenient import Tensors, Unreadable, grpc_message, outputs_of
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.router.mirror.comparison import agree, compared, few_labels_alike, is_fit
from headgate_serving.router.mirror.exchange import INFERENCE_OK, Exchange, Unusable
from headgate_serving.router.mirror.secured import SecuredPods
from headgate_serving.router.mirror.series import Verdict
from headgate_serving.router.policy.endpoints import Endpoint

AT_ONCE = 8
"""Copies that the candidate is asked at a time."""

SPARE_SECONDS = 1.0
"""How much longer than a user the shadow waits. Whether the candidate is quick enough, the canary will tell by Envoy's
clock; the agent's is not as good."""

LARGE = 64 << 10
"""Bytes from which an answer is read in a thread, so that the agent can follow a rollback meanwhile; and one at a time:
as a list of numbers it takes ten times its bytes."""

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_REPEATED = ("content-encoding", "content-type", "inference-header-content-length")
_OPTIONS = (("grpc.max_receive_message_length", 2 * MAX_BODY), ("grpc.enable_http_proxy", 0))
_Request = MESSAGES["inference.ModelInferRequest"]


class Failed(Exception):
    """The candidate gave no good answer."""


@dataclass
class Candidate:
    """Where its pods are, and how they are asked; both may change at any time."""

    pods: tuple[Endpoint, ...]
    timeout: float
    """Seconds that a user would wait."""
    agreement: Agreement
    secured: SecuredPods
    """How those of its pods are asked that speak TLS."""
    _turn: "count[int]" = field(default_factory=count)
    _lengths: Lengths = field(default_factory=Lengths)
    _large: asyncio.Lock = field(default_factory=asyncio.Lock)
    _channels: dict[tuple[str, Identity | None], grpc.aio.Channel] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        """Within the event loop, as aiohttp wants it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._session.close()
        await self._close_channels_but(frozenset())

    async def verdict(self, exchange: Exchange) -> tuple[Verdict, float]:
        """Whether the candidate agrees, and its seconds. Unusable where nothing can be said of it."""
        stable = await self._read(exchange.answer, exchange.is_grpc)
        if stable is None:
            raise Unusable("unreadable")
        if not compared(stable, self.agreement):
            raise Unusable("incomparable")
        ask = self._ask_grpc(exchange.request) if exchange.is_grpc else self._ask_rest(exchange.request)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout + SPARE_SECONDS):
                answer = await ask
        except (Failed, TimeoutError):
            return "error", time.monotonic() - started
        seconds = time.monotonic() - started
        found = await self._read(answer, exchange.is_grpc)
        self._lengths.learn(stable)
        if found is None or not is_fit(stable, found, self.agreement, self._lengths):
            return "error", seconds
        if agree(stable, found, self.agreement):
            return "yes", seconds
        return "few" if few_labels_alike(stable, found, self.agreement) else "no", seconds

    async def _ask_rest(self, request: Message) -> Message:
        path = request.header(":path")
        if "/versions/" in path.partition("?")[0]:
            raise Unusable("version")
        headers = {name: value for name in _REPEATED if (value := request.header(name))}
        headers |= {contract.SHADOW_HEADER: "1", "accept-encoding": "identity"}
        for again in (True, False):
            pod = self._next([pod for pod in self.pods if pod.port])
            scheme, secured = self.secured.rest(pod)
            url = f"{scheme}://{pod.authority(pod.port)}{path}"
            try:
                async with self._session.post(
                    url, data=request.body, headers=headers, allow_redirects=False, **secured
                ) as response:
                    if str(response.status) != INFERENCE_OK:
                        raise Failed(f"status {response.status}")
                    return await _bounded(response)
            except aiohttp.ClientConnectionError as error:
                # Perhaps a connection that was closed for being idle: once more, on another one.
                if not again:
                    raise Failed(str(error)) from error
            except aiohttp.ClientError as error:
                raise Failed(str(error)) from error
        raise AssertionError("unreachable")

    async def _ask_grpc(self, request: Message) -> Message:
        try:
            message = grpc_message(request)
            versioned = _Request.FromString(message).model_version
        except Exception as error:
            raise Unusable("unreadable") from error
        if versioned:
            raise Unusable("version")
        for again in (True, False):
            pod = self._next([pod for pod in self.pods if pod.grpc_port])
            call = self._channel(pod).unary_unary(_INFER)
            try:
                answer = await call(message, metadata=((contract.SHADOW_HEADER, "1"),))
            except grpc.aio.AioRpcError as error:
                if not again or error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise Failed(f"{error.code().name}: {error.details()}") from error
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
                raise Unusable("no-pod") from None  # it is the pod that went, with its channel
            else:
                return Message({}, [b"\0" + len(answer).to_bytes(4), answer], len(answer) + 5)
        raise AssertionError("unreachable")

    async def _read(self, answer: Message, is_grpc: bool) -> Tensors | None:
        """None for what is no answer of the protocol."""
        try:
            if answer.size <= LARGE:
                return outputs_of(answer, is_grpc=is_grpc)
            async with self._large:
                return await asyncio.to_thread(outputs_of, answer, is_grpc=is_grpc)
        except Unreadable:
            return None

    def _next(self, pods: list[Endpoint]) -> Endpoint:
        if not pods:
            raise Unusable("no-pod")
        return pods[next(self._turn) % len(pods)]

    def _channel(self, pod: Endpoint) -> grpc.aio.Channel:
        where, identity = pod.authority(pod.grpc_port), self.secured.identity(pod)
        if (where, identity) not in self._channels:
            self._channels[where, identity] = self.secured.channel(where, identity, _OPTIONS)
        return self._channels[where, identity]

    async def follow(self, pods: tuple[Endpoint, ...], seconds: float, agreement: Agreement) -> None:
        """What is new; connections to pods that are gone end with their calls."""
        self.pods, self.timeout, self.agreement = pods, seconds, agreement
        await self._close_channels_but(frozenset(pod.authority(pod.grpc_port) for pod in pods))

    async def _close_channels_but(self, kept: frozenset[str]) -> None:
        for which in [which for which in self._channels if which[0] not in kept]:
            await self._channels.pop(which).close()


async def _bounded(response: aiohttp.ClientResponse) -> Message:
    """An answer that is no larger than stable's may be."""
    pieces, size = list[bytes](), 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise Failed(f"more than {MAX_BODY} bytes")
    return Message({name.lower(): value for name, value in response.headers.items()}, pieces, size)
