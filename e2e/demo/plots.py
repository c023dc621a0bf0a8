"""Three pictures of a run as inline SVG: weights, evidence, and what clients got. `report.py` puts them in its page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .live import FAILED, SAFE, colour
from .recording import Recording, Tick

SIZE = (10.4, 2.7)
INK = "#55606e"
# Text stays text, in the page's own font; equal runs give equal files.
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headgate",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#c4cad3",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e8ebef",
    "axes.axisbelow": True,
}
FLOOR = -2.0


def weights(recording: Recording) -> str:
    """Share of the traffic of each version over time."""
    figure, axes = _figure(recording)
    ticks = recording.ticks
    times = _times(recording, ticks)
    for version in _versions(recording):
        values = [tick.weights.get(version, math.nan) for tick in ticks]
        axes.plot(times, values, color=colour(version), linewidth=2, drawstyle="steps-post")
    axes.set_ylim(-3, 108)
    axes.set_ylabel("weight, %")
    return _svg(figure, axes)


def evidence(recording: Recording) -> str:
    """E-values of each rollout: for harm against the threshold, and for its absence."""
    figure, axes = _figure(recording)
    highest = 0.0
    for act in recording.acts[1:]:
        ticks = [tick for tick in recording.ticks if act.applied <= tick.time <= act.ended]
        times = _times(recording, ticks)
        harm = [_clipped(tick.combined) for tick in ticks]
        safe = [_clipped(_least(tick.errors_safe, tick.predictions_safe)) for tick in ticks]
        axes.plot(times, harm, color=colour(act.version), linewidth=2)
        axes.plot(times, safe, color=colour(act.version), linewidth=1.2, linestyle=(0, (1, 1.5)))
        highest = max([highest, *(value for value in harm + safe if not math.isnan(value))])
    threshold = recording.threshold() or math.log(100)
    top = max(highest, threshold) * 1.1
    for value, name, shade in ((threshold, "harm: out", FAILED), (SAFE, "no harm: promoted", colour("v2"))):
        axes.axhline(value, color=shade, linewidth=1, linestyle=(0, (5, 3)))
        axes.annotate(name, (0.003, value), xycoords=("axes fraction", "data"), va="bottom", color=shade, fontsize=9)
    axes.set_ylim(FLOOR * 1.1, top)
    axes.set_yticks([math.log(e) for e in (1, 10, 100, 1000, 1e5, 1e7, 1e9) if math.log(e) < top])
    axes.set_yticklabels([_odds(e) for e in (1, 10, 100, 1000, 1e5, 1e7, 1e9) if math.log(e) < top])
    axes.set_ylabel("evidence (E)")
    return _svg(figure, axes)


def outcomes(recording: Recording) -> str:
    """Answers that clients got, each second, by the version that gave them; failed ones on top."""
    figure, axes = _figure(recording)
    seconds = sorted(recording.seconds)
    times = [second + 0.5 - recording.started for second in seconds]
    by_version = {version: [0.0] * len(seconds) for version in _versions(recording)}
    failed = [float(recording.seconds[second]["failed"]) for second in seconds]
    for place, second in enumerate(seconds):
        for revision, counts in recording.seconds[second]["revisions"].items():
            version = recording.versions.get(revision)
            if version in by_version:
                by_version[version][place] += counts["ok"]
    if seconds:
        shades = [colour(version) for version in by_version]
        axes.stackplot(times, [*by_version.values(), failed], colors=[*shades, FAILED], step="mid", linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("answers each second")
    return _svg(figure, axes)


def _figure(recording: Recording) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.add_subplot()
    # The same in all pictures, so that their seconds lie below each other.
    figure.subplots_adjust(left=0.07, right=0.995, top=0.9, bottom=0.18)
    axes.set_xlim(0, max(1.0, recording.ended - recording.started))
    for act in recording.acts:
        begin, end = act.applied - recording.started, act.ended - recording.started
        axes.axvspan(begin, end, color=colour(act.version), alpha=0.07, linewidth=0)
        middle = ((begin + end) / 2, 1.02)
        style: Any = {"ha": "center", "va": "bottom", "color": colour(act.version), "fontweight": "bold"}
        axes.annotate(act.version, middle, xycoords=("data", "axes fraction"), **style)
    return figure, axes


def _svg(figure: Figure, axes: Axes) -> str:
    axes.set_xlabel("seconds")
    drawn = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def _versions(recording: Recording) -> list[str]:
    return [act.version for act in recording.acts]


def _times(recording: Recording, ticks: Sequence[Tick]) -> list[float]:
    return [tick.time - recording.started for tick in ticks]


def _least(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else min(one, other)


def _clipped(value: float | None) -> float:
    return math.nan if value is None else max(FLOOR, value)


def _odds(e: float) -> str:
    return f"{e:,.0f}" if e < 1e5 else f"1e{math.log10(e):.0f}"
