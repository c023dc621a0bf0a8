"""`python -m bench.serving.hostile`: what clients that mean no good, and large requests, cost the server.

Each attack runs in a process of its own, while this one asks again and again whether the server lives, each time on a
new connection, and looks at its memory. Prints a table; exit status 1 if memory goes beyond what `--max-held` allows
and 100 MB, if an answer about health takes longer than 100 ms, or if an ordinary request fails afterwards, or meanwhile
where it must not. What the serving process and the asker wait for a core is the machine's doing, and does not count:
the kernel tells it (schedstat). Numbers go to one server, text to another.
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
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.setup.errors import SetupError

from . import proc
from .cases import IR_VERSION, OPSET
from .process import Running, ServerFailed, end_cleanly, free_ports
from .servers import Command, beside_python

HELD, MORE, HEALTHY_WITHIN = 512 << 20, 100_000_000, 0.1
COLUMNS, ROWS, TEXTS = 30, 480_000, 256 << 10
_ASK_EVERY, _LOOK_EVERY, _STAY = 0.02, 0.05, 4.0
_HEAD = "POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n{}\r\n"


@dataclass(frozen=True)
class Address:
    """Where the server is."""

    host: str
    port: int
    grpc_port: int

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

    def call(self, message: bytes, *, compressed: bool = False) -> None:
        """One inference over gRPC, however it ends; the bytes are those of a ModelInferRequest."""
        import grpc

        how = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        with (
            grpc.insecure_channel(f"{self.host}:{self.grpc_port}", options=options) as channel,
            suppress(grpc.RpcError),
        ):
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message, timeout=120, compression=how)


@dataclass
class Seen:
    """What an attack cost: seconds of each answer about health, with and without waiting for a core; bytes."""

    health: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    failed: bool = False

    def row(self, name: str) -> str:
        """For the table."""
        slow = sorted(self.health)
        seconds = (*(slow[int(share * (len(slow) - 1))] for share in (0.5, 0.99, 1)), max(self.own))
        return (
            " | ".join(["| " + name, f"{max(self.memory) / 1e6:,.0f}", *(f"{1e3 * one:.1f}" for one in seconds)]) + " |"
        )

    def wrongs(self, name: str, most: float) -> list[str]:
        """What must not be."""
        found = [f"{name}: an ordinary request meanwhile was not answered"] if self.failed else []
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


def silent(to: Address) -> None:
    """8 heads that promise 64 MiB and bring nothing, while others ask."""
    there = [to.connect() for _ in range(8)]
    for one in there:
        one.sendall(_HEAD.format(64 << 20, "").encode())
    ends = time.monotonic() + _STAY
    while time.monotonic() < ends:
        if to.ask(ordinary(text=False)) != 200:
            sys.exit(1)


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


def brackets(to: Address) -> None:
    """8 of 60 MB, brackets without a comma where values should be."""
    _together(to, _with_data(b"[" * (30 << 20) + b"]" * (30 << 20)), 8)


def blanks(to: Address) -> None:
    """8 of 60 MB, a value and blanks."""
    _together(to, _with_data(b"[1" + b" " * (60 << 20) + b"]"), 8)


def bombs(to: Address) -> None:
    """64 bodies of 64 kB that gzip makes 64 MB of."""
    _together(to, gzip.compress(bytes(64_000_000)), 64, {"content-encoding": "gzip"})


def calls(to: Address) -> None:
    """gRPC: 8 of 58 MB, typed contents."""
    asked = _message("x", "FP32", [ROWS, COLUMNS])
    asked.inputs[0].contents.fp32_contents.extend(np.full(ROWS * COLUMNS, 1.1, np.float32).tolist())
    _calls_together(to, asked.SerializeToString(), 8)


def packed_calls(to: Address) -> None:
    """gRPC: 64 messages of 64 kB that gzip makes 64 MB of."""
    _calls_together(to, bytes(64_000_000), 64, compressed=True)


def empty_calls(to: Address) -> None:
    """gRPC: 8 of 60 MB, nothing but empty inputs."""
    _calls_together(to, b"\x2a\0" * (30 << 20), 8)


def texts(to: Address) -> None:
    """8 of 11 MB of JSON, as many texts as are taken."""
    data = b",".join([b'"%b"' % (b"x" * 40)] * TEXTS)
    item = b'{"name":"x","datatype":"BYTES","shape":[%d],"data":[%b]}' % (TEXTS, data)
    _together(to, b'{"inputs":[%b]}' % item, 8)


def long_text(to: Address) -> None:
    """8 of 12 MB of JSON, one text."""
    item = b'{"name":"x","datatype":"BYTES","shape":[1],"data":["%b"]}' % (b"x" * ((12 << 20) - 1000))
    _together(to, b'{"inputs":[%b]}' % item, 8)


def binary_texts(to: Address) -> None:
    """8 of 16 MB, binary texts of no length."""
    count = 4 << 20
    item = {"name": "x", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": 4 * count}}
    head = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    _together(to, head + bytes(4 * count), 8, {"inference-header-content-length": str(len(head))})


def text_calls(to: Address) -> None:
    """gRPC: 8 of 11 MB, as many raw texts as are taken."""
    asked = _message("x", "BYTES", [TEXTS])
    asked.raw_input_contents.append(((40).to_bytes(4, "little") + b"x" * 40) * TEXTS)
    _calls_together(to, asked.SerializeToString(), 8)


def _message(name: str, datatype: str, shape: list[int]) -> Any:
    """A ModelInferRequest without values."""
    from tritonclient.grpc import service_pb2

    asked = service_pb2.ModelInferRequest(model_name="m")
    asked.inputs.add(name=name, datatype=datatype, shape=shape)
    return asked


def _calls_together(to: Address, message: bytes, count: int, *, compressed: bool = False) -> None:
    with ThreadPoolExecutor(count) as clients:
        list(clients.map(lambda _: to.call(message, compressed=compressed), range(count)))


def _with_data(data: bytes) -> bytes:
    return b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d,%d],"data":%b}]}' % (ROWS, COLUMNS, data)


def _together(to: Address, body: bytes, count: int, headers: dict[str, str] | None = None) -> None:
    with ThreadPoolExecutor(count) as clients:
        list(clients.map(lambda _: to.ask(body, headers), range(count)))


def _json(*, nested: bool) -> bytes:
    rows = "[" + ",".join(["1.1"] * COLUMNS) + "]" if nested else ",".join(["1.1"] * COLUMNS)
    item = {"name": "x", "datatype": "FP32", "shape": [ROWS, COLUMNS]}
    data = ",".join([rows] * ROWS)
    return f'{{"inputs":[{json.dumps(item)[:-1]},"data":[{data}]}}]}}'.encode()


Attack = Callable[[Address], None]

ON_NUMBERS: tuple[Attack, ...] = (
    nothing,
    promises,
    silent,
    broken_off,
    idle,
    flat,
    nested,
    lists,
    empty_rows,
    brackets,
    blanks,
    bombs,
    calls,
    packed_calls,
    empty_calls,
)
ON_TEXT: tuple[Attack, ...] = (texts, long_text, binary_texts, text_calls)


def main() -> int:
    """Run all attacks, print what is seen."""
    parser = argparse.ArgumentParser("bench.serving.hostile", description=__doc__)
    names = [attack.__name__ for attack in (*ON_NUMBERS, *ON_TEXT)]
    parser.add_argument("--only", choices=names, action="append", help="these attacks (default: all)")
    parser.add_argument(
        "--within", type=float, default=HEALTHY_WITHIN, help="seconds for an answer about health (default %(default)s)"
    )
    args = parser.parse_args()
    end_cleanly()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wrongs: list[str] = []
    print("| attack | memory, MB | health p50, ms | p99, ms | most, ms | most without waiting for a core, ms |")
    print("|---|---|---|---|---|---|")
    try:
        for attacks in (ON_NUMBERS, ON_TEXT):
            if chosen := [attack for attack in attacks if attack.__name__ in (args.only or names)]:
                wrongs += _run(chosen, args.within, text=attacks is ON_TEXT)
    except (ServerFailed, SetupError) as error:
        print(error)
        return 1
    print("\n".join(wrongs) or "as it should be")
    return 1 if wrongs else 0


def _run(attacks: list[Attack], most: float, *, text: bool) -> list[str]:
    wrongs: list[str] = []
    model = _same_text() if text else _sums()
    with tempfile.TemporaryDirectory(prefix="headgate-hostile-") as scratch, _server(Path(scratch), model) as there:
        running, to = there
        for attack in attacks:
            seen = watched(running, to, attack)
            name = (attack.__doc__ or "").rstrip(".")
            print(seen.row(name), flush=True)
            wrongs += seen.wrongs(attack.__name__, most)
            if (status := to.ask(ordinary(text=text))) != 200:
                wrongs.append(f"{attack.__name__}: an ordinary request afterwards got {status}")
    return wrongs


def watched(running: Running, to: Address, attack: Attack) -> Seen:
    """What the attack costs while it lasts."""
    seen, ended = Seen(), threading.Event()
    process = multiprocessing.get_context("fork").Process(target=attack, args=(to,))
    now = running.memory()
    twice = now.rss - now.pss  # pages that its processes share
    tree = proc.tree(running.pid, proc.running())
    sizes = [Path(f"/proc/{stat.pid}/statm") for stat in tree]
    serving = max(tree, key=lambda stat: stat.started).pid  # the other one is its supervisor

    def look() -> None:
        while not ended.wait(_LOOK_EVERY):
            pages = sum(int(size.read_text().split()[1]) for size in sizes)
            seen.memory.append(pages * resource.getpagesize() - twice)

    process.start()
    with _beside(look, ended):
        while process.is_alive() or not seen.memory:
            before = _waited(serving)
            seen.health.append(health(to))
            seen.own.append(max(0.0, seen.health[-1] - _waited(serving) + before))
            time.sleep(_ASK_EVERY)
    process.join()
    seen.failed = process.exitcode != 0
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


def _waited(serving: int) -> float:
    """Seconds that the serving process's main thread, and this one, could have run and had no core.

    One waits for the other, so these do not overlap; those of other processes and threads would.
    """
    places = [Path(f"/proc/{pid}/schedstat") for pid in (serving, "thread-self")]
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
def _server(folder: Path, model: onnx.ModelProto) -> Iterator[tuple[Running, Address]]:
    """Ours, with a model that needs no memory of its own."""
    (folder / "model").mkdir()
    onnx.save(model, folder / "model" / "model.onnx")
    http_port, grpc_port, metrics_port = free_ports(3)
    argv = [
        *(beside_python("headgate-serve"), "--model", str(folder / "model"), "--name", "m", "--host", "127.0.0.1"),
        *("--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)),
        *("--max-held", str(HELD)),
    ]
    with Running("headgate-serve", Command(argv), folder, http_port, "/v2/health/ready") as running:
        running.wait_ready()
        yield running, Address("127.0.0.1", http_port, grpc_port)


def _sums() -> onnx.ModelProto:
    """The sum of each row."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    return _model(graph)


def _same_text() -> onnx.ModelProto:
    """The text that it was given."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in "xy")
    return _model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [x], [y]))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def ordinary(*, text: bool) -> bytes:
    """A small request."""
    item: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, COLUMNS], "data": [1.0] * COLUMNS}
    if text:
        item = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    return json.dumps({"inputs": [item]}).encode()


if __name__ == "__main__":
    sys.exit(main())
