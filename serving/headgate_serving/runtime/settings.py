"""What `headgate-serve` was asked for: every option also by an environment variable, the option first.

`--http-port` is HEADGATE_HTTP_PORT and so on; but `--model` is HEADGATE_MODEL_PATH, for HEADGATE_MODEL (as
HEADGATE_NAMESPACE and HEADGATE_REVISION) is a label of the series.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.api import contract

from ..errors import SettingsInvalid
from ..listening import AUTO, bind_address

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Settings:
    """All options. Times are in seconds, sizes in bytes; 0 stands for no limit where a limit may be off.

    Threads that are None are chosen at the start by what a run of the model takes.
    """

    model: Path
    name: str
    version: str | None
    profiles: tuple[Path, ...]
    baseline: Path | None
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    health_port: int
    tls: Path | None
    device: str
    device_memory: int
    threads: int | None
    intra_op_threads: int | None
    max_batch: int
    max_delay: float
    max_queue: int
    max_body: int
    max_held: int
    run_timeout: float
    min_confidence: float
    drain_delay: float
    grace: float
    namespace: str
    deployment: str
    revision: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every series that a decision reads."""
        return {
            contract.NAMESPACE: self.namespace,
            contract.MODEL: self.deployment,
            contract.REVISION: self.revision,
        }


def read_settings(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Settings:
    """Parse options and environment; SettingsInvalid names the variable that can't be right."""
    parser = argparse.ArgumentParser("headgate-serve", description="Serve one ONNX model: Open Inference Protocol v2.")

    def option(name: str, default: str | None, text: str, variable: str | None = None) -> None:
        variable = variable or "HEADGATE_" + name.strip("-").upper().replace("-", "_")
        given = environ.get(variable) or default
        parser.add_argument(name, default=given, help=f"{text} [{variable}]")

    option(contract.RuntimeArgument.MODEL, None, "folder with model.onnx, or an .onnx file", "HEADGATE_MODEL_PATH")
    option(contract.RuntimeArgument.NAME, environ.get(contract.MODEL_VARIABLE), "the model's name in the protocol")
    option(contract.RuntimeArgument.VERSION, None, "the model's version in the protocol")
    profiles = environ.get("HEADGATE_PROFILE", "")
    parser.add_argument(
        "--profile",
        action="append",
        help="reference profile, else profile.json beside the model, if there; further ones are other versions' to "
        f"compare with [HEADGATE_PROFILE, with {os.pathsep!r} between them]",
    )
    option(contract.RuntimeArgument.BASELINE, None, "folder with the profile.json of the version to compare with")
    option("--host", AUTO, "address to listen at; auto: all, of IPv6 too where there is any")
    option(contract.RuntimeArgument.HTTP_PORT, str(contract.RUNTIME_HTTP_PORT), "port of the protocol")
    option(
        contract.RuntimeArgument.GRPC_PORT,
        str(contract.RUNTIME_GRPC_PORT),
        "port of the protocol over gRPC; 0 for none",
    )
    option(contract.RuntimeArgument.METRICS_PORT, str(contract.RUNTIME_METRICS_PORT), "port of /metrics")
    option(contract.RuntimeArgument.HEALTH_PORT, "0", "port of /v2/health/ in plain HTTP, and nothing else; 0 for none")
    option(
        contract.RuntimeArgument.TLS,
        None,
        "folder with tls.crt, tls.key and ca.crt: both protocols over TLS, for clients that ca.crt vouches for",
    )
    option("--device", "auto", "cpu, cuda, or auto: cuda where there is a GPU and a runtime for it")
    option("--device-memory", "0", "most bytes of GPU memory that ONNX Runtime may take; 0 for no limit")
    option("--threads", AUTO, "runs of the model at the same time; auto: as many as there are cores, at most 4")
    option("--intra-op-threads", AUTO, "threads of ONNX Runtime within one run; auto: by what a run takes")
    option("--max-batch", "32", "most rows of several requests in one run; 1 runs each request alone")
    option("--max-delay", "0", "microseconds to wait for more requests to run together")
    option("--max-queue", "1000", "requests that may wait for a run; more are answered 429")
    option("--max-body", str(64 << 20), "largest request body, in bytes")
    option("--max-held", str(512 << 20), "bytes of all request bodies that are in memory; more are answered 429")
    option("--run-timeout", "60", "seconds after which a run of the model is stopped; 0 for never")
    option("--min-confidence", "0", "answers whose largest probability is below it are marked low_confidence")
    option("--drain-delay", "2", "seconds to go on serving after SIGTERM, until routers have noticed")
    option("--grace", "29", "seconds after SIGTERM in which requests may finish")
    args = parser.parse_args(argv)
    args.profile = args.profile or [path for path in profiles.split(os.pathsep) if path]
    return _checked(args, environ)


def _checked(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    if not args.model:
        raise SettingsInvalid("no model given: --model FOLDER, or HEADGATE_MODEL_PATH")
    model = Path(args.model)
    name = args.name or _name_of(model.resolve())
    if not name or "/" in name or "/" in (args.version or ""):
        raise SettingsInvalid(f"the model's name {name!r} and version {args.version!r} can't hold a slash")
    return Settings(
        model=model,
        name=name,
        version=args.version or None,
        profiles=tuple(Path(path) for path in args.profile),
        baseline=Path(args.baseline) if args.baseline else None,
        host=bind_address(args.host),
        http_port=_whole("http port", args.http_port, 1, 65535),
        grpc_port=_whole("grpc port", args.grpc_port, 0, 65535),
        metrics_port=_whole("metrics port", args.metrics_port, 1, 65535),
        health_port=_whole("health port", args.health_port, 0, 65535),
        tls=Path(args.tls) if args.tls else None,
        device=_one_of("device", args.device, DEVICES),
        device_memory=_whole("device memory", args.device_memory, 0, 1 << 50),
        threads=_whole_or_auto("threads", args.threads, 1, 1024),
        intra_op_threads=_whole_or_auto("intra op threads", args.intra_op_threads, 1, 1024),
        max_batch=_whole("max batch", args.max_batch, 1, 1 << 20),
        max_delay=_whole("max delay", args.max_delay, 0, 10_000_000) / 1e6,
        max_queue=_whole("max queue", args.max_queue, 1, 1 << 20),
        max_body=_whole("max body", args.max_body, 1, 1 << 40),
        max_held=_whole("max held", args.max_held, 1, 1 << 50),
        run_timeout=_number("run timeout", args.run_timeout, "seconds", 1e6),
        min_confidence=_number("min confidence", args.min_confidence, "a share from 0 to 1", 1.0),
        drain_delay=_number("drain delay", args.drain_delay, "seconds", 1e6),
        grace=_number("grace", args.grace, "seconds", 1e6),
        namespace=environ.get(contract.NAMESPACE_VARIABLE, ""),
        deployment=environ.get(contract.MODEL_VARIABLE, ""),
        revision=environ.get(contract.REVISION_VARIABLE, ""),
    )


def _name_of(model: Path) -> str:
    """A folder's name as it is, for a dot in it is no suffix; a file's without its own."""
    return model.name if model.is_dir() else model.name.removesuffix(".onnx")


def _whole(what: str, given: str, low: int, high: int) -> int:
    try:
        number = int(given)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise SettingsInvalid(f"{what}: expected a whole number from {low} to {high}, got {given!r}")
    return number


def _whole_or_auto(what: str, given: str, low: int, high: int) -> int | None:
    return None if given == AUTO else _whole(what, given, low, high)


def _number(what: str, given: str, expected: str, most: float) -> float:
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise SettingsInvalid(f"{what}: expected {expected}, got {given!r}")
    return number


def _one_of(what: str, given: str, known: Sequence[str]) -> str:
    if given not in known:
        raise SettingsInvalid(f"{what}: expected one of {', '.join(known)}, got {given!r}")
    return given
