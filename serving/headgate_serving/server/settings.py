"""What `headgate-serve` was asked for: every option also by an environment variable, the option first.

`--http-port` is HEADGATE_HTTP_PORT and so on; but `--model` is HEADGATE_MODEL_PATH, for HEADGATE_MODEL (as
HEADGATE_NAMESPACE and HEADGATE_REVISION) is a label of the series.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsInvalid


@dataclass(frozen=True)
class Settings:
    """All options. Times are in seconds, sizes in bytes."""

    model: Path
    name: str
    version: str | None
    profile: Path | None
    baseline: Path | None
    host: str
    http_port: int
    metrics_port: int
    threads: int
    max_body: int
    drain_delay: float
    grace: float
    namespace: str
    deployment: str
    revision: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every series that a decision reads."""
        return {
            "headgate_namespace": self.namespace,
            "headgate_model": self.deployment,
            "headgate_revision": self.revision,
        }


def read_settings(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Settings:
    """Parse options and environment; SettingsInvalid names the variable that can't be right."""
    parser = argparse.ArgumentParser("headgate-serve", description="Serve one ONNX model: Open Inference Protocol v2.")

    def option(name: str, default: str | None, text: str, variable: str | None = None) -> None:
        variable = variable or "HEADGATE_" + name.strip("-").upper().replace("-", "_")
        given = environ.get(variable) or default
        parser.add_argument(name, default=given, help=f"{text} [{variable}]")

    option("--model", None, "folder with model.onnx, or an .onnx file", "HEADGATE_MODEL_PATH")
    option("--name", environ.get("HEADGATE_MODEL"), "the model's name in the protocol")
    option("--version", None, "the model's version in the protocol")
    option("--profile", None, "reference profile; else profile.json beside the model, if there")
    option("--baseline", None, "folder with the profile.json of the version to compare with")
    option("--host", "0.0.0.0", "address to listen at")
    option("--http-port", "8000", "port of the protocol")
    option("--metrics-port", "8002", "port of /metrics")
    option("--threads", str(_default_threads()), "threads that run the model")
    option("--max-body", str(64 << 20), "largest request body, in bytes")
    option("--drain-delay", "2", "seconds to go on serving after SIGTERM, until routers have noticed")
    option("--grace", "25", "seconds after SIGTERM in which requests may finish")
    return _checked(parser.parse_args(argv), environ)


def _checked(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    if not args.model:
        raise SettingsInvalid("no model given: --model FOLDER, or HEADGATE_MODEL_PATH")
    model = Path(args.model)
    name = args.name or model.resolve().stem
    if not name or "/" in name or "/" in (args.version or ""):
        raise SettingsInvalid(f"the model's name {name!r} and version {args.version!r} can't hold a slash")
    return Settings(
        model=model,
        name=name,
        version=args.version or None,
        profile=Path(args.profile) if args.profile else None,
        baseline=Path(args.baseline) if args.baseline else None,
        host=args.host,
        http_port=_whole("http port", args.http_port, 1, 65535),
        metrics_port=_whole("metrics port", args.metrics_port, 1, 65535),
        threads=_whole("threads", args.threads, 1, 1024),
        max_body=_whole("max body", args.max_body, 1, 1 << 40),
        drain_delay=_seconds("drain delay", args.drain_delay),
        grace=_seconds("grace", args.grace),
        namespace=environ.get("HEADGATE_NAMESPACE", ""),
        deployment=environ.get("HEADGATE_MODEL", ""),
        revision=environ.get("HEADGATE_REVISION", ""),
    )


def _whole(what: str, given: str, low: int, high: int) -> int:
    try:
        number = int(given)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise SettingsInvalid(f"{what}: expected a whole number from {low} to {high}, got {given!r}")
    return number


def _seconds(what: str, given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise SettingsInvalid(f"{what}: expected seconds, got {given!r}")
    return number


def _default_threads() -> int:
    return min(4, len(os.sched_getaffinity(0)))
