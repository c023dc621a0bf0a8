"""What the endpoints do while the model is loading, slow or broken."""

import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import serving_models as models

from headgate_serving.server.app import INLINE_SECONDS, App
from headgate_serving.server.model import Model, load_model
from headgate_serving.server.telemetry import Telemetry

BODY = orjson.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}]})
INFER = "/v2/models/fraud/infer"


class Asked:
    """A request as granian gives it, and the answer to it."""

    def __init__(self, method: str, path: str, body: bytes = BODY, **headers: str) -> None:
        self.method, self.path, self._body = method, path, body
        self.headers = {"content-length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.status, self.sent, self.answer = 0, dict[str, str](), dict[str, Any]()

    async def __call__(self) -> bytes:
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.sent, self.answer = status, dict(headers), orjson.loads(body)

    async def by(self, app: App) -> "Asked":
        await app.__rsgi__(self, self)
        return self


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(models.score(tmp_path / "model.onnx"))


@pytest.fixture
def app() -> App:
    return App("fraud", None, 1000, 2, Telemetry({"headgate_model": "fraud"}))


@pytest.mark.parametrize(
    ("method", "path"), [("POST", INFER), ("GET", "/v2/models/fraud"), ("GET", "/v2/health/ready")]
)
async def test_while_loading_it_is_live_and_not_ready(app: App, method: str, path: str) -> None:
    assert (await Asked(method, path).by(app)).status == 503
    assert (await Asked("GET", "/v2/health/live").by(app)).status == 200


@pytest.mark.parametrize("row_seconds", [INLINE_SECONDS / 100, INLINE_SECONDS * 100], ids=["inline", "in a thread"])
async def test_quick_and_slow_models_give_the_same_answer(app: App, model: Model, row_seconds: float) -> None:
    app.serve(model, None, {}, row_seconds)
    asked = await Asked("POST", INFER).by(app)
    assert [output["data"] for output in asked.answer["outputs"]] == [[3.0, 7.0], [True, True]]
    assert "model_version" not in asked.answer
    app.close()


async def test_what_nobody_thought_of_is_500_and_in_the_log(app: App, model: Model, caplog: Any) -> None:
    app.serve(model, None, {}, 0.0)
    model.timed_run = lambda *_: 1 / 0  # type: ignore[method-assign]
    asked = await Asked("POST", INFER).by(app)
    assert (asked.status, asked.answer) == (500, {"error": "internal error; the server's log says more"})
    assert "ZeroDivisionError" in caplog.text
    assert app._telemetry.in_flight == 0


async def test_while_draining_it_answers_and_asks_clients_to_leave(app: App, model: Model) -> None:
    app.serve(model, None, {}, 0.0)
    app.drain()
    asked = await Asked("POST", INFER).by(app)
    assert (asked.status, asked.sent["connection"]) == (200, "close")
    assert (await Asked("GET", "/v2/models/fraud/ready").by(app)).status == 503


async def test_a_client_that_is_gone_is_no_error(app: App, model: Model) -> None:
    app.serve(model, None, {}, 0.0)
    asked = Asked("POST", INFER)

    def gone(*_: object) -> None:
        raise RuntimeError("protocol closed")

    asked.response_bytes = gone  # type: ignore[method-assign]
    await asked.by(app)


async def test_compressed_requests_are_answered(app: App, model: Model) -> None:
    app.serve(model, None, {}, 0.0)
    for encoding, body in (("gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY))):
        asked = await Asked("POST", INFER, body, content_encoding=encoding).by(app)
        assert asked.status == 200
        assert [output["data"] for output in asked.answer["outputs"]] == [[3.0, 7.0], [True, True]]


async def test_what_cannot_be_decompressed_gets_the_status_that_says_why(app: App, model: Model) -> None:
    app.serve(model, None, {}, 0.0)
    bomb = gzip.compress(bytes(1 << 20))[:900]
    for encoding, body, status in (("br", BODY, 415), ("gzip", BODY, 400), ("gzip", bomb, 413)):
        asked = await Asked("POST", INFER, body, content_encoding=encoding).by(app)
        assert asked.status == status
        assert "error" in asked.answer


async def test_the_repository_has_one_model_and_says_how_it_is(app: App, model: Model) -> None:
    asked = await Asked("POST", "/v2/repository/index").by(app)
    assert asked.answer == [{"name": "fraud", "version": "", "state": "UNAVAILABLE", "reason": "loading"}]
    app.serve(model, None, {}, 0.0)
    asked = await Asked("POST", "/v2/repository/index").by(app)
    assert asked.answer == [{"name": "fraud", "version": "", "state": "READY", "reason": ""}]
    assert (await Asked("GET", "/v2/repository/index").by(app)).sent["allow"] == "POST"


async def test_the_configuration_is_that_of_triton(app: App, model: Model) -> None:
    assert (await Asked("GET", "/v2/models/fraud/config").by(app)).status == 503
    app.serve(model, None, {}, 0.0)
    config = (await Asked("GET", "/v2/models/fraud/config").by(app)).answer
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("fraud", "onnxruntime", 0)
    assert config["input"] == [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 2]}]
