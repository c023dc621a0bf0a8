"""The `headgate` command line, also installed as `kubectl-headgate`.

One module for each command, with `add_parser(subparsers)` and `run(arguments) -> exit status`.
"""

import argparse
import sys

from headgate import __version__
from headgate_cli import digest, drift, package, profile, simulate, validate

COMMANDS = (validate, simulate, profile, drift, digest, package)


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status is 0, 1 (the answer is no) or 2 (the question was wrong)."""
    parser = argparse.ArgumentParser(
        prog="headgate", description="Put new versions of a model in front of users, safely."
    )
    parser.add_argument("--version", action="version", version=f"headgate {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    status: int = arguments.run(arguments)
    return status
