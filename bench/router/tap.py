"""`python -m bench.router.tap`: what it costs to receive Envoy's copies, by the agent's tap and by grpcio's servers.

Each receiver is a process of its own at a Unix socket, and all of them do the same with what comes: they put exchanges
together, and end the call when one is whole. The client sends the four messages in which Envoy copies a request for the
`tabular` model, and the answer some milliseconds after it, so many times a second. Only the receiver's CPU counts.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import grpc.aio

from bench.document import table
from bench.serving.cases import CASES
from bench.serving.messages import protocol_json
from bench.serving.samples import spread
from headgate_serving.router.mirror.calls import Connection
from headgate_serving.router.mirror.exchange import METHOD, SERVICE, Exchange, ProcessingRequest
from headgate_serving.router.mirror.tap import LATER_SECONDS

RATES = (50, 500)
"""Exchanges a second: what an agent takes at most, and ten times that."""

_ANSWER_AFTER = 0.005
_THREADS = 64
_READY, _STOP, _PATIENCE = "ready", "stop", 60.0


class Receiver:
    """One call's messages."""

    whole = 0

    def __init__(self) -> None:
        self._exchange = Exchange()

    def message(self, text: bytes) -> bool:
        """One more; whether there is use in others."""
        self._exchange.add(ProcessingRequest.FromString(text))
        Receiver.whole += self._exchange.complete
        return not self._exchange.complete

    def ended(self) -> None:
        """It ends before it is whole: `_measured` sees that one is missing."""


async def _by_tap(socket: str, pipe: Pipe) -> None:
    loop = asyncio.get_running_loop()
    made = partial(Connection, Receiver, partial(loop.call_later, LATER_SECONDS))
    server = await loop.create_unix_server(made, socket)
    await _until_told(pipe)
    server.close()


async def _by_grpc_aio(socket: str, pipe: Pipe) -> None:
    async def process(messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        receiver = Receiver()
        async for text in messages:
            if not receiver.message(text):
                return
        yield b""  # it is a stream of answers, of which there is none

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handler(process),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await _until_told(pipe)
    await server.stop(None)


async def _by_grpc_threads(socket: str, pipe: Pipe) -> None:
    def process(messages: Iterator[bytes], _: object) -> Iterator[bytes]:
        receiver = Receiver()
        for text in messages:
            if not receiver.message(text):
                return
        yield b""

    server = grpc.server(ThreadPoolExecutor(_THREADS))
    server.add_generic_rpc_handlers((_handler(process),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    await _until_told(pipe)
    server.stop(None)


WAYS: dict[str, Callable[[str, Pipe], Any]] = {
    "the agent's tap": _by_tap,
    f"grpcio {grpc.__version__}, grpc.aio": _by_grpc_aio,
    f"grpcio {grpc.__version__}, threads": _by_grpc_threads,
}


def _handler(process: Callable[..., Any]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.stream_stream_rpc_method_handler(process)})


async def _until_told(pipe: Pipe) -> None:
    """Say that calls may come; at the word to stop tell seconds of CPU and whole exchanges since the last word."""
    pipe.send(_READY)
    loop = asyncio.get_running_loop()
    before, counted = time.process_time(), 0
    while await loop.run_in_executor(None, pipe.recv) != _STOP:
        pipe.send((time.process_time() - before, Receiver.whole - counted))
        before, counted = time.process_time(), Receiver.whole


def receive(way: str, socket: str, pipe: Pipe) -> None:
    """The receiver's process."""
    asyncio.run(WAYS[way](socket, pipe))


@dataclass(frozen=True)
class Run:
    """Seconds of the receiver's CPU, and what it was given."""

    cpu: float
    exchanges: int


def main() -> int:
    """Measure and print; RuntimeError if a receiver has missed an exchange."""
    parser = argparse.ArgumentParser("bench.router.tap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each timed run (default %(default)s)")
    args = parser.parse_args()
    runs: dict[tuple[str, int], list[Run]] = {}
    for _ in range(args.rounds):
        for way in WAYS:
            with _receiver(way) as (socket, pipe):
                for rate in RATES:
                    runs.setdefault((way, rate), []).append(asyncio.run(_measured(socket, pipe, rate, args.seconds)))
    print(f"{date.today()}: medians of {args.rounds} rounds of {args.seconds:g} s; ± is half of the range.\n")
    print(document(runs))
    return 0


def document(runs: dict[tuple[str, int], list[Run]]) -> str:
    """A row for each receiver."""
    rows = []
    for way in WAYS:
        cells = [way]
        for rate in RATES:
            costs = [1e6 * run.cpu / run.exchanges for run in runs[way, rate]]
            cells.append(f"{median(costs):,.0f} ±{100 * spread(costs):.0f} %")
        rows.append(cells)
    return table(["receiver", *(f"CPU, µs an exchange, at {rate}/s" for rate in RATES)], rows)


@contextlib.contextmanager
def _receiver(way: str) -> Iterator[tuple[str, Pipe]]:
    ours, its = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "copies")
        process = multiprocessing.get_context("spawn").Process(target=receive, args=(way, socket, its))
        process.start()
        try:
            _answer_of(ours, way)
            yield socket, ours
            ours.send(_STOP)
            process.join(_PATIENCE)
        finally:
            process.kill()
            process.join()


def _answer_of(pipe: Pipe, what: str) -> Any:
    if not pipe.poll(_PATIENCE):
        raise RuntimeError(f"{what} has said nothing for {_PATIENCE:g} s")
    return pipe.recv()


async def _measured(socket: str, pipe: Pipe, rate: int, seconds: float) -> Run:
    """The cost of so many exchanges a second; RuntimeError if one of them has not come whole."""
    request, answer = _messages()
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")

        async def exchange(at: float) -> None:
            await asyncio.sleep(at - time.monotonic())
            stream = call()
            for text in request:
                await stream.write(text)
            await asyncio.sleep(_ANSWER_AFTER)
            for text in answer:
                await stream.write(text)
            await stream.code()

        async def exchanges(number: int) -> None:
            begin = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*(exchange(begin + at / rate) for at in range(number))), _PATIENCE)

        await exchanges(rate)
        _told(pipe)
        await exchanges(number := round(rate * seconds))
        cpu, whole = _told(pipe)
    if whole != number:
        raise RuntimeError(f"{whole} of {number} exchanges have come whole")
    return Run(cpu, whole)


def _told(pipe: Pipe) -> tuple[float, int]:
    pipe.send(_READY)
    cpu, whole = _answer_of(pipe, "the receiver")
    return cpu, whole


def _messages() -> tuple[list[bytes], list[bytes]]:
    """Those of the request, and those of the answer."""
    (case,) = (case for case in CASES if case.name == "tabular")
    asked = protocol_json(case)
    answer = b'{"model_name":"bench","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.25,0.75]}]}'
    said = {"content-type": "application/json"}
    return (
        [_headers("request", {":path": asked.path, **said}), _body("request", asked.body)],
        [_headers("response", {":status": "200", **said}), _body("response", answer)],
    )


def _headers(side: str, found: dict[str, str]) -> bytes:
    values = [{"key": key, "raw_value": value.encode()} for key, value in found.items()]
    return _bytes({f"{side}_headers": {"headers": {"headers": values}}})


def _body(side: str, body: bytes) -> bytes:
    return _bytes({f"{side}_body": {"body": body, "end_of_stream": True}})


def _bytes(fields: dict[str, Any]) -> bytes:
    text: bytes = ProcessingRequest(**fields).SerializeToString()
    return text


if __name__ == "__main__":
    sys.exit(main())
