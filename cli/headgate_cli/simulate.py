"""`headgate simulate`: what would this rollout policy do with a good, and with a bad candidate?"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from headgate.api.quantities import fraction, seconds
from headgate.core.signals.latency import LATENCY
from headgate.simulate.policy import Policy, ShadowPolicy, policy_of
from headgate.simulate.rollout import simulate
from headgate.simulate.summary import as_table, plot, summarise
from headgate.simulate.world import World
from headgate_cli.validate import SpecUnreadable, read_spec

T = TypeVar("T")

MOST_MARGIN = 0.5
PICTURES = (".png", ".svg", ".pdf")

_EPILOG = """\
Without a manifest and without --weight the rollout follows a risk budget of 20 bad answers with an error margin of
0.5 %, as a ModelDeployment does by default. --weight asks how soon harm is found at that weight: nothing but harm ends
such a rollout unless --margin says how much worse is acceptable (default then: 0)."""


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("simulate", help="what would this rollout policy do?", epilog=_EPILOG)
    parser.add_argument(
        "-f", "--filename", type=Path, metavar="FILE", help="a ModelDeployment whose policy to simulate"
    )
    world = parser.add_argument_group("the traffic")
    world.add_argument("--stable-errors", type=_rate, default=0.005, help="failure rate of stable (0.005 or 0.5%%)")
    world.add_argument("--candidate-errors", type=_rate, help="failure rate of the candidate (default: stable's)")
    world.add_argument("--candidate-refusals", type=_rate, default=0.0, help="share refused that stable answers")
    world.add_argument("--rps", type=_positive, default=50.0, help="requests per second (default 50)")
    world.add_argument("--scrape", type=_duration, default=1.0, help="between two scrapes (default 1s)")
    world.add_argument("--errors", type=_bursts, default=1, metavar="independent|bursty:SIZE")
    world.add_argument("--season", action="store_true", help="failure rates follow the time of the day")
    world.add_argument("--late-onset", type=_span, default=0.0, help="until then the candidate is like stable")
    world.add_argument("--outage", type=_span, metavar="WHEN", help="both fail ten times as often for 5m, from then")
    world.add_argument("--prediction-shift", type=_rate, help="share of scores that moves to the lower half")
    world.add_argument("--stable-slow", type=_rate, help="share of stable's answers that are slow (0.01 or 1%%)")
    world.add_argument("--candidate-slow", type=_rate, help="share of the candidate's (default: stable's)")
    world.add_argument("--agreement", type=_rate, help="share of a shadow's copies that are answered alike (default 1)")
    world.add_argument("--missed-scrapes", type=_rate, default=0.0, help="share of scrapes that fail")
    world.add_argument("--restart-every", type=_duration, help="mean time between restarts of a pod")
    world.add_argument("--history", type=_span, default=1800.0, help="known of stable from before (default 30m)")
    policy = parser.add_argument_group("the policy")
    policy.add_argument("--alpha", type=_rate, help="probability of rolling back a good version (default 0.01)")
    exposure = policy.add_mutually_exclusive_group()
    exposure.add_argument("--weight", type=_positive, help="a fixed weight in percent")
    exposure.add_argument("--risk-budget", type=_positive, help="bad answers that the rollout may cost (default 20)")
    policy.add_argument("--max-weight", type=_positive, help="largest weight before promotion in percent (default 50)")
    policy.add_argument("--margin", type=_margin, help="by how much more the candidate may fail")
    policy.add_argument("--prediction-margin", type=_margin, help="by how much a share of predictions may move")
    policy.add_argument("--latency-margin", type=_margin, help="by how much more of the answers may be slow")
    policy.add_argument("--shadow", action=argparse.BooleanOptionalAction, help="begin with copies of requests")
    policy.add_argument("--retry-on-stable", action=argparse.BooleanOptionalAction, default=None)
    policy.add_argument("--weight-every", type=_duration, help="draw the weight anew, between 1 and 50 %%, so often")
    parser.add_argument("--runs", type=_count, default=500)
    parser.add_argument("--seed", type=_seed, default=1)
    parser.add_argument("--max-time", type=_duration, default=1800.0, help="give up after (default 30m)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw weight and evidence of some of the runs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, and tell."""
    try:
        policy = _policy(args)
        world = _world(args)
    except (SpecUnreadable, ValueError) as error:
        print(f"headgate simulate: {error}", file=sys.stderr)
        return 2
    if args.plot and args.plot.suffix not in PICTURES:
        print(f"headgate simulate: --plot {args.plot}: give a name that ends in {', '.join(PICTURES)}", file=sys.stderr)
        return 2
    started = time.monotonic()

    def progress(now: float, undecided: int) -> None:
        if sys.stderr.isatty() and time.monotonic() - started > 2:
            print(f"\r{now:,.0f} simulated seconds, {undecided} of {args.runs} undecided  ", end="", file=sys.stderr)

    outcome = simulate(world, policy, args.runs, args.seed, args.max_time, args.weight_every, progress)
    summary = summarise(world, policy, outcome)
    if args.plot:
        try:
            plot(outcome, policy, args.plot)
        except ModuleNotFoundError:
            print("headgate simulate: --plot needs matplotlib: pip install 'headgate[plot]'", file=sys.stderr)
            return 2
        except (OSError, ValueError) as error:
            print(f"headgate simulate: can't draw {args.plot}: {error}", file=sys.stderr)
            return 2
    print(json.dumps(summary) if args.json else as_table(summary))
    return 0


def _policy(args: argparse.Namespace) -> Policy:
    policy = policy_of(read_spec(args.filename)) if args.filename else Policy()
    if args.weight is not None:
        margin = policy.margin if args.filename else 0.0
        policy = replace(policy, fixed_weight=_percent(args.weight), margin=margin, risk_budget=None, steps=())
    given = {
        "alpha": args.alpha,
        "risk_budget": args.risk_budget,
        "max_weight": args.max_weight,
        "margin": args.margin,
        "prediction_margin": args.prediction_margin,
        "retry_on_stable": args.retry_on_stable,
    }
    policy = replace(policy, **{name: value for name, value in given.items() if value is not None})
    if args.latency_margin is not None:
        policy = replace(policy, margins={**policy.margins, LATENCY.name: args.latency_margin})
    if args.shadow is not None:
        policy = replace(policy, shadow=(policy.shadow or ShadowPolicy()) if args.shadow else None)
    if args.agreement is not None and policy.shadow is None:
        raise ValueError("--agreement is of a shadow: add --shadow, or a manifest that asks for one")
    if args.candidate_slow is not None and args.stable_slow is None:
        raise ValueError("--candidate-slow needs --stable-slow: slow answers are compared with stable's")
    if not 0 < policy.alpha < 1:
        raise ValueError(f"--alpha {policy.alpha:g}: must be above 0 and below 1")
    if policy.ramps and not policy.margin:
        raise ValueError("--margin 0 lets no candidate pass: give a margin, or ask for a fixed --weight")
    if args.prediction_shift is not None and not policy.prediction_margin:
        raise ValueError("--prediction-margin 0 lets no candidate pass")
    _percent(policy.max_weight)
    return policy


def _world(args: argparse.Namespace) -> World:
    if args.prediction_shift is not None and args.prediction_shift > 0.5:
        raise ValueError(f"--prediction-shift {args.prediction_shift:g}: at most half of the scores can move")
    if args.max_time < args.scrape:
        raise ValueError(f"--max-time is shorter than --scrape ({args.scrape:g}s)")
    candidate_slow = args.stable_slow if args.candidate_slow is None else args.candidate_slow
    candidate = args.stable_errors if args.candidate_errors is None else args.candidate_errors
    return World(
        stable_errors=args.stable_errors,
        candidate_errors=candidate,
        candidate_refusals=args.candidate_refusals,
        rps=args.rps,
        scrape=args.scrape,
        burst=args.errors,
        season=args.season,
        outage_at=args.outage,
        late_onset=args.late_onset,
        missed_scrapes=args.missed_scrapes,
        restart_every=args.restart_every,
        history=args.history,
        prediction_shift=args.prediction_shift,
        bad={} if args.stable_slow is None else {LATENCY.name: (args.stable_slow, candidate_slow)},
        agreement=1.0 if args.agreement is None else args.agreement,
    )


def _percent(weight: float) -> float:
    if not 0 < weight <= 100:
        raise ValueError(f"a weight of {weight:g} %: must be above 0 and at most 100")
    return weight


def _argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """What argparse tells of a wrong value is then in our words."""

    def checked(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _share(text: str) -> float:
    value = fraction(text) if text.endswith("%") else _number(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text} is no share between 0 and 1 (or 0% and 100%)")
    return value


_rate = _argument(_share)


@_argument
def _margin(text: str) -> float:
    value = _share(text)
    if value > MOST_MARGIN:
        raise ValueError(f"{text} is a margin of more than {MOST_MARGIN:.0%}, which a ModelDeployment can't have")
    return value


@_argument
def _positive(text: str) -> float:
    value = _number(text.removesuffix("%"))
    if not 0 < value <= 1e6:
        raise ValueError(f"{text} is not above 0 and at most a million")
    return value


@_argument
def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise ValueError(f"{text} is no whole number between 1 and 1000000")
    return int(text)


@_argument
def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text} is no whole number from 0 on")
    return int(text)


@_argument
def _duration(text: str) -> float:
    value = seconds(text)
    if not 0 < value <= 30 * 86400:
        raise ValueError(f"{text} is not between 1ms and 30 days")
    return value


@_argument
def _span(text: str) -> float:
    value = seconds(text)
    if value > 30 * 86400:
        raise ValueError(f"{text} is more than 30 days")
    return value


@_argument
def _bursts(text: str) -> int:
    if text == "independent":
        return 1
    found = re.fullmatch(r"bursty:([1-9][0-9]{0,5})", text)
    if not found:
        raise ValueError(f"{text} is neither independent nor bursty:SIZE, such as bursty:5")
    return int(found.group(1))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
