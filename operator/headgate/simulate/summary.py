"""What came out of a simulation: one object for programs, a table for people, a picture."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from headgate.core.signals import SIGNALS
from headgate.core.signals.evidence import threshold
from headgate.core.statistics.difference import Floats, bet_at_most
from headgate.simulate.policy import Policy
from headgate.simulate.rollout import BUDGET_SPENT, HARMFUL, PROMOTED, UNDECIDED, Outcome
from headgate.simulate.world import World

MISSED = 0.05
"""Wald's bound is for a test that misses this share of the bad candidates."""

ENOUGH = 0.95
"""Share of rollouts that must have been rolled back for their mean to be compared with the bound."""


def wald_bound(stable: float, candidate: float, weight: float, alpha: float, margin: float = 0.0) -> float | None:
    """The least mean number of candidate requests to a rollback that any test can have; None for a good candidate.

    Wald (1945): of all sequential tests that roll back at most alpha of the good and miss at most 5 % of the bad ones,
    none needs fewer than [(1-b) ln((1-b)/alpha) + b ln(b/(1-alpha))] / D on average, with D the divergence of the two
    rates from the nearest pair of the null for one candidate request and its (1-w)/w stable ones. `weight` in percent.
    """
    if candidate - stable <= margin:
        return None
    w = weight / 100
    if w >= 1:
        return None
    bet = bet_at_most(w, 1 - w, candidate, stable, margin)
    divergence = float(bet.constant + bet.candidate * w * candidate + bet.stable * (1 - w) * stable) / w
    needed = (1 - MISSED) * math.log((1 - MISSED) / alpha) + MISSED * math.log(MISSED / (1 - alpha))
    return needed / divergence


def summarise(world: World, policy: Policy, outcome: Outcome) -> dict[str, Any]:
    """Shares of all rollouts; requests, seconds and bad answers up to each one's end."""
    decision = outcome.decision
    rolled_back = (decision == HARMFUL) | (decision == BUDGET_SPENT)
    bound = None
    if policy.fixed_weight is not None:
        bound = wald_bound(
            world.stable_errors,
            world.candidate_failing(policy.retry_on_stable),
            policy.fixed_weight,
            policy.alpha,
            policy.margin,
        )
    ratio = None
    if bound and np.mean(rolled_back) >= ENOUGH:
        ratio = round(float(np.mean(outcome.requests[rolled_back])) / bound, 3)
    return {
        "runs": len(decision),
        "rolled_back": _share(rolled_back),
        "promoted": _share(decision == PROMOTED),
        "undecided": _share(decision == UNDECIDED),
        "rolled_back_by": {
            **{signal.name: _share((decision == HARMFUL) & (outcome.carrier == signal.name)) for signal in SIGNALS},
            "budget": _share(decision == BUDGET_SPENT),
        },
        "candidate_requests": _spread(outcome.requests),
        "seconds": _spread(outcome.seconds),
        "bad_answers_seen": _spread(outcome.bad_answers),
        "wald_bound": round(bound, 2) if bound else None,
        "ratio_to_bound": ratio,
    }


def as_table(summary: dict[str, Any]) -> str:
    """The same for people."""
    by = summary["rolled_back_by"]
    reasons = ", ".join(f"{100 * share:.3g} % {name}" for name, share in by.items() if share)
    rows = [
        ("rolled back", f"{100 * summary['rolled_back']:.1f} %" + (f" ({reasons})" if reasons else "")),
        ("promoted", f"{100 * summary['promoted']:.1f} %"),
        ("undecided", f"{100 * summary['undecided']:.1f} %"),
    ]
    lines = [f"{name:<22}{value}" for name, value in rows]
    lines.append(f"\n{'until then':<22}{'mean':>10}{'median':>10}{'95 %':>10}")
    for key in ("candidate_requests", "seconds", "bad_answers_seen"):
        spread = summary[key]
        lines.append(f"{key.replace('_', ' '):<22}" + "".join(f"{spread[k]:>10,.1f}" for k in spread))
    if summary["wald_bound"]:
        ratio = summary["ratio_to_bound"]
        comparison = f"the mean is {ratio:.2f} times it" if ratio else "too few rollouts were rolled back to compare"
        lines.append(f"\nno test can do with fewer than {summary['wald_bound']:,.0f} candidate requests; {comparison}")
    return "\n".join(lines)


def plot(outcome: Outcome, policy: Policy, path: Path) -> None:
    """Weight and evidence of the first rollouts. The form follows the file's ending (.png, .svg, .pdf)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    colours = {UNDECIDED: "grey", PROMOTED: "tab:green", HARMFUL: "tab:red", BUDGET_SPENT: "tab:orange"}
    names = {
        UNDECIDED: "undecided",
        PROMOTED: "promoted",
        HARMFUL: "rolled back on evidence",
        BUDGET_SPENT: "rolled back, budget spent",
    }
    figure, (top, bottom) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6), constrained_layout=True)
    for course in outcome.courses:
        colour, name = colours[course.outcome], names[course.outcome]
        top.step(course.times, course.weights, where="pre", color=colour, alpha=0.7, label=name)
        bottom.plot(course.times, course.evidence, color=colour, alpha=0.7)
    bottom.axhline(threshold(policy.alpha) / math.log(10), color="black", linewidth=1, linestyle="--")
    top.set_ylabel("candidate's weight, %")
    bottom.set_ylabel("evidence of harm, log10")
    bottom.set_xlabel("seconds")
    handles, labels = top.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    top.legend(list(unique.values()), list(unique), loc="upper left")
    figure.savefig(path)
    pyplot.close(figure)


def _share(chosen: Floats) -> float:
    return round(float(np.mean(chosen)), 4)


def _spread(values: Floats) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 2),
        "median": round(float(np.median(values)), 2),
        "p95": round(float(np.percentile(values, 95)), 2),
    }
