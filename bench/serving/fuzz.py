"""`python -m bench.serving.fuzz --requests 100000 --seed 1`: what clients send wrong, against a real server.

Each number of a request makes the same request for the same seed: `--only 4711` sends that one, and prints the answer.
Exit status 1 if an answer is a 500 or is missing, if a good request is refused or answered wrongly, if the server's log
has a trace, if it was replaced, or is not ready at the end, or if its memory grew after the first third.
"""

import argparse
import asyncio
import gzip
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from .fuzz_requests import MAX_BODY, Attempt, attempt, save_model, slow
from .process import Running, end_cleanly, free_ports
from .servers import Command, beside_python

WITHIN = 30.0
_LISTS = 10  # failures that are printed


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        """Whether the server hangs up after it."""
        return self.headers.get("connection") == "close"


class Client:
    """One connection at a time."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.partition(":")
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, asked: Attempt) -> list[Answer]:
        """Send it; the answers that came."""
        reader, writer = await self._connected()
        answers: list[Answer] = []
        sending = asyncio.create_task(_send(writer, asked))
        try:
            while not asked.due or len(answers) < asked.due:
                answers.append(await _answer(reader, bodiless=asked.bodiless))
                if answers[-1].last:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.hang_up()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sending
        if not asked.due or (answers and answers[-1].last):
            await self.hang_up()
        return answers

    async def hang_up(self) -> None:
        """The next request gets a new connection."""
        if self._writer:
            self._writer.transport.abort()
            with suppress(ConnectionError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            opened = await asyncio.open_connection(self._host, int(self._port), limit=64 << 20)
            self._reader, self._writer = opened
        return self._reader, self._writer


@dataclass
class Tally:
    """What came back."""

    statuses: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)
    sent: int = 0
    memory: int = 0

    def add(self, number: object, asked: Attempt, answers: list[Answer]) -> None:
        """One more request."""
        self.sent += 1
        self.statuses.update(str(answer.status) for answer in answers)
        self.statuses["no answer, and none due"] += not answers and not asked.due
        for wrong in found_wrong(asked, answers):
            raw = asked.raw if len(asked.raw) < 1500 else asked.raw[:1500] + b"..."
            self.wrongs.append(f"request {number} ({asked.what}): {wrong}\n    {raw!r}")


def found_wrong(asked: Attempt, answers: list[Answer]) -> list[str]:
    """What should not be in the answers to a request."""
    wrongs = []
    if len(answers) < asked.due and not (answers and answers[-1].last and answers[-1].status in (400, 413, 431)):
        wrongs.append(f"{asked.due} answers were due, {len(answers)} came")
    for answer in answers:
        late = answer.status == 503 and b"deadline" in answer.body
        if answer.status >= 500 and not late:
            wrongs.append(f"answered {answer.status}: {answer.body[:300]!r}")
        elif answer.status >= 400 and not asked.bodiless and "error" not in _json(answer):
            wrongs.append(f"{answer.status} without an error in the protocol's form: {answer.body[:300]!r}")
    if asked.echo and len(answers) == 1:
        if answers[0].status != 200:
            wrongs.append(f"refused with {answers[0].status}, but good: {answers[0].body[:300]!r}")
        elif (said := {output["name"]: output["data"] for output in _json(answers[0])["outputs"]}) != asked.echo:
            wrongs.append(f"answered {said}, not {asked.echo}")
    return wrongs


def main() -> int:
    """Send them all, and say what came of it."""
    parser = argparse.ArgumentParser("bench.serving.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default %(default)s)")
    parser.add_argument("--only", type=int, help="send nothing but the request with this number")
    parser.add_argument("--sockets", type=int, default=4, help="at a time (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1800.0, help="the longest that it may take")
    parser.add_argument("--growth", type=float, default=20.0, help="most MB of memory (default %(default)s)")
    args = parser.parse_args()
    end_cleanly()
    with tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as folder, _server(Path(folder)) as server:
        server.wait_ready()
        if args.only is not None:
            return asyncio.run(_one(server, args.seed, args.only))
        tally = asyncio.run(_all(server, args))
        wrongs = [*tally.wrongs, *_afterwards(server, Path(folder))]
        print(f"{tally.sent} requests; answers: " + ", ".join(f"{n} x {s}" for s, n in sorted(tally.statuses.items())))
    for wrong in wrongs[:_LISTS]:
        print(wrong)
    print(f"{len(wrongs)} things are wrong" if wrongs else "nothing is wrong")
    return 1 if wrongs else 0


def _server(folder: Path) -> Running:
    save_model(folder)
    http_port, metrics_port = free_ports(2)
    argv = [beside_python("headgate-serve"), "--model", str(folder), "--name", "fuzz", "--host", "127.0.0.1"]
    argv += ["--http-port", str(http_port), "--grpc-port", "0", "--metrics-port", str(metrics_port)]
    argv += ["--max-body", str(MAX_BODY), "--max-held", str(32 * MAX_BODY), "--drain-delay", "0"]
    return Running("headgate-serve", Command(argv, {}), folder, http_port, "/v2/health/ready")


async def _all(server: Running, args: argparse.Namespace) -> Tally:
    tally = Tally()
    numbers = iter(range(args.requests))
    ends = time.monotonic() + args.seconds

    async def work() -> None:
        client = Client(server.address)
        for number in numbers:
            if time.monotonic() > ends:
                break
            await _asked(client, number, attempt(Random(f"{args.seed}:{number}")), tally)
        await client.hang_up()

    lingering = [asyncio.create_task(_slow(server, args.seed, at, tally)) for at in range(20)]
    workers = [asyncio.create_task(work()) for _ in range(args.sockets)]
    watch = asyncio.create_task(_watched(server, args.requests, tally))
    await asyncio.gather(*workers)
    for task in (watch, *lingering):
        task.cancel()
    await asyncio.gather(watch, *lingering, return_exceptions=True)
    if tally.sent < args.requests:
        print(f"only {tally.sent} requests in {args.seconds:g} s", flush=True)
    grown = (server.memory().rss - tally.memory) / 1e6 if tally.memory else 0.0
    print(f"memory: {server.memory().rss / 1e6:.0f} MB, {grown:+.1f} MB since the first third")
    if grown > args.growth:
        tally.wrongs.append(f"its memory grew by {grown:.1f} MB")
    return tally


async def _asked(client: Client, number: object, asked: Attempt, tally: Tally) -> None:
    try:
        async with asyncio.timeout(WITHIN):
            tally.add(number, asked, await client.ask(asked))
    except TimeoutError:
        tally.wrongs.append(f"request {number} ({asked.what}): no answer within {WITHIN:g} s\n    {asked.raw[:1500]!r}")
        await client.hang_up()


async def _slow(server: Running, seed: int, at: int, tally: Tally) -> None:
    """A client that sends a byte from time to time, again and again. Some are refused, as they take too long."""
    random = Random(f"{seed}:slow:{at}")
    while True:
        asked = slow(random)
        client = Client(server.address)
        with suppress(ConnectionError):
            answers = await client.ask(asked)
            tally.add(f"{at} of the slow ones", asked, answers)
        await client.hang_up()


async def _watched(server: Running, requests: int, tally: Tally) -> None:
    """Show how far it is, and remember the memory after the first third."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(2)
        rss = server.memory().rss
        if tally.sent > requests / 3:
            tally.memory = tally.memory or rss
        rate = tally.sent / (time.monotonic() - began)
        grown = f", {(rss - tally.memory) / 1e6:+.1f} MB since the first third" if tally.memory else ""
        said = f"{tally.sent:7} of {requests} requests, {rate:5.0f}/s, {rss / 1e6:4.0f} MB{grown}"
        print(said, file=sys.stderr, flush=True)


def _afterwards(server: Running, folder: Path) -> list[str]:
    with httpx.Client(trust_env=False, base_url=f"http://{server.address}", timeout=10) as client:
        ready = client.get("/v2/health/ready").status_code
    log = (folder / "output.log").read_text(errors="replace").splitlines()
    odd = [line for line in log if any(word in line for word in ("Traceback", "nobody thought of", "starting another"))]
    return [*([] if ready == 200 else [f"it is not ready: {ready}"]), *(f"its log says: {line}" for line in odd[:3])]


async def _one(server: Running, seed: int, number: int) -> int:
    asked = attempt(Random(f"{seed}:{number}"))
    print(f"{asked.what}, {asked.due} due: {asked.raw[:5000]!r}")
    answers = await Client(server.address).ask(asked)
    for answer in answers:
        print(answer.status, answer.headers, answer.body[:2000])
    wrongs = found_wrong(asked, answers)
    print("\n".join(wrongs) or "nothing is wrong")
    return 1 if wrongs else 0


async def _send(writer: asyncio.StreamWriter, asked: Attempt) -> None:
    with suppress(ConnectionError):
        for piece in asked.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(asked.pause)
        if not asked.due:
            writer.write_eof()


async def _answer(reader: asyncio.StreamReader, *, bodiless: bool) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status, headers = int(head[0].split()[1]), dict(line.split(": ", 1) for line in head[1:-2])
    if status == 100:
        return await _answer(reader, bodiless=bodiless)
    return Answer(status, headers, await reader.readexactly(0 if bodiless else int(headers["content-length"])))


def _json(answer: Answer) -> dict[str, Any]:
    body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
    length = answer.headers.get("inference-header-content-length")
    parsed = json.loads(body[: int(length)] if length else body)
    return parsed if isinstance(parsed, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
