"""Made-up people, and a server that answers as a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from demo.data import FEATURES, Rows
from demo.models import RELP

# Codes go from the first to the second number.
CODES = {"AGEP": (16, 94), "SCHL": (1, 24), "RELP": (0, 17), "ESP": (0, 8), "RAC1P": (1, 9)}


def people(count: int, seed: int = 0) -> Rows:
    """The older ones and those in group quarters work less."""
    random = np.random.default_rng(seed)
    ranges = [CODES.get(name, (1, 5)) for name in FEATURES]
    columns = [random.integers(low, high, size=count, endpoint=True) for low, high in ranges]
    features = np.stack(columns, axis=1).astype(np.float32)
    works = (features[:, 0] < 62) & (features[:, RELP] < 12) | (features[:, 4] == 1)
    noise = random.random(count) < 0.1
    return Rows(features, (works ^ noise).astype(np.int64))


def answer(label: int = 1, score: float = 0.8) -> bytes:
    """A good body."""
    tensors = [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [1 - score, score]},
    ]
    return json.dumps({"model_name": "census", "outputs": tensors}).encode()


@dataclass
class Seen:
    """What a server has seen."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    # Number of the connection that each request came over.
    connections: list[int] = field(default_factory=list)
    opened: int = 0


# From the number of the request to the raw answer; None closes the connection, "" never answers.
Behaviour = Callable[[int], bytes | None]


def http(body: bytes = b"", status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


@asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[Seen]:
    """An HTTP server on loopback."""
    seen = Seen()
    ending = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.opened += 1
        number = seen.opened
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                seen.requests.append(body)
                seen.connections.append(number)
                said = behaviour(len(seen.requests))
                if said is None:
                    break
                if not said:
                    await ending.wait()
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.port = listening.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        ending.set()
        listening.close()
