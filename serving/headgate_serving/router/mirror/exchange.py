"""A request and its answer, put together from the messages in which Envoy copies them. Called by `tap`.

The messages (envoy.service.ext_proc.v3) are declared as far as they are read. Field numbers are Envoy's. On the wire a
message has no name, so all of them stand in one package here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headgate.api import contract
from headgate_serving.codec.http_message import MAX_BODY, Message
from headgate_serving.protobuf import File, classes

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"

_MESSAGES = {
    "HeaderValue": ("string key = 1", "string value = 2", "bytes raw_value = 3"),
    "HeaderMap": ("repeated HeaderValue headers = 1",),
    "HttpHeaders": ("HeaderMap headers = 1", "bool end_of_stream = 3"),
    "HttpBody": ("bytes body = 1", "bool end_of_stream = 2"),
    "HttpTrailers": ("HeaderMap trailers = 1",),
    "ProcessingRequest": (
        "oneof HttpHeaders request_headers = 2",
        "oneof HttpHeaders response_headers = 3",
        "oneof HttpBody request_body = 4",
        "oneof HttpBody response_body = 5",
        "oneof HttpTrailers request_trailers = 6",
        "oneof HttpTrailers response_trailers = 7",
    ),
    "ProcessingResponse": (),
}
_FILE = File("copies.proto", SERVICE, _MESSAGES, {METHOD: "stream ProcessingRequest ProcessingResponse"}).proto

ProcessingRequest = classes([_FILE])[f"{_FILE.package}.ProcessingRequest"]

INFERENCE_OK, GRPC_OK = "200", "0"


class Unusable(Exception):
    """A copy that is of no use; `reason` is the label under which it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Exchange:
    """Grows with each copy. `complete` when the answer has ended."""

    request: Message = field(default_factory=Message)
    answer: Message = field(default_factory=Message)
    complete: bool = False

    @property
    def size(self) -> int:
        """Bytes of both bodies."""
        return self.request.size + self.answer.size

    @property
    def revision(self) -> str:
        """The revision that answered."""
        return self.answer.header(contract.REVISION_HEADER)

    @property
    def is_grpc(self) -> bool:
        """Whether it came by gRPC."""
        return self.request.header("content-type").startswith("application/grpc")

    def add(self, copied: Any) -> None:
        """Add a ProcessingRequest. Raises Unusable as soon as it is clear that the copy is of no use."""
        kind = copied.WhichOneof("choice")
        if kind is None:
            return
        part = getattr(copied, kind)
        message = self.request if kind.startswith("request") else self.answer
        if kind.endswith("headers"):
            message.headers.update(_headers(part.headers.headers))
        elif kind.endswith("trailers"):
            message.headers.update(_headers(part.trailers.headers))
        else:
            message.pieces.append(part.body)
            message.size += len(part.body)
            if message.size > MAX_BODY:
                raise Unusable("size")
        self.complete = kind == "response_trailers" or (kind.startswith("response") and part.end_of_stream)
        if self.answer.headers and self.answer.header(":status") != INFERENCE_OK:
            raise Unusable("unanswered")
        if self.complete and self.is_grpc and self.answer.header("grpc-status") != GRPC_OK:
            raise Unusable("unanswered")


def _headers(found: Iterable[Any]) -> dict[str, str]:
    return {each.key: each.value or each.raw_value.decode("latin-1") for each in found}
