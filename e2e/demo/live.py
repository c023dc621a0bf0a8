"""Draws a moment of the demo: as a panel, or as one line. Pure; `screen.py` puts it on the terminal."""

from __future__ import annotations

import math

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .reading import Test, View
from .recording import Recording

# Also the report's colours.
COLOURS = {"v1": "#7d8da6", "v2": "#2a9d8f", "v3": "#e76f51", "v4": "#9d4edd"}
OTHER = "#999999"
FAILED = "#d00000"
PHASE_STYLES = {"Stable": "green", "RolledBack": "red", "RollingBack": "red"}
# Everything fits into eighty columns.
BAR = 12
SAFE = math.log(20)
LAST_EVENTS = 4


def colour(version: str) -> str:
    """The same for a version everywhere."""
    return COLOURS.get(version, OTHER)


def line(view: View, recording: Recording) -> str:
    """Everything in one line."""
    weights = " ".join(f"{version}:{weight:g}%" for version, weight in view.weights.items())
    totals = recording.load.get("totals", {})
    clients = f"clients {totals['ok']:,} good, {totals['failed']:,} failed" if totals else "no clients yet"
    rollout = f"{view.rollout_version} {view.candidate_requests:,} requests" if view.weights else ""
    evidence = f"ln E {_e(view.combined)} of {_e(view.threshold)}" if view.combined is not None else ""
    return " · ".join(part for part in (f"{view.phase:<11}", weights, rollout, evidence, clients) if part)


def panel(title: str, view: View, recording: Recording) -> RenderableType:
    """The whole picture."""
    phase = Text(view.phase, style=f"bold {PHASE_STYLES.get(view.phase, 'yellow')}")
    head = Text.assemble((f"{title}   ", "bold"), phase, f"   {view.message if view.message != '-' else ''}")
    parts: list[RenderableType] = [head, Text(), _versions(view, recording), Text()]
    if view.combined is not None or view.errors.harm is not None:
        parts += [_evidence(view), Text()]
    return Panel(Group(*parts, _clients(recording), _events(recording)), title="headgate · census", border_style="dim")


def _versions(view: View, recording: Recording) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for name, justify in (("version", "left"), ("role", "left"), ("weight", "left"), ("", "right"), ("ready", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("requests\nseen", justify="right", no_wrap=True)
    table.add_column("answers\ngiven", justify="right", no_wrap=True)
    answers = _answers(recording)
    for version in sorted({*recording.attempts, *view.weights, view.stable, view.candidate} - {"-"}):
        role = "stable" if version == view.stable else "candidate" if version == view.candidate else ""
        weight = view.weights.get(version, 0.0)
        table.add_row(
            Text(version, style=f"bold {colour(version)}"),
            role,
            bar(weight / 100, colour(version)),
            f"{weight:g} %" if role else "",
            view.ready.get(version, "") if role else "",
            f"{recording.attempts.get(version, 0):,.0f}",
            f"{answers.get(version, 0):,}",
        )
    return table


def _answers(recording: Recording) -> dict[str, int]:
    """Good answers that clients got, by the version that gave them."""
    revisions = recording.load.get("revisions", {})
    return {recording.versions.get(name, name): int(outcomes["ok"]) for name, outcomes in revisions.items()}


def _evidence(view: View) -> Table:
    threshold = view.threshold or math.log(100)
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    rows: list[tuple[str, float | None, float, str, str]] = [
        ("harm, all together", view.combined, threshold, FAILED, f"out at {_e(threshold)} · budget {view.budget}"),
        ("  errors", view.errors.harm, threshold, FAILED, view.errors.text),
        ("  predictions", view.predictions.harm, threshold, FAILED, view.predictions.text),
        ("no harm, errors", view.errors.safe, SAFE, COLOURS["v2"], _verdict(view.errors)),
        ("no harm, predictions", view.predictions.safe, SAFE, COLOURS["v2"], _verdict(view.predictions)),
    ]
    for name, value, full, style, text in rows:
        table.add_row(name, bar((value or 0.0) / full, style), f"ln E {_e(value)}", Text(text, style="dim"))
    return table


def _verdict(test: Test) -> str:
    return f"enough at {_e(SAFE)} · {test.verdict}"


def _clients(recording: Recording) -> Text:
    load = recording.load
    if not load:
        return Text("no clients yet", style="dim")
    totals, latency = load.get("totals", {}), load.get("latency_ms", {})
    failed = int(totals.get("failed", 0))
    return Text.assemble(
        ("clients  ", "bold"),
        f"{totals.get('ok', 0):,} good answers   ",
        (f"{failed:,} failed", "bold green" if failed == 0 else "bold red"),
        f"   {totals.get('late', 0):,} late   p50 {latency.get('p50', 0):g} ms   p99 {latency.get('p99', 0):g} ms",
    )


def _events(recording: Recording) -> Text:
    text = Text()
    for note in recording.notes[-LAST_EVENTS:]:
        style = "red" if note.type == "Warning" else "green"
        text.append(f"\n{note.time[11:19]} ", style="dim")
        text.append(f"{note.reason} ", style=style)
        text.append(note.message[:160])
    return text


def bar(share: float, style: str, width: int = BAR) -> Text:
    """A bar in eighths of a character."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text.assemble((drawn, style), ("·" * (width - len(drawn)), "dim"))


def _e(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
