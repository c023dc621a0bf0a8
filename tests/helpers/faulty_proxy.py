"""A proxy before an API server that does by turns what load balancers and overloaded API servers do."""

import asyncio
import itertools
import json
from collections import Counter
from contextlib import suppress
from typing import Any

from aiohttp import ClientResponse, ClientSession, TCPConnector, web
from aiohttp.test_utils import TestServer

FAULTS = ("close", "lost", "truncate", "delay", "429", "410", "500", "stored-500", "503")
"""`lost`: the API server carries a request out, and its answer is dropped. `stored-500`: or it becomes a 500."""
TURNS = "turns"
"""Each request meets another one of the faults, and every third none."""
_DELAY = 2.0  # seconds


class FaultyProxy:
    """Passes everything on, until `fault` says otherwise."""

    def __init__(self, upstream: str) -> None:
        self.fault = ""
        self.met: Counter[str] = Counter()
        """How many requests have met each fault."""
        self._upstream = upstream
        self._turns = itertools.cycle(each for fault in FAULTS for each in (fault, fault, ""))
        self._watches: dict[web.StreamResponse, ClientResponse] = {}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app)

    async def __aenter__(self) -> "FaultyProxy":
        self._session = ClientSession(connector=TCPConnector(ssl=False, limit=0), skip_auto_headers=["Content-Type"])
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        for watch, answer in self._watches.items():
            _abort(watch)
            if answer.connection and answer.connection.transport:
                answer.connection.transport.abort()  # one with TLS would be closed later than the test ends
        await self._server.close()
        await self._session.close()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return str(self._server.make_url("")).rstrip("/")

    async def begin(self, fault: str) -> None:
        """From now on each request meets it, and each watch that is open ends by it."""
        self.fault = fault
        for watch in list(self._watches):
            if fault.isdecimal():
                event = {"type": "ERROR", "object": _status(int(fault))}
                with suppress(ConnectionError):
                    await watch.write(json.dumps(event).encode() + b"\n")
            else:
                with suppress(ConnectionError):
                    await watch.write(b'{"type": "MODIF')
                _abort(watch)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = next(self._turns) if self.fault == TURNS else self.fault
        self.met[fault] += 1
        if fault == "close":
            assert request.transport
            request.transport.close()
            return web.Response()
        if fault.isdecimal():
            headers = {"Retry-After": "1"} if fault == "429" else {}
            return web.json_response(_status(int(fault)), status=int(fault), headers=headers)
        if fault == "delay":
            await asyncio.sleep(_DELAY)
        try:
            return await self._pass_on(request, fault)
        except ConnectionError:  # the client has gone
            return web.Response()

    async def _pass_on(self, request: web.Request, fault: str) -> web.StreamResponse:
        kept = ("Authorization", "Content-Type", "Accept")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        url, data = self._upstream + request.path_qs, await request.read() or None
        async with self._session.request(request.method, url, data=data, headers=headers) as answer:
            if request.query.get("watch") == "true":
                return await self._watch(request, answer)
            body, truncated = await answer.read(), fault == "truncate"
            if fault == "lost":
                assert request.transport
                request.transport.close()
                return web.Response()
            if fault == "stored-500":
                return web.json_response(_status(500), status=500)
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: len(body) // 2] if truncated else body)
            if truncated:
                _abort(response)
            return response

    async def _watch(self, request: web.Request, answer: ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        await response.prepare(request)
        self._watches[response] = answer
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        finally:
            self._watches.pop(response, None)
        return response


def _status(code: int) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "it has its troubles", "code": code}


def _abort(response: web.StreamResponse) -> None:
    request = response._req
    if request is not None and request.transport is not None:
        request.transport.close()
