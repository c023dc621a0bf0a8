"""What `headgate profile` and `headgate package` have in common: options, and what they say of the reference rows."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_serving.authoring.reference import Reference

EVERY = 5.0
"""Seconds between two lines of `told`."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which rows, and which of their columns."""
    parser.add_argument("--data", required=True, type=Path, help="reference rows, .csv or .parquet")
    parser.add_argument("--labels", metavar="COLUMN", help="the column with the true classes: no feature")
    parser.add_argument("--columns", help="the model's columns in its order: a,b,c (default: all, or by input name)")
    parser.add_argument(
        "--strict", action="store_true", help="fail, with status 1, if the model answers NaN or infinity to a row"
    )


def columns_of(args: argparse.Namespace) -> list[str] | None:
    """The names in `--columns`."""
    return [name.strip() for name in args.columns.split(",")] if args.columns else None


@contextmanager
def told(command: str) -> Iterator[Callable[[int, int], None]]:
    """Takes how many of the rows the model has answered, and says it to stderr every few seconds until all are.

    By a thread: a model that never answers calls nothing. Ctrl-C ends the process at once meanwhile: Python would hear
    it after the model's run only.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if main_thread else None
    started, now, over = time.monotonic(), (0, 0), threading.Event()

    def take(done: int, rows: int) -> None:
        nonlocal now
        now = done, rows

    def say() -> None:
        while not over.wait(EVERY):
            done, rows = now
            if done < rows:
                after = time.monotonic() - started
                print(f"headgate {command}: {done} of {rows} rows answered after {after:.0f} s", file=sys.stderr)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield take
    finally:
        over.set()
        thread.join()
        if main_thread:
            signal.signal(signal.SIGINT, before)


def is_refused(command: str, args: argparse.Namespace, reference: "Reference") -> bool:
    """Whether `--strict` refuses the answers; then it is said, and why."""
    if not (args.strict and reference.invalid):
        return False
    tell(reference)
    print(
        f"headgate {command}: --strict is set, and the model has invalid answers: nothing is written", file=sys.stderr
    )
    return True


def tell(reference: "Reference") -> None:
    """Say to stderr what was left out, what is doubtful, and which answers are invalid."""
    for name, why in reference.left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    for name in reference.doubtful:
        print(
            f"kept: {name}: it has no name, but not another value in each row; if it is pandas' index, "
            "name the features with --columns",
            file=sys.stderr,
        )
    for one in reference.invalid:
        print(f"invalid answers: {one}", file=sys.stderr)


def accuracies(reference: "Reference") -> Iterator[str]:
    """A line for each output that names a class."""
    for one in reference.profile.accuracy:
        share = one.correct / max(one.rows, 1)
        yield f"accuracy of {one.output} on {one.rows} rows with {one.label}: {share:.4f}"
