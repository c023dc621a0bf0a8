"""What `headgate-monitor` was asked for. The labels of its series come from the environment, as in the runtime."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.api import contract
from headgate_serving.listening import AUTO, bind_address


@dataclass(frozen=True)
class Settings:
    """All options."""

    artifact: Path
    baseline: Path
    model: str
    engine: str
    host: str
    port: int
    labels: Mapping[str, str]


def read_settings(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Settings:
    """Parse them."""
    parser = argparse.ArgumentParser("headgate-monitor", description="Count samples of what another's engine is asked.")
    parser.add_argument(
        contract.MonitorArgument.ARTIFACT, required=True, type=Path, help="folder with the version's profile.json"
    )
    parser.add_argument(
        contract.MonitorArgument.BASELINE,
        required=True,
        type=Path,
        help="folder with that of the version to compare with",
    )
    parser.add_argument(contract.MonitorArgument.MODEL, required=True, help="the model's name in the protocol")
    parser.add_argument(
        contract.MonitorArgument.ENGINE, required=True, help="where the engine is, such as http://127.0.0.1:8000"
    )
    parser.add_argument("--host", default=AUTO, help="address to listen at; auto: all, of IPv6 too")
    parser.add_argument(
        contract.MonitorArgument.PORT,
        default=contract.RUNTIME_METRICS_PORT,
        type=int,
        help="port for samples and for /metrics",
    )
    args = parser.parse_args(argv)
    variables = (contract.NAMESPACE_VARIABLE, contract.MODEL_VARIABLE, contract.REVISION_VARIABLE)
    labels = {name.lower(): environ.get(name, "") for name in variables}
    return Settings(args.artifact, args.baseline, args.model, args.engine, bind_address(args.host), args.port, labels)
