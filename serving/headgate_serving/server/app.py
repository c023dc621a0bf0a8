"""One HTTP request: from path and body to status and body. granian calls `__rsgi__` on the event loop.

Small inference runs on the loop itself, for handing it to a thread would cost more than it takes; what is
expected to take longer than INLINE_SECONDS goes to the thread pool, so that probes and other requests are not
kept waiting.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as version_of
from typing import Any, NamedTuple

import orjson

from ..errors import (
    BodyTooLarge,
    ExecutionFailed,
    HeadgateServingError,
    MalformedRequest,
    NotReady,
    RequestError,
    UnknownModel,
    UnsupportedEncoding,
)
from ..monitor import Monitor
from .compression import WORTH_IT, compressed, decompressed
from .model import Model, Tensor
from .protocol import InferRequest, decode, encode
from .telemetry import Telemetry

logger = logging.getLogger(__name__)

INLINE_SECONDS = 0.0005
_UP, _DOWN = 1.02, 1 / 1.02  # steps with which the expected time of a row follows the median of what is seen

_STATUS: dict[type[HeadgateServingError], int] = {
    MalformedRequest: 400,
    UnknownModel: 404,
    BodyTooLarge: 413,
    UnsupportedEncoding: 415,
    ExecutionFailed: 500,
    NotReady: 503,
}
_JSON = ("content-type", "application/json")
_BINARY = ("content-type", "application/octet-stream")
_CLOSE = ("connection", "close")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class App:
    """The protocol's endpoints for one model. `serve` puts the model in when it is loaded."""

    def __init__(self, name: str, version: str | None, max_body: int, threads: int, telemetry: Telemetry) -> None:
        self._name = name
        self._version = version
        self._max_body = max_body
        self._telemetry = telemetry
        self._pool = ThreadPoolExecutor(threads, "model")
        self._model: Model | None = None
        self._monitor: Monitor | None = None
        self._about: dict[str, Any] = {}
        self._row_seconds = INLINE_SECONDS
        self.draining = False
        bases = [f"/v2/models/{name}"] + ([f"/v2/models/{name}/versions/{version}"] if version else [])
        self._infer_paths = frozenset(f"{base}/infer" for base in bases)
        self._get: dict[str, Callable[[], Answer]] = {
            "/v2": self._server,
            "/v2/": self._server,
            "/v2/health/live": lambda: _answer(200, {"live": True}),
            "/v2/health/ready": self._ready,
        }
        self._post = {"/v2/repository/index": self._index}
        for base in bases:
            self._get |= {base: self._metadata, f"{base}/ready": self._model_ready, f"{base}/config": self._config}

    def serve(self, model: Model, monitor: Monitor | None, about: dict[str, Any], row_seconds: float) -> None:
        """Take requests from now on; `about` is shown in the model's metadata."""
        self._model, self._monitor, self._about, self._row_seconds = model, monitor, about, row_seconds
        self._telemetry.ready = True

    def drain(self) -> None:
        """Say not ready and ask clients to go elsewhere, but still answer."""
        self.draining = True
        self._telemetry.ready = False

    def close(self) -> None:
        """Give the threads back."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """granian's entry point for each request."""
        if scope.path in self._infer_paths and scope.method == "POST":
            answer = await self._measured(scope, protocol)
        else:
            answer = self._other(scope.method, scope.path)
        if len(answer.body) >= WORTH_IT and (accepted := scope.headers.get("accept-encoding")):
            answer = _in_encoding(answer, accepted)
        if self.draining:
            answer.headers.append(_CLOSE)
        try:
            protocol.response_bytes(answer.status, answer.headers, answer.body)
        except RuntimeError:  # the client is gone
            return

    async def _measured(self, scope: Any, protocol: Any) -> Answer:
        started = time.perf_counter()
        self._telemetry.in_flight += 1
        try:
            answer = await self._infer(await self._body(scope, protocol), scope.headers)
        except RequestError as error:
            answer = self._failed(error)
        except Exception:
            logger.exception("a request failed in a way that nobody thought of")
            answer = _error(500, "internal error; the server's log says more")
        finally:
            self._telemetry.in_flight -= 1
        self._telemetry.answered(answer.status, time.perf_counter() - started)
        return answer

    async def _body(self, scope: Any, protocol: Any) -> bytes:
        """The whole body; BodyTooLarge as soon as that is known."""
        length = scope.headers.get("content-length")
        if length is None:
            parts, size = [], 0
            async for part in protocol:
                parts.append(bytes(part))
                size += len(part)
                if size > self._max_body:
                    break
            body = b"".join(parts)
        else:
            size = int(length)
            body = b"" if size > self._max_body else await protocol()
        if size > self._max_body:
            raise BodyTooLarge(f"the body has more than {self._max_body} bytes, the most that is taken")
        return body

    async def _infer(self, body: bytes, headers: Any) -> Answer:
        model = self._model
        if model is None:
            raise NotReady("the model is still loading")
        if encoding := headers.get("content-encoding"):
            body = decompressed(body, encoding, self._max_body)
        request = decode(body, headers.get("inference-header-content-length"), model)
        results = await self._run(model, request)
        if self._monitor:
            self._monitor.observe(request.inputs, results, request.rows)
        encoded = encode(self._name, self._version, request, results, model.output_by_name)
        if encoded.header_length is None:
            return Answer(200, [_JSON], encoded.body)
        length = ("inference-header-content-length", str(encoded.header_length))
        return Answer(200, [_BINARY, length], encoded.body)

    async def _run(self, model: Model, request: InferRequest) -> dict[str, Tensor]:
        """Run the model for what was asked for and for what the monitor counts."""
        names = request.outputs
        if self._monitor and names != model.output_names:
            names = tuple(dict.fromkeys((*names, *self._monitor.outputs)))
        if self._row_seconds * request.rows < INLINE_SECONDS:
            results, seconds = model.timed_run(request.inputs, names)
        else:
            loop = asyncio.get_running_loop()
            results, seconds = await loop.run_in_executor(self._pool, model.timed_run, request.inputs, names)
        self._row_seconds *= _UP if seconds > self._row_seconds * request.rows else _DOWN
        return results

    def _failed(self, error: RequestError) -> Answer:
        if isinstance(error, MalformedRequest):
            self._telemetry.violated(error.kind)
        if isinstance(error, ExecutionFailed):
            logger.warning("%s", error)
        return _error(_STATUS[type(error)], str(error))

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
            refused = _error(405, f"{path} takes {allowed}, not {method}")
            return refused._replace(headers=[*refused.headers, ("allow", allowed)])
        return _error(404, self._unknown(path))

    def _unknown(self, path: str) -> str:
        served = f"this server has the model {self._name!r}"
        if self._version:
            served += f" in version {self._version!r}"
        parts = path.strip("/").split("/")
        if parts[:2] == ["v2", "models"] and len(parts) > 2:
            wrong_version = parts[2] == self._name and parts[3:4] == ["versions"] and len(parts) > 4
            asked = f"version {parts[4]!r} of " if wrong_version else ""
            if parts[2] != self._name or (wrong_version and parts[4] != self._version):
                return f"there is no {asked}model {parts[2]!r}; {served}"
        return f"there is nothing at {path[:200]}; {served}"

    def _server(self) -> Answer:
        return _answer(
            200,
            {
                "name": "headgate",
                "version": version_of("headgate"),
                "extensions": ["binary_tensor_data", "model_configuration", "model_repository"],
            },
        )

    def _ready(self) -> Answer:
        ready = self._model is not None and not self.draining
        return _answer(200 if ready else 503, {"ready": ready})

    def _model_ready(self) -> Answer:
        ready = self._model is not None and not self.draining
        return _answer(200 if ready else 503, {"name": self._name, "ready": ready})

    def _index(self) -> Answer:
        state = "READY" if self._model and not self.draining else "UNAVAILABLE"
        reason = "" if state == "READY" else "draining" if self._model else "loading"
        return _answer(200, [{"name": self._name, "version": self._version or "", "state": state, "reason": reason}])

    def _config(self) -> Answer:
        """As Triton describes a model, for clients that ask before they send."""
        if self._model is None:
            return _error(503, "the model is still loading")
        return _answer(
            200,
            {
                "name": self._name,
                "platform": "onnxruntime_onnx",
                "backend": "onnxruntime",
                "max_batch_size": 0,
                "input": [spec.config() for spec in self._model.inputs],
                "output": [spec.config() for spec in self._model.outputs],
            },
        )

    def _metadata(self) -> Answer:
        if self._model is None:
            return _error(503, "the model is still loading")
        return _answer(
            200,
            {
                "name": self._name,
                "versions": [self._version] if self._version else [],
                "platform": "onnxruntime_onnx",
                "inputs": [spec.metadata() for spec in self._model.inputs],
                "outputs": [spec.metadata() for spec in self._model.outputs],
                "headgate": self._about,
            },
        )


def _answer(status: int, content: dict[str, Any] | list[Any]) -> Answer:
    return Answer(status, [_JSON], orjson.dumps(content))


def _in_encoding(answer: Answer, accepted: str) -> Answer:
    """The answer in an encoding that the client takes, if it takes one of ours."""
    smaller = compressed(answer.body, accepted)
    if smaller is None:
        return answer
    body, name = smaller
    return Answer(answer.status, [*answer.headers, ("content-encoding", name)], body)


def _error(status: int, message: str) -> Answer:
    return _answer(status, {"error": message})
