"""The chain over REST: an HTTP server at a Unix socket, which Envoy asks in stable's place.

Bodies go on as they came; of an answer only the JSON is written anew. `server` starts `Rest`, `chain` says whom to
ask.
"""

from asyncio import get_running_loop
from collections.abc import Callable
from io import BytesIO
from pathlib import PurePosixPath
from typing import NamedTuple

import aiohttp
import orjson
from aiohttp import web
from multidict import CIMultiDict

from headgate.api import contract
from headgate_serving.router.envoy.config.clusters import FALLBACK_REQUESTS
from headgate_serving.router.envoy.config.headers import FINAL
from headgate_serving.router.envoy.config.layout import BODY_LIMIT
from headgate_serving.router.fallback.chain import (
    LEFT_UNSAID,
    NOBODY,
    READ_PER_SECOND,
    Chain,
    Outcome,
    Unanswered,
    for_models,
)
from headgate_serving.router.fallback.marks import FALLBACK_FOR_HEADER, LEFT_HEADER, marked_json, passed_on
from headgate_serving.router.fallback.requests import Malformed, of_rest
from headgate_serving.router.fallback.static import TooLarge

HELD_BYTES = 64 << 20
"""Of requests' bodies at a time; who comes with more is refused."""

LARGEST_ANSWER = 16 << 20
NAMES_FOR_SECONDS = 30

IN_PIECES_FROM = 1 << 18
"""Bytes: a larger body is not written at once, for others wait meanwhile."""

_LENGTH = "Inference-Header-Content-Length"
_REFUSALS = frozenset(range(400, 500)) - {408, 429}
"""Statuses by which a model says that the request is none for it."""


class Reply(NamedTuple):
    """An answer that is marked as a fallback's."""

    name: str
    body: bytes
    header_length: int | None


class TooMuch(Exception):
    """The body is too large, or too many are held."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Rest:
    """The server, and the client of the other models; `url_of` says where one of them is."""

    def __init__(self, chain: Chain, url_of: Callable[[str], str]) -> None:
        self._chain = chain
        self._url_of = url_of
        self._held = 0

    async def serve(self, socket: PurePosixPath) -> None:
        """Start; the caller ends it by `cleanup`."""
        app = web.Application()
        app.router.add_post("/v2/models/{model}/infer", self._infer)
        app.router.add_post("/v2/models/{model}/versions/{version}/infer", self._infer)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=FALLBACK_REQUESTS, ttl_dns_cache=NAMES_FOR_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(socket)).start()

    async def cleanup(self) -> None:
        """End it, with half a second for what is under way."""
        await self._runner.cleanup()
        await self._session.close()

    async def _infer(self, request: web.Request) -> web.Response:
        if FALLBACK_FOR_HEADER in request.headers:
            return _refused(503, "asked in place of another model: only the model itself would do")
        body = bytearray()
        said = request.headers.get(LEFT_HEADER, "")
        # Counted from here: a large body takes its time to come.
        deadline = get_running_loop().time() + for_models(int(said) / 1000 if said.isdecimal() else LEFT_UNSAID)
        try:
            try:
                await self._read(request, body)
                return await self._answer(request, bytes(body), deadline)
            finally:
                self._held -= len(body)
        except TooMuch as error:
            return _refused(error.status, str(error))
        except Malformed as error:
            return _refused(400, str(error))

    async def _read(self, request: web.Request, body: bytearray) -> None:
        """All of the body, counted as it comes. TooMuch."""
        async for part in request.content.iter_any():
            body += part
            self._held += len(part)
            if len(body) > BODY_LIMIT:
                raise TooMuch(413, "the request is too large for a fallback")
            if self._held > HELD_BYTES:
                raise TooMuch(503, "too many requests are waiting for a fallback")

    async def _answer(self, request: web.Request, body: bytes, deadline: float) -> web.Response:
        headers = CIMultiDict(passed_on(request.headers.items(), "content-type"))
        headers[FALLBACK_FOR_HEADER] = self._chain.model

        async def ask(name: str, _: float) -> Reply:
            return await self._asked(name, body, headers)

        reply, why = await self._chain.first(deadline - len(body) / READ_PER_SECOND, ask)
        if reply is None and self._chain.static is not None:
            static = self._chain.static
            asked = of_rest(
                request.match_info["model"],
                body,
                request.headers.get(_LENGTH),
                request.headers.get("content-encoding", ""),
                BODY_LIMIT,
            )
            try:
                reply = Reply(static.name, *static.rest(asked))
            except TooLarge as error:
                raise TooMuch(413, str(error)) from error
            self._chain.count(static.name, "answered")
        if reply is None:
            self._chain.count(NOBODY, "failed")
            return _refused(503, "; ".join(["the model could not answer, and no fallback could", *why]))
        answer = web.Response(
            body=reply.body, content_type="application/json", headers={contract.FALLBACK_HEADER: reply.name}
        )
        if reply.header_length is not None:
            answer.content_type = "application/octet-stream"
            answer.headers[_LENGTH] = str(reply.header_length)
        return answer

    async def _asked(self, name: str, body: bytes, headers: CIMultiDict[str]) -> Reply:
        url = f"{self._url_of(name)}/v2/models/{name}/infer"
        try:
            data = BytesIO(body) if len(body) > IN_PIECES_FROM else body
            async with self._session.post(url, data=data, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise Unanswered(_outcome(response.status), f"status {response.status}")
                return Reply(name, *marked_json(await _whole(response), response.headers.get(_LENGTH), name))
        except ValueError as error:
            raise Unanswered("failed", f"its answer is none of the protocol: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered("failed", f"it can't be reached ({type(error).__name__})") from error


def _outcome(status: int) -> Outcome:
    if status == 504:
        return "late"
    return "refused" if status in _REFUSALS else "failed"


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """An answer's body. Unanswered where it is larger than any should be."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LARGEST_ANSWER:
            raise Unanswered("failed", f"its answer is larger than {LARGEST_ANSWER >> 20} MiB")
    return bytes(body)


def _refused(status: int, why: str) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps({"error": why}),
        content_type="application/json",
        headers={FINAL: "true"} | ({"Retry-After": "1"} if status == 503 else {}),
    )
