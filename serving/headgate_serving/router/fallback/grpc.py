"""The chain over gRPC, for ModelInfer: a server at a Unix socket, which Envoy asks in stable's place.

`server` starts `Grpc`; `chain` says who is asked.
"""

from asyncio import get_running_loop
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from headgate.api import contract
from headgate_serving.codec.oip_messages import INFERENCE, MESSAGES
from headgate_serving.router.envoy.config.headers import FINAL
from headgate_serving.router.envoy.config.layout import BODY_LIMIT
from headgate_serving.router.fallback.chain import LEFT_UNSAID, NOBODY, Chain, Outcome, Unanswered, for_models
from headgate_serving.router.fallback.marks import FALLBACK_FOR_HEADER, LEFT_HEADER, marked_message, passed_on
from headgate_serving.router.fallback.requests import Malformed, of_grpc, of_message
from headgate_serving.router.fallback.static import TooLarge

LARGEST_ANSWER = 16 << 20

_Response = MESSAGES["inference.ModelInferResponse"]
_Code = grpc.StatusCode
_REFUSALS = frozenset(
    {
        _Code.INVALID_ARGUMENT,
        _Code.NOT_FOUND,
        _Code.PERMISSION_DENIED,
        _Code.UNAUTHENTICATED,
        _Code.UNIMPLEMENTED,
    }
)
"""Codes by which a model says that the request is none for it."""

_CHANNEL = (
    ("grpc.max_receive_message_length", LARGEST_ANSWER),
    # A model that was away is to be asked as soon as it is back; and one whose node has died is to be noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
)

Context = Any
"""grpc.aio.ServicerContext; gRPC has no types."""


class Grpc:
    """The server, and the client of the other models; `target_of` says where one of them is."""

    def __init__(self, chain: Chain, target_of: Callable[[str], str]) -> None:
        self._chain = chain
        self._target_of = target_of
        self._channels: dict[str, Any] = {}

    async def serve(self, socket: PurePosixPath) -> None:
        """Start; the caller ends it by `cleanup`."""
        self._server = grpc.aio.server(options=(("grpc.max_receive_message_length", BODY_LIMIT),))
        # Without serializers a method takes and gives bytes.
        methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(INFERENCE, methods),))
        self._server.add_insecure_port(f"unix:{socket}")
        await self._server.start()

    async def cleanup(self) -> None:
        """End it, with half a second for what is under way."""
        await self._server.stop(0.5)
        for channel in self._channels.values():
            await channel.close()

    async def _infer(self, message: bytes, context: Context) -> bytes:
        metadata = list(context.invocation_metadata())
        headers = dict(metadata)
        if FALLBACK_FOR_HEADER in headers:
            await _refuse(context, _Code.UNAVAILABLE, "asked in place of another model: only the model itself would do")
        deadline = get_running_loop().time() + for_models(_left(headers, context))
        try:
            name, response = await self._answer(message, metadata, deadline)
        except Malformed as error:
            await _refuse(context, _Code.INVALID_ARGUMENT, str(error))
        except TooLarge as error:
            await _refuse(context, _Code.RESOURCE_EXHAUSTED, str(error))
        except Unanswered as error:
            await _refuse(context, _Code.UNAVAILABLE, str(error))
        await context.send_initial_metadata(((contract.FALLBACK_HEADER, name),))
        answer: bytes = response.SerializeToString()
        return answer

    async def _answer(self, message: bytes, metadata: list[tuple[str, Any]], deadline: float) -> tuple[str, Any]:
        """The name of the fallback, and its answer. Raises Malformed, TooLarge, or Unanswered where none answered."""
        request, static = of_grpc(message), self._chain.static
        model = request.model_name
        headers = (*passed_on(metadata), (FALLBACK_FOR_HEADER, self._chain.model))

        async def ask(name: str, seconds: float) -> tuple[str, Any]:
            request.model_name, request.model_version = name, ""
            return name, await self._asked(name, request.SerializeToString(), headers, seconds)

        answer, why = await self._chain.first(deadline, ask)
        if answer is not None:
            return answer
        if static is not None:
            response = static.message(of_message(model, request, len(message)))
            self._chain.count(static.name, "answered")
            return static.name, response
        self._chain.count(NOBODY, "failed")
        raise Unanswered("failed", "; ".join(["the model could not answer, and no fallback could", *why]))

    async def _asked(self, name: str, message: bytes, headers: tuple[tuple[str, Any], ...], seconds: float) -> Any:
        if name not in self._channels:
            self._channels[name] = grpc.aio.insecure_channel(self._target_of(name), options=_CHANNEL)
        call = self._channels[name].unary_unary(f"/{INFERENCE}/ModelInfer")
        try:
            answer = await call(message, timeout=seconds, metadata=headers)
            return marked_message(_Response.FromString(answer), name)
        except grpc.aio.AioRpcError as error:
            raise Unanswered(_outcome(error.code()), f"status {error.code().name}") from error
        except DecodeError as error:
            raise Unanswered("failed", "its answer is none of the protocol") from error


def _outcome(code: grpc.StatusCode) -> Outcome:
    if code == _Code.DEADLINE_EXCEEDED:
        return "late"
    return "refused" if code in _REFUSALS else "failed"


def _left(headers: dict[str, Any], context: Context) -> float:
    """How many seconds Envoy waits, and the client."""
    said = str(headers.get(LEFT_HEADER, ""))
    left = int(said) / 1000 if said.isdecimal() else LEFT_UNSAID
    remaining: float | None = context.time_remaining()
    return left if remaining is None else min(left, remaining)


async def _refuse(context: Context, code: grpc.StatusCode, why: str) -> None:
    await context.abort(code, why, trailing_metadata=((FINAL, "true"),))
