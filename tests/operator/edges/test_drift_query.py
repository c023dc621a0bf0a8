"""What Prometheus makes of the question for drift: rows of pods that stay, come, go and begin anew."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headgate.edges.promql import gained
from tools.setup import tools

MINUTES = 10
"""Between two samples, and the length of the block that is asked for: from minute 10 to 20."""


def told(pod: str, values: str, bin_: str = "a", feature: str = "age", layout: str = "l1") -> dict[str, Any]:
    """A counter of a pod at minutes 0, 10 and 20."""
    labels = f'feature="{feature}",bin="{bin_}",layout="{layout}",instance="{pod}:1",pod="{pod}"'
    return {"series": f"headgate_feature_bin_total{{{labels}}}", "values": values}


def started(pod: str, values: str) -> dict[str, Any]:
    """When its process began, at the same times."""
    return {"series": f'headgate_start_time_seconds{{instance="{pod}:1",pod="{pod}"}}', "values": values}


def evaluated(folder: Path, series: list[dict[str, Any]], expected: dict[tuple[str, str, str], float]) -> None:
    """Have promtool compare the rows from minute 10 to 20."""
    query = gained(
        "headgate_feature_bin_total",
        "headgate_start_time_seconds",
        {},
        {"layout": "l1"},
        ("feature", "bin", "layout"),
        60 * MINUTES,
    )
    samples = [
        {"labels": f'{{feature="{feature}",bin="{bin_}",layout="{layout}"}}', "value": value}
        for (feature, bin_, layout), value in expected.items()
    ]
    test = {
        "interval": f"{MINUTES}m",
        "input_series": series,
        "promql_expr_test": [{"expr": query, "eval_time": "20m", "exp_samples": samples}],
    }
    place = folder / "drift.yml"
    place.write_text(json.dumps({"rule_files": [], "tests": [test]}))
    program = tools.ensure("prometheus") / "promtool"
    done = subprocess.run([program, "test", "rules", place], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


OLD = "-3600 -3600 -3600"
BIN = ("age", "a", "l1")

STORIES: dict[str, tuple[list[dict[str, Any]], dict[tuple[str, str, str], float]]] = {
    "a pod that stays counts its difference": ([told("p", "7 1000 1050"), started("p", OLD)], {BIN: 50}),
    "pods are added up": (
        [told("p", "0 10 20"), started("p", OLD), told("q", "0 5 6"), started("q", "-90 -90 -90")],
        {BIN: 11},
    ),
    "features and bins are kept apart, and another layout is not asked for": (
        [
            told("p", "0 10 20"),
            told("p", "0 1 4", bin_="b"),
            told("p", "0 1 6", feature="sex"),
            told("p", "0 1 9", layout="l2"),
            started("p", OLD),
        ],
        {BIN: 10, ("age", "b", "l1"): 3, ("sex", "a", "l1"): 5},
    ),
    "a process that began anew counts from 0 in all bins, also where one is higher than before": (
        [told("p", "0 1000 900"), told("p", "0 100 110", bin_="b"), started("p", "-90 -90 700")],
        {BIN: 900, ("age", "b", "l1"): 110},
    ),
    "a pod that came counts from 0": (
        [told("p", "0 10 20"), started("p", OLD), told("q", "_ _ 40"), started("q", "_ _ 700")],
        {BIN: 50},
    ),
    "a pod that went is no drop": (
        [told("p", "0 10 20"), started("p", OLD), told("q", "0 70 stale"), started("q", "-9 -9 stale")],
        {BIN: 10},
    ),
    "a pod that was not scraped at the beginning is left out, as nobody knows when it counted": (
        [told("p", "0 10 20"), started("p", OLD), told("q", "100 stale 500"), started("q", "-9 stale -9")],
        {BIN: 10},
    ),
    "without rows there are zeros": ([told("p", "5 5 5"), started("p", OLD)], {BIN: 0}),
    "without pods there is nothing": ([], {}),
}


@pytest.mark.parametrize("story", STORIES)
def test_rows_are_counted_whole_whatever_pods_do(tmp_path: Path, story: str) -> None:
    evaluated(tmp_path, *STORIES[story])
