"""The models of the table, and both servers with them: ours has a process for each, Triton one for all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

import serving_models
from bench.serving.cases import CASES as BENCH_CASES
from bench.serving.cases import MODEL_NAME, write_model
from bench.serving.process import Running
from bench.serving.servers import PEERS, Place
from conformance_clients import Clients
from conformance_table import VERSION
from ports import free_ports
from serving_process import Served

MAX_BODY = 100_000
TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
_NAMES = {number: f"TYPE_{name}" for name, number in TYPES.items()} | {
    TensorProto.STRING: "TYPE_STRING",
    TensorProto.BFLOAT16: "TYPE_BF16",
}


def types(path: Path) -> Path:
    """OUT_INT8 = IN_INT8 and so on, each [n,2], for all that numpy has."""
    return serving_models.save(
        path,
        [helper.make_node("Identity", [f"IN_{name}"], [f"OUT_{name}"]) for name in TYPES],
        [(f"IN_{name}", number, ["n", 2]) for name, number in TYPES.items()],
        [(f"OUT_{name}", number, ["n", 2]) for name, number in TYPES.items()],
    )


def words(path: Path) -> Path:
    """SAID = TEXT of [n]."""
    return serving_models.save(
        path,
        [helper.make_node("Identity", ["TEXT"], ["SAID"])],
        [("TEXT", TensorProto.STRING, ["n"])],
        [("SAID", TensorProto.STRING, ["n"])],
    )


MODELS: dict[str, Callable[[Path], Path]] = {
    "mixed": serving_models.mixed,
    "types": types,
    "single": lambda path: serving_models.identity(path, TensorProto.FLOAT),
    "half": lambda path: serving_models.identity(path, TensorProto.BFLOAT16),
    "words": words,
}


class Ours:
    """Starts the process of a model when it is asked for the first time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, tuple[Served, Clients]] = {}

    def clients(self, model: str) -> Clients:
        """To the process with that model."""
        return self._running(model)[1]

    def served(self, model: str) -> Served:
        """The process itself."""
        return self._running(model)[0]

    def _running(self, model: str) -> tuple[Served, Clients]:
        if model not in self._started:
            place = self._folder / model
            MODELS[model](place / "model.onnx")
            options = ("--name", model, "--max-body", str(MAX_BODY))
            served = Served(place, *options, log=self._folder / f"{model}-termination-log")
            self._started[model] = served, Clients(served.address, served.grpc_address)
        return self._started[model]

    def stop(self) -> None:
        """End all of them; each has to end well."""
        for _, clients in self._started.values():
            clients.close()
        assert [served.stop() for served, _ in self._started.values()] == [0] * len(self._started)


class Triton:
    """The server of the nvidia-pytriton wheel, started as the benchmark does."""

    def __init__(self, folder: Path) -> None:
        server = next(peer for peer in PEERS if peer.name == "triton")
        http_port, grpc_port, metrics_port = free_ports(3)
        case = BENCH_CASES[0]
        place = Place(folder, write_model(case, folder / "bench"), case, http_port, grpc_port, metrics_port)
        command = server.command(place)
        repository = folder / "repository"
        shutil.rmtree(repository / MODEL_NAME)
        for name, build in MODELS.items():
            file = build(repository / name / VERSION / "model.onnx")
            (repository / name / "config.pbtxt").write_text(_config(name, onnx.load(file)))
        self._running = Running("triton", command, folder, http_port, server.ready_path)
        try:
            self._running.wait_ready()
        except BaseException:
            self._running.stop()
            raise
        self._clients = Clients(self._running.address, f"127.0.0.1:{grpc_port}")

    def clients(self, _model: str) -> Clients:
        """To the one process."""
        return self._clients

    def stop(self) -> None:
        """End it and its stubs."""
        self._clients.close()
        self._running.stop()


def _config(name: str, model: onnx.ModelProto) -> str:
    """As somebody would write it by hand."""
    lines = [f'name: "{name}" backend: "onnxruntime" max_batch_size: 0 instance_group [{{kind: KIND_CPU count: 1}}]']
    for role, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            tensor = value.type.tensor_type
            dims = ", ".join(str(dim.dim_value or -1) for dim in tensor.shape.dim)
            lines.append(f'{role} [{{name: "{value.name}" data_type: {_NAMES[tensor.elem_type]} dims: [{dims}]}}]')
    return "\n".join(lines)
