"""Inference over gRPC: ModelInfer, and ModelStreamInfer with its many requests in one call."""

from collections import deque
from collections.abc import Generator, Mapping
from typing import Any

from ..codec.accounting import Deferred, Hold, take
from ..codec.grpc_codec import decode_message, encode_message, is_much_text, text_in_pieces
from ..codec.large import LARGE
from ..codec.oip_messages import MESSAGES
from ..codec.rest_codec import InferRequest
from ..errors import RequestError, UnknownModel
from ..http.http2_streams import Stream
from ..runtime.runner import Results
from .grpc_calls import (
    GOOD,
    HEAD,
    MARKED,
    Message,
    Reader,
    Size,
    check_few_fields,
    deadline,
    dismiss,
    framed,
    parsed,
    refuse_for,
)
from .inference import Inference
from .service import Service

_Request = MESSAGES["inference.ModelInferRequest"]
_Streamed = MESSAGES["inference.ModelStreamInferResponse"]
_NO_MESSAGE = Message(b"", False)
_MUCH = 4 << 20
"""Bytes of a message from which on others have their turn before it is parsed, which takes milliseconds."""


class _GrpcInference(Inference):
    """What a call with one answer and a message of a stream have in common."""

    __slots__ = ("id",)

    def begin_by_size(self, size: int, packed: bool) -> None:
        """At once, or in pieces where the message is large, or compressed (`packed`)."""
        if size < LARGE and not packed:
            super().begin()
        else:
            self.begin_in_pieces(self.read_in_pieces(), soon=size < _MUCH and not packed)

    def read_in_pieces(self) -> Generator[None, None, InferRequest]:
        """What `read` does, with pauses."""
        raise NotImplementedError

    def understood(self, message: bytes, deferred: Deferred | None = None) -> InferRequest:
        """The request in a ModelInferRequest's bytes; with `deferred` without values that take long."""
        asked = parsed(_Request, message)
        self.id = asked.id
        service = self.service
        if unknown := service.not_served(asked.model_name, asked.model_version):
            raise UnknownModel(unknown)
        return decode_message(asked, service.serving.model, deferred)

    def reading(self, message: bytes, hold: Hold) -> Generator[None, None, InferRequest]:
        """The same with its values, in pieces; Overloaded where `hold` has no room for the tensors."""
        deferred = Deferred(hold)
        check_few_fields(message)
        take(hold, len(message))  # that is there twice when it is parsed
        if len(message) >= _MUCH:
            yield
        request = self.understood(message, deferred)
        if len(message) >= _MUCH:
            yield
        yield from deferred.fill()
        return request

    def answer(self, results: Results) -> Generator[None, None, None] | None:
        """At once, or in pieces where there is much text."""
        if any(map(is_much_text, results.values())):
            return self._answering(results)
        self.tell(self._told(results, {}))
        return None

    def _answering(self, results: Results) -> Generator[None, None, None]:
        assert self.request
        written = yield from text_in_pieces(self.request, results)
        self.tell(self._told(results, written))

    def _told(self, results: Results, written: Mapping[str, bytes]) -> Any:
        """The ModelInferResponse."""
        service, model, unsure = self.service, self.service.serving.model, self.unsure > 0
        assert self.request
        name, version = service.name, service.version or ""
        return encode_message(name, version, self.request, results, model, unsure=unsure, written=written)

    def tell(self, response: Any) -> None:
        """Send a ModelInferResponse."""
        raise NotImplementedError


class ModelInfer(_GrpcInference):
    """One request, one answer."""

    __slots__ = ("_max_body", "_stream")

    def __init__(self, service: Service, stream: Stream, max_body: int) -> None:
        super().__init__(service)
        self._stream = stream
        self._max_body = max_body
        self.deadline = deadline(stream)
        stream.gone = self.leave

    def begin(self) -> None:
        """In pieces where the body is large."""
        body = self._stream.body
        self.begin_by_size(sum(map(len, body)), bool(body and body[0][0]))  # the first byte says whether it is packed

    def read(self) -> InferRequest:
        """From the whole body."""
        return self.understood(Reader(self._stream, self._max_body).only())

    def read_in_pieces(self) -> Generator[None, None, InferRequest]:
        message = yield from Reader(self._stream, self._max_body).only_in_pieces()
        return (yield from self.reading(message, self._stream.hold))

    def tell(self, response: Any) -> None:
        """As the call's only message."""
        self._stream.answer(MARKED[self.unsure > 0, self.invalid], framed(response), GOOD)

    def refuse(self, error: RequestError) -> None:
        """As the call's status."""
        refuse_for(self._stream, error)


class ModelStreamInfer:
    """Answers come in the order of the requests; one that fails does not end the stream."""

    def __init__(self, service: Service, stream: Stream, max_body: int) -> None:
        self._service = service
        self._stream = stream
        self._reader = Reader(stream, max_body)
        self._asked: deque[_Message] = deque()
        self._deadline = deadline(stream)
        self._leaving = False
        stream.on_leave = self._leave
        stream.on_data = stream.on_end = self._more
        stream.on_sent = self.send_what_is_done
        stream.gone = self._gone
        stream.begin(HEAD)

    def _more(self) -> None:
        try:
            for message in self._reader.messages():
                asked = _Message(self._service, self, message)
                asked.deadline = self._deadline
                self._asked.append(asked)
                asked.begin()
            if self._stream.ended:
                self._reader.check_whole()
        except RequestError as error:
            self._fail(error)
        self.send_what_is_done()

    def plain(self, message: Message, hold: Hold) -> Generator[None, None, bytes]:
        """A message without its encoding; one that is damaged ends the stream."""
        try:
            return (yield from self._reader.plain(message, hold))
        except RequestError as error:
            self._fail(error)
            yield  # for good: nobody waits any more
            raise

    def _fail(self, error: RequestError) -> None:
        self._gone()
        refuse_for(self._stream, error)

    def send_what_is_done(self) -> None:
        """Up to the first one that is not, and no more than the client takes."""
        stream = self._stream
        while self._asked and self._asked[0].reply is not None and not stream.unsent:
            asked = self._asked.popleft()
            stream.release(*asked.size)
            stream.send(framed(asked.reply))
        if stream.ended and not self._asked:
            stream.end(GOOD)
        elif self._leaving and not self._asked and not stream.unsent:
            dismiss(stream)

    def hold(self, size: int) -> bool:
        """Count so many bytes of tensors until their answer is sent; whether there is room for them."""
        return self._stream.hold(size)

    def _leave(self) -> None:
        """Answer what has been asked by now, and no more."""
        self._leaving = True
        self._stream.on_data = None
        self.send_what_is_done()

    def _gone(self) -> None:
        while self._asked:
            self._asked.popleft().leave()


class _Message(_GrpcInference):
    """One message of a ModelStreamInfer."""

    __slots__ = ("_call", "_message", "reply", "size")

    def __init__(self, service: Service, call: ModelStreamInfer, message: Message) -> None:
        super().__init__(service)
        self._call = call
        self._message = message
        self.size = message.size
        self.reply: Any = None

    def begin(self) -> None:
        """In pieces where it is large, or compressed."""
        self.begin_by_size(len(self._message.data), self._message.packed)

    def read_in_pieces(self) -> Generator[None, None, InferRequest]:
        plain = yield from self._call.plain(self._taken(), self._hold)
        return (yield from self.reading(plain, self._hold))

    def _taken(self) -> Message:
        """What it came as, of which nothing is kept."""
        message, self._message = self._message, _NO_MESSAGE
        return message

    def _hold(self, size: int) -> bool:
        self.size = Size(self.size.body, self.size.beyond + size)
        return self._call.hold(size)

    def read(self) -> InferRequest:
        """From its own bytes."""
        return self.understood(self._taken().data)

    def tell(self, response: Any) -> None:
        """When it is its turn."""
        self.reply = _Streamed(infer_response=response)
        self._mark_last()
        self._call.send_what_is_done()

    def refuse(self, error: RequestError) -> None:
        """As a message: the stream goes on."""
        self.reply = _Streamed(error_message=str(error))
        self.reply.infer_response.id = getattr(self, "id", "")
        self._mark_last()
        self._call.send_what_is_done()

    def _mark_last(self) -> None:
        """Say that no more comes for this request, as Triton does: its models may give several answers to one."""
        self.reply.infer_response.parameters["triton_final_response"].bool_param = True
