"""`python -m bench.serving`: ours beside other servers, in turn, by one generator. `--write` puts it into the docs."""

import argparse
import json
import sys
from pathlib import Path

from bench.document import put
from tools.setup.errors import SetupError

from .cases import CASES
from .larger import LARGER
from .process import end_cleanly
from .report import document
from .rounds import Plan, measure, say
from .samples import OPEN
from .servers import OURS, OURS_MONITORED, PEERS, Server

TRANSPORTS = ("json", "binary", "grpc")
LOOPS = ("1", "16", "64", OPEN)
LEAST_ROUNDS = 5


def main() -> int:
    """Measure, print, and write where asked to; 1 if anything had to be left out."""
    parser = argparse.ArgumentParser("bench.serving", description=__doc__)
    cases = (*CASES, *LARGER)
    servers = ["ours", *(peer.name for peer in PEERS)]
    parser.add_argument("--servers", default=",".join(servers), help="of %(default)s")
    parser.add_argument(
        "--cases",
        default=",".join(case.name for case in CASES),
        help=f"of %(default)s,{','.join(case.name for case in LARGER)}",
    )
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="of %(default)s")
    parser.add_argument("--loops", default=",".join(LOOPS), help="connections, and the open loop: of %(default)s")
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help="how often (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timed run (default %(default)s)")
    parser.add_argument("--monitor", choices=("on", "off", "both"), default="both", help="of ours: with a profile?")
    parser.add_argument("--json", type=Path, help="write all samples into this file")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--device", default="shared machine", help="what the report says of this machine")
    args = parser.parse_args()
    if args.write and args.rounds < LEAST_ROUNDS:
        parser.error(f"the document takes medians of {LEAST_ROUNDS} rounds or more")
    plan = Plan(
        [server for name in _some(parser, args.servers, servers) for server in _meant(name, args.monitor)],
        [case for case in cases if case.name in _some(parser, args.cases, [case.name for case in cases])],
        _some(parser, args.transports, TRANSPORTS),
        [loop for loop in LOOPS if loop in _some(parser, args.loops, LOOPS)],
        args.rounds,
        args.seconds,
    )
    if plan.loops == [OPEN]:
        parser.error("the open loop runs at half of what a closed loop has shown: name one of those too")
    end_cleanly()
    try:
        samples = measure(plan)
    except SetupError as error:
        say(str(error))
        return 1
    text = document(plan, samples, args.device)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(samples.to_json(), indent=1))
    if args.write:
        put(text, "make bench-serving")
    return 1 if samples.problems else 0


def _some(parser: argparse.ArgumentParser, given: str, known: list[str] | tuple[str, ...]) -> list[str]:
    names = [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _meant(name: str, monitor: str) -> list[Server]:
    ours = {"on": [OURS_MONITORED], "off": [OURS], "both": [OURS, OURS_MONITORED]}
    return ours[monitor] if name == OURS.name else [peer for peer in PEERS if peer.name == name]


if __name__ == "__main__":
    sys.exit(main())
