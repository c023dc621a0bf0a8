"""`headgate drift`: has the data of a file moved away from a profile? Offline, with the tests of the operator.

0: no drift; 1: drift; 2: the question was wrong, or there are too few rows to answer it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headgate.api.spec import Drift as DriftSpec
from headgate.core.statistics import distances
from headgate.core.statistics.drift import FIRST_LOOK, look
from headgate_cli.drift_verdicts import DRIFT, TOO_FEW, Judged

if TYPE_CHECKING:
    from headgate_serving.monitor.profile import Feature

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_TOLERANCE = DriftSpec().tolerance


def add_parser(subparsers: "Subparsers") -> None:
    """Add the subcommand; `run` is what it does."""
    parser = subparsers.add_parser("drift", help="compare the rows of a file with a profile")
    parser.add_argument("--profile", required=True, type=Path, help="profile.json, of headgate profile")
    parser.add_argument("--data", required=True, type=Path, help="rows, .csv or .parquet")
    parser.add_argument("--by", metavar="N|COLUMN", help="windows of N rows, or one for each value of a column")
    parser.add_argument(
        "--every", metavar="7d", help="windows of 30m, 12h, 7d, 2w … by the times in the column of --by"
    )
    parser.add_argument("--tolerance", default=str(_TOLERANCE), help=f"distance that is no drift ({_TOLERANCE})")
    parser.add_argument("--verbose", action="store_true", help="a line for each window")
    parser.add_argument("--json", action="store_true", help="all windows, as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count the file's rows in the profile's bins, judge, and print."""
    from headgate_cli import drift_table
    from headgate_serving.errors import HeadgateServingError

    try:
        names, judged = judge(args)
    except (HeadgateServingError, OSError, ValueError) as error:
        print(f"headgate drift: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(_as_json(args, names, judged)) if args.json else drift_table.text(names, judged, args.verbose))
    verdicts = {one.verdict for one in judged}
    if verdicts == {TOO_FEW}:
        print(
            f"headgate drift: {args.data} has too few rows to tell: a window needs {FIRST_LOOK}; take larger windows, "
            "or more rows",
            file=sys.stderr,
        )
        return 2
    return 1 if DRIFT in verdicts else 0


def judge(args: argparse.Namespace) -> tuple[tuple[str, ...], list[Judged]]:
    """The names of the windows, and the features in the profile's order. Raises where the question is wrong."""
    from headgate_serving.authoring.table import read_table, values_for
    from headgate_serving.authoring.windows import windows_of
    from headgate_serving.errors import ProfileInvalid
    from headgate_serving.monitor.bins import counts_by_window
    from headgate_serving.monitor.profile import read_profile

    tolerance = _tolerance(args.tolerance)
    try:
        profile = read_profile(args.profile.read_bytes())
    except ProfileInvalid as error:
        raise ProfileInvalid(f"{args.profile}: {error}") from error
    features = [f for f in profile.features if f.name != args.by]
    if not features:
        raise ProfileInvalid(f"{args.profile} has no features to compare; write it anew with: headgate profile")
    table = read_table(args.data)
    there = dict.fromkeys(table.column_names)
    if lacking := [f.name for f in features if f.name not in there]:
        raise ProfileInvalid(
            f"{args.data} lacks the profile's {', '.join(lacking)}; its columns are {', '.join(there)}"
        )
    windows = windows_of(table, args.by, args.every)
    judged = []
    for feature in features:
        values = values_for(feature.bins, table, feature.name)
        counts = counts_by_window(feature.bins, values, windows.of_row, len(windows.names))
        judged.append(_judged(feature, counts.astype(np.float64), tolerance, len(features)))
    return windows.names, judged


def _judged(feature: "Feature", counts: distances.Floats, tolerance: float, features: int) -> Judged:
    from headgate_serving.errors import ProfileInvalid

    reference = np.array(feature.counts, np.float64)
    if not reference.sum():
        raise ProfileInvalid(f"the profile counts no rows of {feature.name!r}; write it anew with: headgate profile")
    labels = feature.bins.labels()
    outside = [at for at, label in enumerate(labels) if label in ("below", "above", "unseen")]
    categorical = "unseen" in labels
    return Judged(
        feature.name,
        "categorical" if categorical else "numeric",
        counts,
        counts[:, -1],
        counts[:, outside].sum(axis=1),
        distances.population_stability_index(counts, reference),
        distances.jensen_shannon(counts, reference),
        look(counts, reference, categorical, tolerance, features),
    )


def _tolerance(written: str) -> float:
    try:
        tolerance = float(written)
    except ValueError:
        tolerance = np.nan
    if not 0 < tolerance < 1:
        raise ValueError(f"--tolerance {written}: write a distance between 0 and 1, such as 0.1")
    return tolerance


def _as_json(args: argparse.Namespace, names: tuple[str, ...], judged: list[Judged]) -> dict[str, Any]:
    return {
        "profile": str(args.profile),
        "data": str(args.data),
        "tolerance": float(args.tolerance),
        "drift": any(one.verdict == DRIFT for one in judged),
        "features": [
            {
                "feature": one.name,
                "kind": one.kind,
                "verdict": one.verdict,
                "firstAlarm": names[one.alarms[0]] if one.alarms else None,
                "alarms": len(one.alarms),
                "windows": [_window(one, at, name) for at, name in enumerate(names)],
            }
            for one in judged
        ],
    }


def _window(one: Judged, at: int, name: str) -> dict[str, Any]:
    windows = one.windows
    evidence = float(windows.evidence[at])
    return {
        "window": name,
        "rows": int(windows.rows[at]),
        "missing": int(one.missing[at]),
        "unseen": int(one.unseen[at]),
        "ks": round(float(windows.distance[at]), 6),
        "psi": round(float(one.psi[at]), 6),
        "js": round(float(one.js[at]), 6),
        "limit": round(float(windows.limit[at]), 6),
        "logEvidence": round(evidence, 4) if np.isfinite(evidence) else None,
        "verdict": one.verdicts[at],
    }
