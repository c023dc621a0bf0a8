"""How each server is started, with the settings that its own documentation recommends for this kind of load.

All of them run the same model with one intra-op thread of ONNX Runtime, on the CPU. What was chosen among a server's
settings, and why, is in its `settings`, which docs/benchmarks.md shows.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from tools.setup import peers

from .cases import INPUT, MODEL_NAME, OUTPUT, Array, Case
from .messages import (
    Post,
    bare_bytes,
    nested_json,
    protocol_binary,
    protocol_json,
    read_bare,
    read_nested,
    read_protocol,
)

HERE = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Place:
    """Where one start of a server happens: a scratch folder with the model, and ports."""

    folder: Path
    model: Path
    case: Case
    http_port: int
    grpc_port: int
    metrics_port: int


@dataclass(frozen=True)
class Command:
    """What to execute, and what its environment has more."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """A way to ask over HTTP: the request, and how to read the answer."""

    ask: Callable[[Case], Post]
    read: Callable[[httpx.Response], Array]


@dataclass(frozen=True)
class Server:
    """One competitor."""

    name: str
    label: str
    settings: str
    command: Callable[[Place], Command]
    ways: Mapping[str, Way]
    grpc: Callable[[], bool] = lambda: False
    package: str = ""
    ready_path: str = "/v2/health/ready"
    monitored: bool = False

    def offers(self, transport: str, case: Case) -> bool:
        """Whether it takes requests of this form for this case."""
        if transport == "grpc":
            return self.grpc()
        return transport in self.ways and not (self.ways[transport].ask is bare_bytes and case.datatype == "BYTES")

    @property
    def version(self) -> str:
        """As its requirements pin it."""
        if not self.package:
            return "this checkout"
        pinned = (peers.REQUIREMENTS / f"{self.name}.txt").read_text().splitlines()
        return next(line.replace("==", " ") for line in pinned if line.startswith(f"{self.package}=="))


def _ours(place: Place) -> Command:
    argv = [beside_python("headgate-serve"), f"--model={place.model.parent}", f"--name={MODEL_NAME}", "--version=1"]
    argv += ["--host=127.0.0.1", f"--http-port={place.http_port}", f"--metrics-port={place.metrics_port}"]
    if _ours_has_grpc():
        argv.append(f"--grpc-port={place.grpc_port}")
    return Command(argv)


@functools.cache
def _ours_has_grpc() -> bool:
    said = subprocess.run([beside_python("headgate-serve"), "--help"], check=True, capture_output=True, text=True)
    return "--grpc-port" in said.stdout


def _triton(place: Place) -> Command:
    home = peers.ensure("triton")
    packages = next(home.glob("lib/python*/site-packages"))
    triton = packages / "pytriton" / "tritonserver"
    backends = place.folder / "backends"
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / python_version / "triton_python_backend_stub"
    shutil.copytree(triton / "backends" / "python", backends / "python")
    (backends / "onnxruntime").mkdir()
    shutil.copy(stub, backends / "python")
    shutil.copy(stub, backends / "onnxruntime")
    shutil.copy(HERE / "triton_backend.py", backends / "onnxruntime" / "model.py")
    repository = place.folder / "repository"
    (repository / MODEL_NAME / "1").mkdir(parents=True)
    shutil.copy(place.model, repository / MODEL_NAME / "1" / "model.onnx")
    (repository / MODEL_NAME / "config.pbtxt").write_text(_triton_config(place.case))
    argv = [str(triton / "bin" / "tritonserver"), f"--model-repository={repository}", f"--backend-directory={backends}"]
    argv += ["--http-address=127.0.0.1", f"--http-port={place.http_port}", "--grpc-address=127.0.0.1"]
    argv += [f"--grpc-port={place.grpc_port}", "--metrics-address=127.0.0.1", f"--metrics-port={place.metrics_port}"]
    libraries = [packages / "nvidia_pytriton.libs", Path(sys.base_prefix) / "lib"]
    env = {
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": str(packages),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
    }
    return Command(argv, env)


def _triton_config(case: Case) -> str:
    kind = "TYPE_STRING" if case.datatype == "BYTES" else "TYPE_FP32"
    row = ", ".join(map(str, case.shape[1:]))
    return (
        f'name: "{MODEL_NAME}"\nbackend: "onnxruntime"\nmax_batch_size: 64\n'
        f'input [{{name: "{INPUT}" data_type: {kind} dims: [{row}]}}]\n'
        f'output [{{name: "{OUTPUT}" data_type: TYPE_FP32 dims: [-1]}}]\n'
        "instance_group [{kind: KIND_CPU count: 1}]\ndynamic_batching {}\n"
    )


def _mlserver(place: Place) -> Command:
    settings = {
        "debug": False,
        "parallel_workers": 0,
        "host": "127.0.0.1",
        "http_port": place.http_port,
        "grpc_port": place.grpc_port,
        "metrics_port": place.metrics_port,
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": MODEL_NAME, "implementation": "mlserver_runtime.OnnxRuntime"}
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    shutil.copy(HERE / "mlserver_runtime.py", place.folder)
    argv = [_python("mlserver"), "-c", "from mlserver.cli import main; main()", "start", str(place.folder)]
    return Command(argv, {"BENCH_MODEL": str(place.model)})


def _kserve(place: Place) -> Command:
    argv = [_python("kserve"), str(HERE / "kserve_server.py"), f"--http_port={place.http_port}"]
    argv += [f"--grpc_port={place.grpc_port}", "--workers=2", "--enable_latency_logging=false"]
    return Command(argv, {"BENCH_MODEL": str(place.model)})


def _bentoml(place: Place) -> Command:
    argv = [_python("bentoml"), "-m", "bentoml", "serve", "bentoml_service:Bench", f"--working-dir={HERE}"]
    argv += ["--host=127.0.0.1", f"--port={place.http_port}"]
    home = {"BENTOML_HOME": str(place.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "true"}
    return Command(argv, home | {"BENCH_MODEL": str(place.model)})


def _fastapi(place: Place) -> Command:
    argv = [_python("fastapi"), "-m", "uvicorn", "fastapi_app:app", f"--app-dir={HERE}", "--host=127.0.0.1"]
    argv += [f"--port={place.http_port}", "--workers=1", "--loop=uvloop", "--http=httptools", "--no-access-log"]
    return Command([*argv, "--log-level=warning"], {"BENCH_MODEL": str(place.model)})


def _granian(place: Place) -> Command:
    argv = [_python("granian"), "-m", "granian", "granian_app:app", f"--working-dir={HERE}", "--interface=rsgi"]
    argv += ["--host=127.0.0.1", f"--port={place.http_port}", "--workers=1", "--loop=uvloop", "--runtime-mode=st"]
    return Command([*argv, "--no-ws", "--log-level=warning"], {"BENCH_MODEL": str(place.model)})


def _python(peer: str) -> str:
    return str(peers.ensure(peer) / "bin" / "python")


def beside_python(program: str) -> str:
    """A program of the project's own environment."""
    return str(Path(sys.executable).parent / program)


_JSON, _BINARY = Way(protocol_json, read_protocol), Way(protocol_binary, read_protocol)
_PROTOCOL = {"json": _JSON, "binary": _BINARY}

OURS = Server("ours", "ours", "its defaults; one process", _ours, _PROTOCOL, _ours_has_grpc)
OURS_MONITORED = replace(
    OURS,
    name="ours-monitored",
    label="ours, monitored",
    settings="its defaults, with a profile.json of `headgate profile` beside the model, if that has features to count",
    monitored=True,
)
PEERS = (
    Server(
        "triton",
        "Triton",
        "tritonserver 2.51 of the wheel, whose only backend is Python's: ONNX Runtime in one Python stub process; "
        "`dynamic_batching {}`, without which it is half as fast at 16 connections",
        _triton,
        _PROTOCOL,
        lambda: True,
        "nvidia-pytriton",
    ),
    Server(
        "mlserver",
        "MLServer",
        "a custom runtime, for it has none for ONNX; `parallel_workers: 0`, `debug: false`; no binary REST",
        _mlserver,
        {"json": _JSON},
        lambda: True,
        "mlserver",
    ),
    Server(
        "kserve",
        "KServe",
        "a custom predictor; `--workers 2`, `--enable_latency_logging false`",
        _kserve,
        _PROTOCOL,
        lambda: True,
        "kserve",
    ),
    Server(
        "bentoml",
        "BentoML",
        "a service with `workers=2`, no access log, an `async` method; its own JSON form",
        _bentoml,
        {"json": Way(nested_json, read_nested)},
        package="bentoml",
        ready_path="/readyz",
    ),
    Server(
        "fastapi",
        "FastAPI + uvicorn",
        "one worker, uvloop, httptools, no access log; the protocol's JSON through pydantic, binary as bare bytes",
        _fastapi,
        {"json": _JSON, "binary": Way(bare_bytes, read_bare)},
        package="fastapi",
    ),
    Server(
        "granian",
        "granian",
        "one worker, one thread, uvloop, no access log; an RSGI function with orjson that checks nothing; binary as "
        "bare bytes",
        _granian,
        {"json": _JSON, "binary": Way(bare_bytes, read_bare)},
        package="granian",
    ),
)
