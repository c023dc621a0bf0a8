"""What the server has at which path: the REST side of the Open Inference Protocol, with Triton's extensions.

`http1.py` calls `handle` for each request, on the event loop; an inference is answered when `runner.py` calls back.
`service.py` is what this and the gRPC side have in common.
"""

from collections.abc import Callable, Generator
from typing import Any

import orjson

from headgate.api import contract

from ..codec.accounting import counted
from ..codec.compression import WORTH_IT, compressing, decompressing
from ..codec.large import LARGE
from ..codec.rest_codec import Encoded, InferRequest, decode, decode_in_pieces, encode, encode_in_pieces, takes_long
from ..errors import NotReady, RequestError
from ..http.http1 import JSON, Answer, Exchange
from ..runtime.runner import Results
from ..turns import at_once
from .inference import STATUS, Inference
from .service import Service, Serving

HEALTH = "/v2/health/"
"""What these paths say is asked by who would end the process if there were no answer."""

_HEADER_LENGTH = b"inference-header-content-length"
_BINARY = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
_LOW_CONFIDENCE = {"low_confidence": True}
_LOW_CONFIDENCE_HEADER = f"{contract.LOW_CONFIDENCE_HEADER}: true\r\n".encode()
_INVALID_HEADER = f"{contract.INVALID_HEADER}: true\r\n".encode()
_RETRY = b"retry-after: 1\r\n"


class App:
    """The endpoints of one model."""

    def __init__(self, service: Service, max_body: int) -> None:
        self._service = service
        self._max_body = max_body
        name, version = service.name, service.version
        bases = [f"/v2/models/{name}"] + ([f"/v2/models/{name}/versions/{version}"] if version else [])
        self._infer_paths = frozenset(f"{base}/infer{slash}" for base in bases for slash in ("", "/"))
        self._get: dict[str, Callable[[], Answer]] = {
            "/v2": lambda: _json(200, service.about_server()),
            "/v2/health/live": lambda: _json(200, {"live": True}),
            "/v2/health/ready": lambda: _json(self._ready(), {"ready": service.ready}),
            "/v2/models/stats": self._stats,
        }
        self._post = {"/v2/repository/index": lambda: _json(200, service.index())}
        for base in bases:
            self._get |= {
                base: self._when_loaded(service.about_model),
                f"{base}/ready": lambda: _json(self._ready(), {"name": name, "ready": service.ready}),
                f"{base}/config": self._when_loaded(service.config),
                f"{base}/stats": self._stats,
            }
        for paths in (self._get, self._post):  # a slash at the end changes nothing
            paths.update({f"{path}/": answer for path, answer in paths.items()})

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or later."""
        if exchange.path in self._infer_paths and exchange.method == "POST":
            _Inference(self._service, exchange, self._max_body).begin()
        else:
            exchange.answer(self._other(exchange.method, exchange.path))

    def handle_health(self, exchange: Exchange) -> None:
        """Answer one request at the port that tells how the process is, and nothing else."""
        if exchange.path.startswith(HEALTH):
            self.handle(exchange)
        else:
            exchange.answer(error_answer(404, f"only {HEALTH} is here"))

    def _ready(self) -> int:
        return 200 if self._service.ready else 503

    def _when_loaded(self, described: Callable[[Serving], dict[str, Any]]) -> Callable[[], Answer]:
        def answer() -> Answer:
            try:
                return _json(200, described(self._service.serving))
            except NotReady as error:
                return failed(error)

        return answer

    def _stats(self) -> Answer:
        return _json(200, self._service.statistics())

    def _other(self, method: str, path: str) -> Answer:
        """Everything but inference."""
        get = self._get.get(path)
        if get and method in ("GET", "HEAD"):
            return get()
        post = self._post.get(path)
        if post and method == "POST":
            return post()
        allowed = "GET" if get else "POST" if post or path in self._infer_paths else ""
        if allowed:
            refused = error_answer(405, f"{path} takes {allowed}, not {method}")
            return refused._replace(headers=refused.headers + f"allow: {allowed}\r\n".encode())
        return error_answer(404, self._unknown(path))

    def _unknown(self, path: str) -> str:
        parts = path.strip("/").split("/")
        if parts[:2] == ["v2", "models"] and len(parts) > 2:
            version = parts[4] if parts[3:4] == ["versions"] and len(parts) > 4 else ""
            if unknown := self._service.not_served(parts[2], version):
                return unknown
        return f"there is nothing at {path[:200]}; {self._service.served}"


class _Inference(Inference):
    """One request for inference on its way."""

    __slots__ = ("_exchange", "_max_body")

    def __init__(self, service: Service, exchange: Exchange, max_body: int) -> None:
        super().__init__(service)
        self._exchange = exchange
        self._max_body = max_body
        exchange.gone = self.leave

    def begin(self) -> None:
        """Read the request and have it run; one that takes long to read lets others pass in between."""
        body, headers = self._exchange.body, self._exchange.headers
        if b"content-encoding" in headers or (len(body) >= LARGE and self._takes_long()):
            self.begin_in_pieces(self._reading())
        else:
            super().begin()

    def _takes_long(self) -> bool:
        return takes_long(self._exchange.headers.get(_HEADER_LENGTH), self.service.serving.model)

    def read(self) -> InferRequest:
        """From the body."""
        exchange = self._exchange
        return decode(exchange.body, exchange.headers.get(_HEADER_LENGTH), self.service.serving.model)

    def _reading(self) -> Generator[None, None, InferRequest]:
        exchange, model = self._exchange, self.service.serving.model
        body, length = exchange.body, exchange.headers.get(_HEADER_LENGTH)
        if encoding := exchange.headers.get(b"content-encoding"):
            work = decompressing(body, encoding.decode("latin-1"), self._max_body)
            body = memoryview((yield from counted(work, exchange.hold)))
        if len(body) >= LARGE:
            return (yield from decode_in_pieces(body, length, model, exchange.hold))
        return decode(body, length, model)

    def answer(self, results: Results) -> Generator[None, None, None] | None:
        """As JSON, and binary where that was asked for."""
        size = 0
        for tensor in results.values():
            size += tensor.nbytes
        if size >= LARGE:
            return self._answering(results)
        self._send(self._answer_of(encode(*self._told(results))))
        return None

    def _answering(self, results: Results) -> Generator[None, None, None]:
        encoded = yield from encode_in_pieces(*self._told(results))
        answer = self._answer_of(encoded)
        if accepted := self._exchange.headers.get(b"accept-encoding"):
            smaller = yield from compressing(answer.body, accepted.decode("latin-1"))
            answer = _in_encoding(answer, smaller)
        self._exchange.answer(answer)

    def _told(self, results: Results) -> tuple[Any, ...]:
        """What `encode` takes."""
        service = self.service
        assert self.request
        specs = service.serving.model.output_by_name
        return service.name, service.version, self.request, results, specs, _LOW_CONFIDENCE if self.unsure else None

    def _answer_of(self, encoded: Encoded) -> Answer:
        headers = JSON if encoded.header_length is None else _BINARY % encoded.header_length
        if self.unsure:
            headers += _LOW_CONFIDENCE_HEADER
        if self.invalid:
            headers += _INVALID_HEADER
        return Answer(200, headers, encoded.body)

    def refuse(self, error: RequestError) -> None:
        """As an error."""
        self._send(failed(error))

    def _send(self, answer: Answer) -> None:
        if len(answer.body) >= WORTH_IT and (accepted := self._exchange.headers.get(b"accept-encoding")):
            answer = _in_encoding(answer, at_once(compressing(answer.body, accepted.decode("latin-1"))))
        self._exchange.answer(answer)


def failed(error: RequestError) -> Answer:
    """An error in the protocol's form."""
    answer = error_answer(STATUS[type(error)][0], str(error))
    return answer._replace(headers=answer.headers + _RETRY) if error.retryable else answer


def error_answer(status: int, message: str) -> Answer:
    """The same, for a status that no exception stands for."""
    return _json(status, {"error": message})


def _json(status: int, content: dict[str, Any] | list[Any]) -> Answer:
    return Answer(status, JSON, orjson.dumps(content))


def _in_encoding(answer: Answer, smaller: tuple[bytes, str] | None) -> Answer:
    """The answer with another body, where there is one that the client takes."""
    if smaller is None:
        return answer
    body, name = smaller
    return Answer(answer.status, answer.headers + f"content-encoding: {name}\r\n".encode(), body)
