"""Small gRPC servers that answer, fail or hang, as a test wants them to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api import contract
from headgate_serving.router.policy.endpoints import Endpoint
from ports import free_port

Behaviour: TypeAlias = (
    Literal["ok", "hang", "slow", "refused", "late error", "late refusal", "invalid"] | grpc.StatusCode
)
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass
class GrpcUpstream(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """One pod of a revision that takes gRPC."""

    name: str
    behaviour: Behaviour = "ok"
    grpc_port: int = 0
    requests: int = 0
    delay: float = 0.0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", 1, f"{self.name}-pod", grpc_port=self.grpc_port)

    async def ModelInfer(self, request: Any, context: Context) -> Any:
        self.requests += 1
        return await self._answer(request, context)

    async def ModelReady(self, request: Any, context: Context) -> Any:
        return service_pb2.ModelReadyResponse(ready=True)

    async def ModelStreamInfer(self, requests: Any, context: Context) -> AsyncIterator[Any]:
        self.requests += 1
        async for request in requests:
            answer = await self._answer(request, context)
            yield service_pb2.ModelStreamInferResponse(infer_response=answer)

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        self.requests += 1
        return service_pb2.RepositoryModelUnloadResponse()

    async def _answer(self, request: Any, context: Context) -> Any:
        if isinstance(self.behaviour, grpc.StatusCode):
            await context.abort(self.behaviour, f"{self.name} does not want to")
        if self.behaviour in ("late error", "late refusal"):
            await context.send_initial_metadata((("begun", "yes"),))
            code = grpc.StatusCode.INTERNAL if self.behaviour == "late error" else grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, f"{self.name} does not want to")
        if self.behaviour == "invalid":
            await context.send_initial_metadata(((contract.INVALID_HEADER, "true"),))
        await asyncio.sleep({"hang": 3600, "slow": self.delay}.get(str(self.behaviour), 0))
        return service_pb2.ModelInferResponse(model_name=self.name, id=request.id)


async def start_grpc(servicer: service_pb2_grpc.GRPCInferenceServiceServicer) -> tuple[grpc.aio.Server, int]:
    """A server for it, and the port."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    await server.start()
    return server, port


@asynccontextmanager
async def serving_grpc(*upstreams: GrpcUpstream) -> AsyncIterator[None]:
    """Each on a port of its own, until the end of the block; nobody is at the port of who refuses."""
    servers = []
    for upstream in upstreams:
        if upstream.behaviour == "refused":
            upstream.grpc_port = free_port()
            continue
        server, upstream.grpc_port = await start_grpc(upstream)
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            await server.stop(0)
