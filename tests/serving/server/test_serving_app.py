"""What the endpoints do while the model is loading, slow or broken."""

import asyncio
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

import serving_models as models
from headgate_serving.http.http1 import Answer, Connection, Exchange
from headgate_serving.runtime.model import Model, load_model
from headgate_serving.runtime.runner import INLINE_SECONDS, Runner
from headgate_serving.runtime.telemetry import Telemetry
from headgate_serving.server.rest_app import App
from headgate_serving.server.service import Service, Serving
from patience import until

BODY = orjson.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}]})
INFER = "/v2/models/fraud/infer"


class Asked:
    """A request as `http1.py` hands it over, and the answer to it."""

    def __init__(self, method: str, path: str, body: bytes = BODY, **headers: str) -> None:
        named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        self.exchange = Exchange(cast("Connection", self), method, path, named)
        self.exchange.body = body
        self._answer = asyncio.get_running_loop().create_future()
        self.room = 1000

    def hold(self, exchange: Exchange, size: int) -> bool:
        assert exchange is self.exchange
        return size <= self.room

    def answered(self, exchange: Exchange, answer: Answer) -> None:
        assert exchange is self.exchange
        self._answer.set_result(answer)

    async def by(self, app: App) -> "Asked":
        app.handle(self.exchange)
        answer = await self._answer
        self.status, self.body = answer.status, answer.body
        self.sent = dict(line.split(": ") for line in answer.headers.decode().splitlines())
        return self

    @property
    def answer(self) -> Any:
        return orjson.loads(self.body)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(models.score(tmp_path / "model.onnx"))


@pytest.fixture
def service() -> Service:
    return Service("fraud", None, Telemetry({"headgate_model": "fraud"}))


@pytest.fixture
def app(service: Service) -> App:
    return App(service, 1000)


@pytest.fixture
async def serve(service: Service) -> Any:
    """Puts a model in; its threads end with the test."""
    runners: list[Runner] = []

    def put_in(model: Model, row_seconds: float = 0.0) -> None:
        runner = Runner(
            model,
            None,
            service.telemetry,
            threads=2,
            max_batch=32,
            max_delay=0.0,
            max_queue=100,
            row_seconds=row_seconds,
        )
        runners.append(runner)
        service.serve(Serving(model, runner, {}))

    yield put_in
    for runner in runners:
        runner.close()


Serve = Callable[..., None]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", INFER), ("GET", "/v2/models/fraud"), ("GET", "/v2/health/ready")]
)
async def test_while_loading_it_is_live_and_not_ready(app: App, method: str, path: str) -> None:
    assert (await Asked(method, path).by(app)).status == 503
    assert (await Asked("GET", "/v2/health/live").by(app)).status == 200


@pytest.mark.parametrize("row_seconds", [INLINE_SECONDS / 100, INLINE_SECONDS * 100], ids=["inline", "in a thread"])
async def test_quick_and_slow_models_give_the_same_answer(
    app: App, serve: Serve, model: Model, row_seconds: float
) -> None:
    serve(model, row_seconds)
    asked = await Asked("POST", INFER).by(app)
    assert [output["data"] for output in asked.answer["outputs"]] == [[3.0, 7.0], [True, True]]
    assert "model_version" not in asked.answer


@pytest.mark.parametrize("row_seconds", [INLINE_SECONDS / 100, INLINE_SECONDS * 100], ids=["inline", "in a thread"])
async def test_what_nobody_thought_of_is_500_and_in_the_log(
    app: App,
    service: Service,
    serve: Serve,
    model: Model,
    row_seconds: float,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(model, row_seconds)
    monkeypatch.setattr(model, "run", lambda *_: 1 / 0)
    asked = await Asked("POST", INFER).by(app)
    assert (asked.status, asked.answer) == (500, {"error": "internal error; the server's log says more"})
    assert "ZeroDivisionError" in caplog.text
    assert service.telemetry.in_flight == 0


async def test_while_draining_it_answers_and_is_not_ready(
    app: App, service: Service, serve: Serve, model: Model
) -> None:
    serve(model)
    service.drain()
    assert (await Asked("POST", INFER).by(app)).status == 200
    assert (await Asked("GET", "/v2/models/fraud/ready").by(app)).status == 503


async def test_a_client_that_is_gone_is_no_error(app: App, service: Service, serve: Serve, model: Model) -> None:
    serve(model)
    left, stayed = Asked("POST", INFER), Asked("POST", INFER)
    app.handle(left.exchange)
    assert left.exchange.gone
    left.exchange.gone()
    assert (await stayed.by(app)).status == 200
    assert service.telemetry.in_flight == 0
    assert service.telemetry.statistics()["inference_count"] == 2  # the rows of the one that stayed


async def test_compressed_requests_are_answered(app: App, serve: Serve, model: Model) -> None:
    serve(model)
    for encoding, body in (("gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY))):
        asked = await Asked("POST", INFER, body, content_encoding=encoding).by(app)
        assert asked.status == 200
        assert [output["data"] for output in asked.answer["outputs"]] == [[3.0, 7.0], [True, True]]


async def test_what_cannot_be_decompressed_gets_the_status_that_says_why(app: App, serve: Serve, model: Model) -> None:
    serve(model)
    bomb = gzip.compress(bytes(1 << 20))[:900]
    for encoding, body, status in (("br", BODY, 415), ("gzip", BODY, 400), ("gzip", bomb, 413)):
        asked = await Asked("POST", INFER, body, content_encoding=encoding).by(app)
        assert asked.status == status
        assert "error" in asked.answer


async def test_what_takes_too_much_memory_when_it_is_decompressed_may_come_later(
    app: App, serve: Serve, model: Model
) -> None:
    serve(model)
    asked = Asked("POST", INFER, gzip.compress(BODY), content_encoding="gzip")
    asked.room = len(BODY) - 1
    await asked.by(app)
    assert (asked.status, asked.sent["retry-after"]) == (429, "1")


async def test_a_large_answer_is_compressed_for_who_takes_that(app: App, serve: Serve, model: Model) -> None:
    serve(model)
    rows = {"name": "X", "datatype": "FP32", "shape": [400, 2], "data": [1] * 800}
    asked = await Asked("POST", INFER, orjson.dumps({"inputs": [rows]}), accept_encoding="gzip").by(app)
    assert (asked.status, asked.sent["content-encoding"]) == (200, "gzip")
    assert orjson.loads(gzip.decompress(asked.body))["outputs"][0]["data"] == [2.0] * 400


async def test_the_repository_has_one_model_and_says_how_it_is(app: App, serve: Serve, model: Model) -> None:
    asked = await Asked("POST", "/v2/repository/index").by(app)
    assert asked.answer == [{"name": "fraud", "version": "", "state": "UNAVAILABLE", "reason": "loading"}]
    serve(model)
    asked = await Asked("POST", "/v2/repository/index").by(app)
    assert asked.answer == [{"name": "fraud", "version": "", "state": "READY", "reason": ""}]
    assert (await Asked("GET", "/v2/repository/index").by(app)).sent["allow"] == "POST"


async def test_the_configuration_is_that_of_triton(app: App, serve: Serve, model: Model) -> None:
    assert (await Asked("GET", "/v2/models/fraud/config").by(app)).status == 503
    serve(model)
    config = (await Asked("GET", "/v2/models/fraud/config").by(app)).answer
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("fraud", "onnxruntime", 0)
    assert config["input"] == [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 2]}]


async def test_the_statistics_are_those_of_triton(app: App, serve: Serve, model: Model) -> None:
    serve(model)
    await Asked("POST", INFER).by(app)
    await Asked("POST", INFER, b"{").by(app)
    for path in ("/v2/models/stats", "/v2/models/fraud/stats"):
        stats = (await Asked("GET", path).by(app)).answer["model_stats"][0]
        assert (stats["name"], stats["inference_count"], stats["execution_count"]) == ("fraud", 2, 1)
        assert stats["inference_stats"]["success"]["count"] == 1
        assert stats["inference_stats"]["fail"]["count"] == 1


def large_asked(rows: int) -> Asked:
    """A request for so many rows, in JSON that is read in pieces, with an answer that is written so."""
    item = {"name": "X", "datatype": "FP32", "shape": [rows, 2], "data": [1.5, 2.25] * rows}
    asked = Asked("POST", INFER, orjson.dumps({"inputs": [item]}))
    asked.room = 1 << 30
    return asked


async def test_a_large_request_lets_others_pass(app: App, service: Service, serve: Serve, model: Model) -> None:
    serve(model)
    asked = large_asked(200_000)
    large = asyncio.ensure_future(asked.by(app))
    turns = 0
    while not large.done():
        assert (await Asked("GET", "/v2/health/live").by(app)).status == 200
        await asyncio.sleep(0)
        turns += 1
    assert (await large).answer["outputs"][0]["data"] == [3.75] * 200_000
    assert turns > 40
    assert service.telemetry.in_flight == 0


async def test_a_large_request_whose_client_leaves_is_dropped(
    app: App, service: Service, serve: Serve, model: Model
) -> None:
    serve(model)
    asked = large_asked(200_000)
    app.handle(asked.exchange)
    await asyncio.sleep(0)
    assert asked.exchange.gone
    asked.exchange.gone()
    await until(lambda: not service.turns._waiting)
    assert service.telemetry.in_flight == 0
    assert not service.telemetry.statistics()["execution_count"]


async def test_a_large_request_without_room_is_asked_to_come_again(app: App, serve: Serve, model: Model) -> None:
    serve(model)
    asked = large_asked(200_000)
    asked.room = 1000
    await asked.by(app)
    assert (asked.status, asked.sent["retry-after"]) == (429, "1")


async def test_what_is_decompressed_counts_as_it_comes(app: App, service: Service, serve: Serve, model: Model) -> None:
    serve(model)
    app._max_body = 64 << 20
    asked = Asked("POST", INFER, gzip.compress(bytes(64 << 20)), content_encoding="gzip")
    asked.room = 100_000  # less than comes at once
    await asked.by(app)
    assert asked.status == 429
