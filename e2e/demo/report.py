"""The report of a run: a table on the terminal, one HTML file that needs nothing else, and the recording as JSON.

`story.py` calls `write` and `show` at the end; `python -m demo --report FILE` makes them again from a recording.
"""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from string import Template

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import plots
from .claims import Claim, claims
from .live import colour
from .recording import Recording
from .summary import Row, accuracy, rows

PAGE = Path(__file__).resolve().with_name("report.html")


def write(recording: Recording, folder: Path) -> Path:
    """Write `report.json` and `report.html`; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    found = claims(recording)
    data = {
        "right": all(claim.held for claim in found),
        "claims": [vars(claim) for claim in found],
        "rows": [vars(row) for row in rows(recording)],
        "recording": recording.to_json(),
    }
    (folder / "report.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(as_html(recording), encoding="utf-8")
    return page


def read(place: Path) -> Recording:
    """The recording in a `report.json`."""
    return Recording.from_json(json.loads(place.read_text(encoding="utf-8"))["recording"])


def show(recording: Recording, console: Console) -> None:
    """The table and the claims."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("version", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("applied\nto end", "traffic to\ndecision", "requests\nexposed", "failed answers\nclients saw"):
        table.add_column(name, justify="right", no_wrap=True)
    found = rows(recording)
    for row in found:
        table.add_row(
            Text(row.version, style=f"bold {colour(row.version)}"),
            Text(row.outcome, style="green" if row.good else "red"),
            f"{row.total:.0f} s",
            f"{row.decided_after:.0f} s" if row.decided_after else "-",
            f"{row.exposed:,}" if row.exposed else "-",
            Text(str(row.failed_answers), style="green" if row.failed_answers == 0 else "bold red"),
        )
    console.print(table)
    for row in found:
        told = Text.assemble((f"{row.version}  ", f"bold {colour(row.version)}"), row.why)
        console.print(Padding(told, (0, 0, 0, 2)))
    console.print()
    for claim in claims(recording):
        mark = Text("✔ ", style="green") if claim.held else Text("✘ ", style="bold red")
        console.print(Text.assemble(mark, claim.text, (f"   {claim.found}", "dim")), soft_wrap=True)


def as_html(recording: Recording) -> str:
    """The page."""
    found = claims(recording)
    right = all(claim.held for claim in found)
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        verdict="right" if right else "wrong",
        headline="The story came out right" if right else "The story did not come out right",
        length=_clock(recording.ended - recording.started),
        tiles=_tiles(recording),
        legend=_legend(recording),
        alpha=f"{100 * math.exp(-(recording.threshold() or math.log(100))):.2g} %",
        rows="\n".join(_row(row) for row in rows(recording)),
        weights=plots.weights(recording),
        evidence=plots.evidence(recording),
        outcomes=plots.outcomes(recording),
        claims="\n".join(_claim(claim) for claim in found),
        facts=_facts(recording),
        events="\n".join(
            f"<tr class='{_e(note.type.lower())}'><td>{_e(note.time[11:19])}</td><td>{_e(note.reason)}</td>"
            f"<td>{_e(note.message)}</td></tr>"
            for note in recording.notes
        ),
    )


def _tiles(recording: Recording) -> str:
    begin = recording.act("v2")
    seen = recording.clients(begin.applied if begin else recording.started, recording.ended)
    latency = recording.load.get("latency_ms", {})
    tiles = [
        (f"{seen['failed']:,}", "failed answers that clients saw", "bad" if seen["failed"] else "good"),
        (f"{seen['ok']:,}", "good answers", ""),
        (f"{recording.exposed('v3'):,}", "requests to v3 before it was out", ""),
        (f"{recording.exposed('v4'):,}", "requests to v4 before it was out", ""),
        (f"{latency.get('p99', 0):g} ms", "99th percentile of the latency", ""),
    ]
    return "\n".join(
        f"<div class='tile {kind}'><b>{_e(value)}</b><span>{_e(name)}</span></div>" for value, name, kind in tiles
    )


def _legend(recording: Recording) -> str:
    shades = {act.version: colour(act.version) for act in recording.acts}
    return "".join(f"<b style='color:{shade}'>{_e(name)}</b>" for name, shade in shades.items())


def _row(row: Row) -> str:
    kind = "good" if row.good else "bad"
    decided = f"{row.decided_after:.0f} s" if row.decided_after else "–"
    return (
        f"<tr><th style='color:{colour(row.version)}'>{_e(row.version)}</th><td>{_e(row.what)}</td>"
        f"<td class='{kind}'>{_e(row.outcome)}</td><td class='n'>{row.total:.0f} s</td><td class='n'>{decided}</td>"
        f"<td class='n'>{f'{row.exposed:,}' if row.exposed else '–'}</td>"
        f"<td class='n {'bad' if row.failed_answers else 'good'}'>{row.failed_answers:,}</td>"
        f"<td class='why'>{_e(row.why)}</td></tr>"
    )


def _claim(claim: Claim) -> str:
    kind, mark = ("good", "✔") if claim.held else ("bad", "✘")
    return f"<li class='{kind}'><i>{mark}</i>{_e(claim.text)}<span>{_e(claim.found)}</span></li>"


def _facts(recording: Recording) -> str:
    facts = recording.facts
    live = accuracy(recording)

    def percent(name: str) -> str:
        return f"{100 * facts[name]:.1f} %" if name in facts else "–"

    lines = [
        ("accuracy of v1 and v2 on all rows of 2016 to 2018", f"{percent('accuracy_v1')}, {percent('accuracy_v2')}"),
        ("employed, according to v1, v2 and v4", ", ".join(percent(f"positive_{v}") for v in ("v1", "v2", "v4"))),
        ("largest shift of the scores, v2 against v1", percent("score_shift_v2")),
        ("largest shift of the scores, v4 against v2", percent("score_shift_v4")),
        ("rows on which v3 fails", percent("failing_v3")),
    ]
    lines += [(f"right answers of {version} in this run", f"{100 * share:.1f} %") for version, share in live.items()]
    return "\n".join(f"<tr><td>{_e(name)}</td><td class='n'>{_e(value)}</td></tr>" for name, value in lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _e(text: str) -> str:
    return html.escape(text)
