"""What the router was told about its own protection when its pod was made: the arguments of the agent.

The operator writes them from `spec.traffic`. They are arguments, and not read from the resource as the split is,
because listeners and mounted Secrets are made once in the life of a pod; and because an agent that does not know one
of them doesn't start, rather than serve without it.
"""

import argparse
from dataclasses import dataclass
from typing import Literal, cast, get_args

AccessLog = Literal["All", "Errors"]


@dataclass(frozen=True, slots=True)
class Protection:
    """The choices. `memory_mib` is what Envoy's container may use."""

    access_log: AccessLog = "All"
    memory_mib: int = 512


UNPROTECTED = Protection()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line's part."""
    parser.add_argument("--access-log", default=UNPROTECTED.access_log, choices=get_args(AccessLog))
    parser.add_argument("--envoy-memory-mib", default=UNPROTECTED.memory_mib, type=int, help="what Envoy may use")


def protection_of(options: argparse.Namespace) -> Protection:
    """What the command line says."""
    return Protection(access_log=cast("AccessLog", options.access_log), memory_mib=options.envoy_memory_mib)
