"""`python -m bench.serving.hostile`: what clients that mean no good, and large requests, cost the server.

Each attack runs in a process of its own, while this one asks again and again whether the server lives, each time on a
new connection, and looks at its memory. Prints a table; exit status 1 if memory goes beyond what `--max-held` allows
and 100 MB, if an answer about health takes longer than 100 ms, or if an ordinary request fails afterwards. What server
and client wait for a core meanwhile is the machine's doing, and does not count: the kernel tells it (schedstat).
"""

import argparse
import gzip
import http.client
import json
import multiprocessing
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from setup.errors import SetupError

from . import proc
from .cases import IR_VERSION, OPSET
from .process import Running, ServerFailed, end_cleanly, free_ports
from .servers import Command, beside_python

HELD, MORE, HEALTHY_WITHIN = 512 << 20, 100_000_000, 0.1
COLUMNS, ROWS = 30, 480_000
_ASK_EVERY, _LOOK_EVERY, _STAY = 0.02, 0.05, 4.0
_HEAD = "POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n{}\r\n"


@dataclass(frozen=True)
class Address:
    """Where the server is."""

    host: str
    port: int

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection((self.host, self.port), timeout=60)

    def ask(self, body: bytes, headers: dict[str, str] | None = None) -> int:
        """One inference; the status, 0 if the server hung up."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/v2/models/m/infer", body=body, headers=headers or {})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        return 0


@dataclass
class Seen:
    """What an attack cost: seconds of each answer about health, with and without waiting for a core; bytes."""

    health: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def row(self, name: str) -> str:
        """For the table."""
        slow = sorted(self.health)
        seconds = (*(slow[int(share * (len(slow) - 1))] for share in (0.5, 0.99, 1)), max(self.own))
        return (
            " | ".join(["| " + name, f"{max(self.memory) / 1e6:,.0f}", *(f"{1e3 * one:.1f}" for one in seconds)]) + " |"
        )

    def wrongs(self, name: str, most: float) -> list[str]:
        """What must not be."""
        found = []
        if max(self.memory) > HELD + MORE:
            found.append(f"{name}: {max(self.memory) / 1e6:,.0f} MB in memory, more than {(HELD + MORE) / 1e6:,.0f}")
        if max(self.own) > most:
            found.append(f"{name}: health took {1e3 * max(self.own):.0f} ms, more than {1e3 * most:.0f}")
        return found


def nothing(_: Address) -> None:
    """Nothing: how soon this machine answers by itself."""
    time.sleep(_STAY)


def promises(to: Address) -> None:
    """300 heads that promise 60 MiB, and a kilobyte behind each."""
    there = [to.connect() for _ in range(300)]
    for one in there:
        with suppress(OSError):
            one.sendall(_HEAD.format(60 << 20, "").encode() + bytes(1000))
    time.sleep(_STAY)


def broken_off(to: Address) -> None:
    """60 uploads of 60 MiB that end after 20 MiB."""
    for _ in range(60):
        with to.connect() as one, suppress(OSError):
            one.sendall(_HEAD.format(60 << 20, "").encode())
            one.sendall(bytes(20 << 20))


def idle(to: Address) -> None:
    """2,000 connections on which nothing is said."""
    there = [to.connect() for _ in range(2000)]
    time.sleep(_STAY)
    for one in there:
        one.close()


def flat(to: Address) -> None:
    """8 bodies of about 60 MB of JSON at the same time, all values in one list."""
    _together(to, _json(nested=False), 8)


def nested(to: Address) -> None:
    """8 of about 60 MB, a list for each row."""
    _together(to, _json(nested=True), 8)


def lists(to: Address) -> None:
    """8 of 60 MB, nothing but empty lists."""
    _together(to, b'{"inputs":[],"parameters":{"a":[%b]}}' % b",".join([b"[]"] * (20 << 20)), 8)


def empty_rows(to: Address) -> None:
    """8 of 60 MB, nothing but empty lists where values should be."""
    data = b",".join([b"[]"] * (20 << 20))
    item = b'{"name":"x","datatype":"FP32","shape":[480000,30],"data":[%b]}' % data
    _together(to, b'{"inputs":[%b]}' % item, 8)


def bombs(to: Address) -> None:
    """64 bodies of 64 kB that gzip makes 64 MB of."""
    _together(to, gzip.compress(bytes(64_000_000)), 64, {"content-encoding": "gzip"})


def _together(to: Address, body: bytes, count: int, headers: dict[str, str] | None = None) -> None:
    with ThreadPoolExecutor(count) as clients:
        list(clients.map(lambda _: to.ask(body, headers), range(count)))


def _json(*, nested: bool) -> bytes:
    rows = "[" + ",".join(["1.1"] * COLUMNS) + "]" if nested else ",".join(["1.1"] * COLUMNS)
    item = {"name": "x", "datatype": "FP32", "shape": [ROWS, COLUMNS]}
    data = ",".join([rows] * ROWS)
    return f'{{"inputs":[{json.dumps(item)[:-1]},"data":[{data}]}}]}}'.encode()


ATTACKS: tuple[Callable[[Address], None], ...] = (
    nothing,
    promises,
    broken_off,
    idle,
    flat,
    nested,
    lists,
    empty_rows,
    bombs,
)


def main() -> int:
    """Run all attacks on one server, print what is seen."""
    parser = argparse.ArgumentParser("bench.serving.hostile", description=__doc__)
    names = [attack.__name__ for attack in ATTACKS]
    parser.add_argument("--only", choices=names, action="append", help="these attacks (default: all)")
    parser.add_argument(
        "--within", type=float, default=HEALTHY_WITHIN, help="seconds for an answer about health (default %(default)s)"
    )
    args = parser.parse_args()
    end_cleanly()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        wrongs = _run([attack for attack in ATTACKS if attack.__name__ in (args.only or names)], args.within)
    except (ServerFailed, SetupError) as error:
        print(error)
        return 1
    print("\n".join(wrongs) or "as it should be")
    return 1 if wrongs else 0


def _run(attacks: list[Callable[[Address], None]], most: float) -> list[str]:
    wrongs: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headgate-hostile-") as scratch, _server(Path(scratch)) as running:
        host, _, port = running.address.partition(":")
        to = Address(host, int(port))
        print("| attack | memory, MB | health p50, ms | p99, ms | most, ms | most without waiting for a core, ms |")
        print("|---|---|---|---|---|---|")
        for attack in attacks:
            seen = watched(running, to, attack)
            name = (attack.__doc__ or "").rstrip(".")
            print(seen.row(name), flush=True)
            wrongs += seen.wrongs(attack.__name__, most)
            if (status := to.ask(_ordinary())) != 200:
                wrongs.append(f"{attack.__name__}: an ordinary request afterwards got {status}")
    return wrongs


def watched(running: Running, to: Address, attack: Callable[[Address], None]) -> Seen:
    """What the attack costs while it lasts."""
    seen, ended = Seen(), threading.Event()
    process = multiprocessing.get_context("fork").Process(target=attack, args=(to,))
    now = running.memory()
    twice = now.rss - now.pss  # pages that its processes share
    pids = [stat.pid for stat in proc.tree(running.pid, proc.running())]
    sizes = [Path(f"/proc/{pid}/statm") for pid in pids]

    def look() -> None:
        while not ended.wait(_LOOK_EVERY):
            pages = sum(int(size.read_text().split()[1]) for size in sizes)
            seen.memory.append(pages * resource.getpagesize() - twice)

    process.start()
    with _beside(look, ended):
        while process.is_alive() or not seen.memory:
            before = _waited(pids)
            seen.health.append(health(to))
            seen.own.append(seen.health[-1] - _waited(pids) + before)
            time.sleep(_ASK_EVERY)
    process.join()
    return seen


def health(to: Address) -> float:
    """Seconds until the server has said that it lives; those until now if it has not."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(to.host, to.port, timeout=10)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/v2/health/live")
        if connection.getresponse().status == 200:
            connection.close()
            return time.perf_counter() - began
    return 10.0


def _waited(pids: list[int]) -> float:
    """Seconds that their main threads, and this one, could have run and had no core."""
    places = [Path(f"/proc/{pid}/schedstat") for pid in (*pids, "self")]
    return sum(int(place.read_text().split()[1]) for place in places) / 1e9


@contextmanager
def _beside(work: Callable[[], None], ended: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _server(folder: Path) -> Iterator[Running]:
    """Ours, with a model that needs no memory of its own: the sum of each row."""
    (folder / "model").mkdir()
    onnx.save(_sums(), folder / "model" / "model.onnx")
    http_port, grpc_port, metrics_port = free_ports(3)
    argv = [
        *(beside_python("headgate-serve"), "--model", str(folder / "model"), "--name", "m", "--host", "127.0.0.1"),
        *("--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)),
        *("--max-held", str(HELD)),
    ]
    with Running("headgate-serve", Command(argv), folder, http_port, "/v2/health/ready") as running:
        running.wait_ready()
        yield running


def _sums() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _ordinary() -> bytes:
    item = {"name": "x", "datatype": "FP32", "shape": [1, COLUMNS], "data": [1.0] * COLUMNS}
    return json.dumps({"inputs": [item]}).encode()


if __name__ == "__main__":
    sys.exit(main())
