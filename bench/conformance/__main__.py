"""`python -m bench.conformance`: serve models that others made, and compare every answer with ONNX Runtime's.

Three collections: the test cases of the `onnx` package; classifiers and regressors of scikit-learn, LightGBM, XGBoost
and CatBoost as their exporters write them by default; and models that PyPI packages bring along. With `--write` the
tables go into docs/conformance.md. Exit status 1 if an answer is wrong, or if a model or request is refused that the
protocol could carry.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from os import sched_getaffinity
from pathlib import Path
from queue import SimpleQueue

from bench.document import put, table

from . import onnx_cases, real, tabular
from .check import EQUAL, WRONG, Case, Outcome, is_a_fault, outcome_of, summary
from .host import Host

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
COMMAND = "python -m bench.conformance --write"

Make = Callable[[], Case]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="bench.conformance", description=__doc__)
    parser.add_argument(
        "collections", nargs="*", metavar="COLLECTION", help=f"by default all: {', '.join(COLLECTIONS)}"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th model of each")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/conformance.md")
    arguments = parser.parse_args()
    wanted = arguments.collections or list(COLLECTIONS)
    if unknown := [name for name in wanted if name not in COLLECTIONS]:
        parser.error(f"no collection {', '.join(unknown)}")
    texts, faults = [], 0
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            about, makes = COLLECTIONS[name](Path(folder))
            outcomes = run(makes[:: arguments.every], Path(folder))
        texts.append(f"{about}\n\n{_told(outcomes)}")
        print(f"\n{texts[-1]}", flush=True)
        faults += sum(map(is_a_fault, outcomes))
    if arguments.write:
        put("\n\n".join(texts), COMMAND, DOCUMENT)
    return 1 if faults else 0


def run(makes: Sequence[Make], folder: Path, processes: int | None = None) -> list[Outcome]:
    """What came of each, by so many servers at a time."""
    with ExitStack() as stack:
        hosts = [Host(folder / f"host-{number}") for number in range(processes or len(sched_getaffinity(0)))]
        free: SimpleQueue[Host] = SimpleQueue()
        for host in hosts:
            free.put(stack.enter_context(host))

        def one(make: Make) -> Outcome:
            host = free.get()
            try:
                return outcome_of(make(), host)
            except Exception as error:  # one model should not keep the others from being looked at
                return Outcome("", WRONG, f"could not be tried: {error!r}")
            finally:
                free.put(host)

        with ThreadPoolExecutor(len(hosts)) as pool:
            outcomes = list(_with_progress(pool.map(one, makes), len(makes)))
    return outcomes + [Outcome("", WRONG, why) for host in hosts for why in host.ended_badly]


def _with_progress(outcomes: Iterable[Outcome], count: int) -> Iterator[Outcome]:
    for number, outcome in enumerate(outcomes, 1):
        if is_a_fault(outcome) or number % 100 == 0:
            print(f"{number} of {count}: {outcome.name}: {outcome.kind}: {outcome.reason}", file=sys.stderr, flush=True)
        yield outcome


def _told(outcomes: Sequence[Outcome]) -> str:
    rows = [(kind, reason, str(count), _names(outcomes, kind, reason)) for kind, reason, count in summary(outcomes)]
    return table(("outcome", "", "models", ""), rows)


def _names(outcomes: Sequence[Outcome], kind: str, reason: str) -> str:
    """Of the few that are not equal."""
    names = [outcome.name for outcome in outcomes if (outcome.kind, outcome.reason) == (kind, reason)]
    return "" if kind == EQUAL or len(names) > 6 else ", ".join(names)


def _onnx(folder: Path) -> tuple[str, list[Make]]:
    tests = onnx_cases.tests()
    about = f"**The test cases of the `onnx` package** (onnx {version('onnx')}; ONNX Runtime {version('onnxruntime')})."
    return about, [partial(onnx_cases.case_of, test, folder) for test in tests]


COLLECTIONS: dict[str, Callable[[Path], tuple[str, list[Make]]]] = {
    "onnx": _onnx,
    "tabular": tabular.collection,
    "real": real.collection,
}


if __name__ == "__main__":
    sys.exit(main())
