"""`python3 -m setup [packages|venv|tools]…`: bring the machine up to what the project needs; all of it by default."""

from __future__ import annotations

import argparse
import sys

from . import cache, environment, packages, progress, tools
from .errors import SetupError

STEPS = {"packages": packages.ensure, "venv": environment.ensure, "tools": tools.ensure_all}


def main() -> int:
    parser = argparse.ArgumentParser(prog="setup", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"one of {', '.join(STEPS)}; all by default")
    parser.add_argument("--forget", action="store_true", help="remove the cache and do nothing else")
    arguments = parser.parse_args()
    if arguments.forget:
        cache.forget()
        return 0
    wanted = arguments.steps
    if unknown := [step for step in wanted if step not in STEPS]:
        parser.error(f"no step {', '.join(unknown)}")
    try:
        for name, step in STEPS.items():
            if not wanted or name in wanted:
                step()
    except SetupError as error:
        progress.say(f"setup: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
