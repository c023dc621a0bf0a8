"""Small models behind the protocol, as a test wants them: JSON, JSON with binary tensors, and gRPC; and a client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from aiohttp import web
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate_serving.router.policy.endpoints import Endpoint
from router_grpc_upstreams import start_grpc

INFER = "/v2/models/fraud/infer"
HEADER_LENGTH = "Inference-Header-Content-Length"

Classify = Callable[[int], int | None]
"""The label of a row; None: it fails."""


@dataclass
class Model(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """One pod of a revision. A request has one column `x` of INT64; the answer `label` and a `score`."""

    name: str
    classify: Classify
    hangs: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    marked: int = 0
    """Requests that said to be copies."""
    port: int = 0
    grpc_port: int = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, f"{self.name}-pod", grpc_port=self.grpc_port)

    async def labels(self, rows: Any, mark: str | None) -> list[int] | None:
        self.asked += 1
        self.marked += mark == "1"
        if self.hangs:
            await self.over.wait()
        found = [self.classify(int(row)) for row in rows]
        return None if None in found else found  # type: ignore[return-value]

    async def infer(self, request: web.Request) -> web.Response:
        body, length = await request.read(), request.headers.get(HEADER_LENGTH)
        head = json.loads(body[: int(length)] if length else body)
        (given,) = head["inputs"]
        rows = np.frombuffer(body[int(length) :], np.int64) if length else given["data"]
        labels = await self.labels(rows, request.headers.get("x-headgate-shadow"))
        if labels is None:
            return web.json_response({"error": "no"}, status=500)
        outputs: list[dict[str, Any]] = [
            {"name": "label", "datatype": "INT64", "shape": [len(labels)]},
            {"name": "score", "datatype": "FP32", "shape": [len(labels)], "data": [len(self.name) / 7] * len(labels)},
        ]
        if not length:
            outputs[0]["data"] = labels
            answer = web.json_response({"model_name": self.name, "outputs": outputs})
            if "gzip" in request.headers.get("accept-encoding", ""):
                answer.enable_compression(web.ContentCoding.gzip)
            return answer
        outputs[0]["parameters"] = {"binary_data_size": 8 * len(labels)}
        text = json.dumps({"outputs": outputs}).encode()
        tail = np.array(labels, np.int64).tobytes()
        return web.Response(body=text + tail, headers={HEADER_LENGTH: str(len(text))})

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        rows = np.frombuffer(request.raw_input_contents[0], np.int64)
        labels = await self.labels(rows, dict(context.invocation_metadata()).get("x-headgate-shadow"))
        if labels is None:
            await context.abort(grpc.StatusCode.INTERNAL, "no")
            return None
        answer = service_pb2.ModelInferResponse(model_name=self.name)
        answer.outputs.add(name="label", datatype="INT64", shape=[len(labels)])
        answer.raw_output_contents.append(np.array(labels, np.int64).tobytes())
        return answer


@asynccontextmanager
async def serving_models(*models: Model) -> AsyncIterator[None]:
    """Each on ports of its own, until the end of the block."""
    runners, servers = [], []
    for model in models:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v2/models/fraud/infer", model.infer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        model.port = runner.addresses[0][1]
        runners.append(runner)
        server, model.grpc_port = await start_grpc(model)
        servers.append(server)
    try:
        yield
    finally:
        for model in models:
            model.over.set()
        for server in servers:
            await server.stop(0)
        for runner in runners:
            await runner.cleanup()


def json_request(rows: list[int]) -> tuple[bytes, dict[str, str]]:
    given = {"name": "x", "datatype": "INT64", "shape": [len(rows)], "data": rows}
    return json.dumps({"inputs": [given]}).encode(), {"content-type": "application/json"}


def binary_request(rows: list[int]) -> tuple[bytes, dict[str, str]]:
    given = {"name": "x", "datatype": "INT64", "shape": [len(rows)], "parameters": {"binary_data_size": 8 * len(rows)}}
    text = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    return text + np.array(rows, np.int64).tobytes(), {HEADER_LENGTH: str(len(text))}


def grpc_request(rows: list[int]) -> Any:
    request = service_pb2.ModelInferRequest(model_name="fraud")
    request.inputs.add(name="x", datatype="INT64", shape=[len(rows)])
    request.raw_input_contents.append(np.array(rows, np.int64).tobytes())
    return request
