"""What the server has at which gRPC path: the Open Inference Protocol, Triton's additions, health and reflection.

`http2.py` calls `opened` for each stream, on the event loop.
"""

import json
from collections.abc import Callable
from typing import Any

from ..codec.oip_messages import HEALTH, INFERENCE, MESSAGES, REFLECTION
from ..codec.tensor import TensorSpec
from ..errors import RequestError, UnknownModel
from ..http.http2_frames import header_block
from ..http.http2_streams import Stream
from .grpc_calls import GOOD, HEAD, SHORT, Reader, dismiss, framed, parsed, refuse, refuse_for, trailers
from .grpc_inference import ModelInfer, ModelStreamInfer
from .grpc_reflection import Reflection
from .inference import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from .service import PLATFORM, Service

_NO_GRPC = header_block((b":status", b"415"), (b"content-type", b"text/plain"))
_NO_GRPC_SAYS = "this port answers gRPC: POST with content-type: application/grpc. The other port answers JSON"
_MODEL_INFER = f"/{INFERENCE}/ModelInfer".encode()
_CheckRequest = MESSAGES["grpc.health.v1.HealthCheckRequest"]
_CheckResponse = MESSAGES["grpc.health.v1.HealthCheckResponse"]
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3


class Grpc:
    """The services, by path."""

    def __init__(self, service: Service, max_body: int) -> None:
        self._service = service
        self._max_body = max_body
        inference = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": service.ready},
            "ModelReady": self._ready,
            "ServerMetadata": lambda _: service.about_server(),
            "ModelMetadata": self._metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
        }
        self._unary: dict[bytes, tuple[Any, Any, Callable[[Any], dict[str, Any]]]] = {
            f"/{INFERENCE}/{name}".encode(): (
                MESSAGES[f"inference.{name}Request"],
                MESSAGES[f"inference.{name}Response"],
                answer,
            )
            for name, answer in inference.items()
        }
        self._unary[f"/{HEALTH}/Check".encode()] = (_CheckRequest, _CheckResponse, self._check)
        self._streaming: dict[bytes, Callable[[Stream], object]] = {
            f"/{INFERENCE}/ModelStreamInfer".encode(): lambda stream: ModelStreamInfer(service, stream, max_body),
            f"/{HEALTH}/Watch".encode(): self._watch,
        }
        for name in REFLECTION:
            self._streaming[f"/{name}/ServerReflectionInfo".encode()] = Reflection(name, max_body).open
        self._watchers: list[tuple[Stream, str]] = []
        service.changed = self._tell_watchers

    def opened(self, stream: Stream) -> None:
        """A call begins."""
        headers = stream.headers
        path = headers.get(b":path", b"")
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            stream.answer(_NO_GRPC, f"{_NO_GRPC_SAYS}\n".encode(), trailers(INVALID_ARGUMENT, _NO_GRPC_SAYS))
        elif headers.get(b":method") != b"POST":
            refuse(stream, UNIMPLEMENTED, "gRPC calls are POST requests")
        elif path == _MODEL_INFER:
            stream.on_end = ModelInfer(self._service, stream, self._max_body).begin
        elif path in self._unary:
            stream.on_end = lambda: self._answer(stream, *self._unary[path])
        elif path in self._streaming:
            self._streaming[path](stream)
        else:
            shown = path[:200].decode("latin-1")
            refuse(stream, UNIMPLEMENTED, f"there is no method {shown!r} here; reflection lists those that there are")

    def too_large(self, stream: Stream, message: str) -> None:
        """More bytes than may be in memory."""
        gone, stream.gone = stream.gone, None
        if gone:
            gone()
        refuse(stream, RESOURCE_EXHAUSTED, message)

    def _answer(self, stream: Stream, request: Any, response: Any, answer: Callable[[Any], dict[str, Any]]) -> None:
        try:
            told = response(**answer(parsed(request, Reader(stream, min(SHORT, self._max_body)).only())))
        except RequestError as error:
            refuse_for(stream, error)
        else:
            stream.answer(HEAD, framed(told), GOOD)

    def _check_served(self, asked: Any) -> None:
        if unknown := self._service.not_served(asked.name, asked.version):
            raise UnknownModel(unknown)

    def _ready(self, asked: Any) -> dict[str, Any]:
        """What is not there is not ready: clients that wait for a model ask until it is."""
        return {"ready": self._service.ready and not self._service.not_served(asked.name, asked.version)}

    def _metadata(self, asked: Any) -> dict[str, Any]:
        self._check_served(asked)
        about = self._service.about_model(self._service.serving)
        tensors = {role: [_metadata_of(tensor) for tensor in about[role]] for role in ("inputs", "outputs")}
        return {**{key: about[key] for key in ("name", "versions", "platform")}, **tensors}

    def _config(self, asked: Any) -> dict[str, Any]:
        self._check_served(asked)
        model = self._service.serving.model
        config = {
            "name": self._service.name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "input": [{**_config_of(spec), "optional": spec.optional} for spec in (*model.inputs, *model.optional)],
            "output": [_config_of(spec) for spec in model.outputs],
        }
        return {"config": config}

    def _statistics(self, asked: Any) -> dict[str, Any]:
        if asked.name:
            self._check_served(asked)
        stats = self._service.statistics()["model_stats"]
        return {"model_stats": [{key: value for key, value in one.items() if key != "batch_stats"} for one in stats]}

    def _index(self, asked: Any) -> dict[str, Any]:
        return {"models": [one for one in self._service.index() if self._service.ready or not asked.ready]}

    def _status_of(self, name: str) -> int:
        if name not in ("", INFERENCE, self._service.name):
            return _SERVICE_UNKNOWN
        return _SERVING if self._service.ready else _NOT_SERVING

    def _check(self, asked: Any) -> dict[str, Any]:
        status = self._status_of(asked.service)
        if status == _SERVICE_UNKNOWN:
            raise UnknownModel(f"there is no service {asked.service[:200]!r} here")
        return {"status": status}

    def _watch(self, stream: Stream) -> None:
        def begin() -> None:
            try:
                asked = parsed(_CheckRequest, Reader(stream, min(SHORT, self._max_body)).only())
            except RequestError as error:
                refuse_for(stream, error)
                return
            stream.begin(HEAD)
            stream.on_leave = lambda: dismiss(stream)
            self._watchers = [one for one in self._watchers if one[0].open]
            self._watchers.append((stream, asked.service))
            self._tell(stream, asked.service)

        stream.on_end = begin

    def _tell_watchers(self) -> None:
        self._watchers = [one for one in self._watchers if one[0].open]
        for stream, name in self._watchers:
            self._tell(stream, name)

    def _tell(self, stream: Stream, name: str) -> None:
        stream.send(framed(_CheckResponse(status=self._status_of(name))))


def _metadata_of(tensor: dict[str, Any]) -> dict[str, Any]:
    """A list among the parameters is JSON here: gRPC's parameters hold no lists."""
    parameters = {
        name: {"bool_param": value} if value is True else {"string_param": json.dumps(value, ensure_ascii=False)}
        for name, value in tensor.get("parameters", {}).items()
    }
    return {**tensor, "parameters": parameters}


def _config_of(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": spec.datatype.triton, "dims": spec.shape or ()}
