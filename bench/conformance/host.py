"""Real headgate-serve processes, each forked from a process that has everything imported.

`Host` starts that process (`python -m bench.conformance.host`) and tells it line by line what to do: `start` a server,
and it answers with the process's number; `poll` or `wait`, and it answers with the exit status, or nothing if there is
none yet. A server that was told to end is waited for while others serve already.
"""

import contextlib
import ctypes
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.serving.process import ServerFailed, free_ports

_READY_WITHIN, _END_WITHIN = 300.0, 60.0
_PAUSE = 0.003
_TRIES = 3
_TAKEN = "can't listen at"
_ENDING = 8  # servers that may still be ending while the next one serves
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Served:
    """Addresses of a server, and what the model is called there; or why it refused, as in its termination log."""

    http: str
    grpc: str
    name: str
    refused: str


class Host:
    """Serves one model at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._ending = deque[tuple[int, Path]]()
        self.ended_badly: list[str] = []
        """What is wrong with how servers ended."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.conformance.host"],
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HEADGATE_DRAIN_DELAY": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, when all servers have ended."""
        self._wait_for_all_but(0)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(_END_WITHIN)
        self._process.stdout.close()

    @contextlib.contextmanager
    def serving(self, model: Path) -> Iterator[Served]:
        """A server with that model, which is told to end when the block ends; ServerFailed if it does not come up."""
        for _ in range(_TRIES):
            served, pid, place = self._started(model)
            if _TAKEN not in served.refused:  # by another program, since it was found to be free
                break
        if served.refused:
            yield served
            return
        try:
            yield served
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self._ending.append((pid, place))
            self._wait_for_all_but(_ENDING)

    def _started(self, model: Path) -> tuple[Served, int, Path]:
        """Or refused; with its number, and the folder for what it says."""
        place = self._folder / str(next(self._numbers))
        place.mkdir(parents=True)
        http_port, grpc_port, metrics_port = free_ports(3)
        ports = {"--http-port": http_port, "--grpc-port": grpc_port, "--metrics-port": metrics_port}
        options = [part for option, port in ports.items() for part in (option, str(port))]
        name = f"{self._folder.name}-{place.name}"  # which no other server has
        argv = ["--model", str(model), "--name", name, "--host", "127.0.0.1", *options]
        pid = int(self._asked("start", str(place), *argv))
        code = self._ended_before_ready(pid, http_port, f"/v2/models/{name}/ready")
        refused = "" if code is None else _why(place, code)
        return Served(f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", name, refused), pid, place

    def _wait_for_all_but(self, some: int) -> None:
        while len(self._ending) > some:
            pid, place = self._ending.popleft()
            code = int(self._asked("wait", str(pid)))
            if code != 0:
                self.ended_badly.append(f"{place.name}: exit status {code} at SIGTERM; see {place / 'output.log'}")

    def _ended_before_ready(self, pid: int, port: int, path: str) -> int | None:
        until = time.monotonic() + _READY_WITHIN
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_END_WITHIN)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", path)
                if connection.getresponse().status == http.client.OK:
                    return None
            if code := self._asked("poll", str(pid)):
                return int(code)
            time.sleep(_PAUSE)
        os.kill(pid, signal.SIGKILL)
        raise ServerFailed(f"the server was not ready within {_READY_WITHIN:g} s")

    def _asked(self, *what: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        if not select.select([self._process.stdout], [], [], _END_WITHIN)[0]:
            self._process.kill()
            raise ServerFailed(f"no answer to {what} within {_END_WITHIN:g} s")
        return self._process.stdout.readline().strip()


def _why(place: Path, code: int) -> str:
    reason = place / "termination-log"
    if code > 0 and reason.exists():
        said = json.loads(reason.read_text())
        return f"{said['reason']}: {said['message']}"
    raise ServerFailed(f"the server ended with {code} and gave no reason; see {place / 'output.log'}")


def main() -> None:
    """Do what the lines say until there are no more."""
    from headgate_serving.server import grpc_app as grpc  # noqa: F401 - imported once for all of them
    from headgate_serving.server import supervisor

    _end_with_parent()
    while line := sys.stdin.readline():
        what, *more = json.loads(line)
        if what == "start":
            pid = os.fork()
            if pid == 0:
                _at_place(Path(more[0]))
                os._exit(supervisor.main(more[1:]))
            print(pid, flush=True)
        else:
            ended, status = os.waitpid(int(more[0]), os.WNOHANG if what == "poll" else 0)
            print(os.waitstatus_to_exitcode(status) if ended else "", flush=True)


def _at_place(place: Path) -> None:
    _end_with_parent()
    os.environ["HEADGATE_TERMINATION_LOG"] = str(place / "termination-log")
    with (place / "output.log").open("w") as output, Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
