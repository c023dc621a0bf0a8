"""`python3 -m tools.setup [packages|venv|tools|bench]…`: bring the machine up to what the project needs.

By default to all but the servers that the benchmark compares with: that is `bench`.
"""

from __future__ import annotations

import argparse
import sys

from . import cache, environment, envoy, packages, peers, progress, tools
from .errors import SetupError


def _tools() -> None:
    tools.ensure_all()
    envoy.ensure()


def _bench() -> None:
    for step in BY_DEFAULT:
        STEPS[step]()
    packages.ensure(packages.FOR_BENCHMARKS)
    peers.ensure_all()


STEPS = {"packages": packages.ensure, "venv": environment.ensure, "tools": _tools, "bench": _bench}
BY_DEFAULT = ("packages", "venv", "tools")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    steps = f"one of {', '.join(STEPS)}; by default {', '.join(BY_DEFAULT)}"
    parser.add_argument("steps", nargs="*", metavar="STEP", help=steps)
    parser.add_argument("--forget", action="store_true", help="remove the cache and do nothing else")
    arguments = parser.parse_args()
    if arguments.forget:
        cache.forget()
        return 0
    wanted = arguments.steps or BY_DEFAULT
    if unknown := [step for step in wanted if step not in STEPS]:
        parser.error(f"no step {', '.join(unknown)}")
    try:
        for name, step in STEPS.items():
            if name in wanted:
                step()
    except SetupError as error:
        progress.say(f"setup: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
