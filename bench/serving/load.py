"""Drives a server: wrk for closed loops over HTTP, a generator of our own, in Go, for gRPC and for open loops.

The generator checks grpc-status, which h2load does not, and in an open loop counts a request's time from when it was
due. Neither sends anything beyond this machine.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.setup import packages, tools

from .messages import GRPC_INFER, Post


class LoadFailed(Exception):
    """A generator that did not do its work; the message says why."""


@dataclass(frozen=True)
class Load:
    """What a run counted. Milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failures: Mapping[str, int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def read_load(text: str) -> Load:
    """The last line that a generator printed."""
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    failures = {reason: count for reason, count in found["failures"].items() if count}
    if found.get("unsent"):
        failures["not sent: too many were waiting"] = found["unsent"]
    return Load(found["requests"], found["seconds"], found["p50_us"] / 1e3, found["p99_us"] / 1e3, failures)


class Target:
    """One request that can be sent to one server, over HTTP or gRPC."""

    def __init__(self, address: str, message: Post | bytes, scratch: Path) -> None:
        self._address = address
        self._post = message if isinstance(message, Post) else None
        self._request = scratch / "request"
        self._request.write_bytes(message.raw(address) if isinstance(message, Post) else message)
        self._script = scratch / "request.lua"
        if self._post:
            body = scratch / "body"
            body.write_bytes(self._post.body)
            self._script.write_text(self._post.wrk_script(str(body)))

    def closed_loop(self, connections: int, seconds: float) -> Load:
        """As fast as that many connections go."""
        if self._post is None:
            return self._generate(connections, seconds)
        wrk = packages.which("wrk")
        if wrk is None:
            raise LoadFailed("wrk is needed: make setup")
        options = [f"--connections={connections}", f"--duration={max(1, round(seconds))}s", "--threads=1"]
        return _run([str(wrk), *options, "--timeout=30s", f"--script={self._script}", f"http://{self._address}"])

    def strict_closed_loop(self, connections: int, seconds: float) -> Load:
        """The same by our own generator, which reconnects when asked to, and has a word for each kind of failure."""
        return self._generate(connections, seconds)

    def open_loop(self, rate: float, connections: int, seconds: float) -> Load:
        """That many requests a second on average, at random times, whatever the server does."""
        return self._generate(connections, seconds, f"-rate={rate:.1f}", "-warmup=0.3")

    def _generate(self, connections: int, seconds: float, *options: str) -> Load:
        program = tools.ensure("generator") / "generator"
        argv = [str(program), f"-address={self._address}", f"-request={self._request}", f"-connections={connections}"]
        if self._post is None:
            argv += ["-protocol=grpc", f"-path={GRPC_INFER}"]
        return _run([*argv, f"-seconds={seconds:g}", *options])


def _run(argv: list[str]) -> Load:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise LoadFailed(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return read_load(done.stdout)
