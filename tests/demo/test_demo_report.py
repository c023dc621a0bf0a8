"""From a status to a view, from a recording to claims, a table and a page."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from demo import live, plots, report, summary
from demo.claims import came_out_right, claims
from demo.reading import View, view_of
from demo.recording import Recording

STATUS: dict[str, Any] = {
    "phase": "Canary",
    "observedGeneration": 2,
    "stable": {"revision": "c-1", "version": "v1", "ready": 2, "replicas": 2},
    "candidate": {"revision": "c-2", "version": "v2", "ready": 1, "replicas": 2},
    "traffic": [
        {"revision": "c-1", "role": "stable", "weight": 90.5},
        {"revision": "c-2", "role": "candidate", "weight": 9.5},
    ],
    "rollout": {
        "revision": "c-2",
        "version": "v2",
        "phase": "Canary",
        "candidateRequests": 61,
        "message": "gets traffic",
        "evidence": {
            "logHarm": 1.25,
            "threshold": 4.6,
            "signals": [
                {
                    **{"name": "errors", "logHarm": 2.3, "logSafe": -0.3, "verdict": "Inconclusive"},
                    **{"summary": "3 of 61 attempts on the candidate failed, 0 of 1549 on stable"},
                },
                {"name": "predictions", "logHarm": -0.4, "logSafe": 1.1},
            ],
        },
        "budget": {"total": 20, "spent": 3},
    },
    "history": [
        {
            **{"time": "2026-11-21T08:00:00Z", "version": "v1", "revision": "c-1", "decision": "Live"},
            **{"reason": "FirstVersion", "message": "it is ready", "seconds": 0},
        }
    ],
}


def seen(status: dict[str, Any] | None = None) -> View:
    return view_of({"metadata": {"generation": 2}, "status": STATUS if status is None else status})


def printed(thing: Any, width: int = 120) -> str:
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - until the end
    console.print(thing)
    console.file.close()
    return console.export_text()


def test_a_status_is_read_by_version() -> None:
    view = seen()
    assert (view.phase, view.stable, view.candidate, view.rollout_version) == ("Canary", "v1", "v2", "v2")
    assert view.weights == {"v1": 90.5, "v2": 9.5}
    assert view.ready == {"v1": "2/2", "v2": "1/2"}
    assert (view.combined, view.threshold, view.errors.harm, view.predictions.safe) == (1.25, 4.6, 2.3, 1.1)
    assert view.errors.text == "3 of 61 attempts on the candidate failed, 0 of 1549 on stable"
    assert view.predictions.text == "no answers yet"
    assert view.budget == "3 of 20"
    decision = view.decision_about("v1")
    assert decision and decision.decision == "Live"
    assert view.decision_about("v2") is None


@pytest.mark.parametrize(
    "resource",
    [
        None,
        {},
        {"status": None},
        {"status": {"stable": None, "traffic": None, "history": None, "rollout": {"evidence": None, "budget": None}}},
        {
            "status": {
                "rollout": {"evidence": {"signals": [{"name": "errors", "logHarm": "?"}, 7]}, "candidateRequests": None}
            }
        },
        {"status": {"history": [{}], "traffic": [{}]}},
    ],
)
def test_what_is_missing_is_a_dash_and_no_error(resource: dict[str, Any] | None) -> None:
    view = view_of(resource)
    assert view.phase == "-"
    printed(live.panel("title", view, Recording()))
    live.line(view, Recording())


def test_every_field_of_a_status_may_be_missing() -> None:
    for name in STATUS:
        view = seen({key: value for key, value in STATUS.items() if key != name})
        printed(live.panel("title", view, Recording()))


def test_the_panel_shows_phase_weight_evidence_and_failed_answers() -> None:
    recording = Recording(versions=dict(seen().versions), attempts={"v1": 1549.0, "v2": 61.0})
    recording.load = {
        "totals": {"ok": 1606, "failed": 4, "late": 1},
        "latency_ms": {"p50": 3.1, "p99": 9.9},
        "revisions": {"c-1": {"ok": 1548}, "c-2": {"ok": 58}},
    }
    text = printed(live.panel("v2: a better model", seen(), recording), width=80)
    assert "…" not in text
    for part in ("Canary", "90.5 %", "9.5 %", "ln E 1.2", "3 of 61", "1,606 good answers", "4 failed", "1,549"):
        assert part in text
    assert "4 failed" in live.line(seen(), recording)


@pytest.mark.parametrize(("share", "length"), [(-1, 0), (0, 0), (0.5, 6), (1, 12), (7, 12)])
def test_a_bar_stays_inside_of_its_box(share: float, length: int) -> None:
    drawn = live.bar(share, "red").plain
    assert len(drawn) == live.BAR
    assert drawn.count("█") == length


def test_a_good_run_comes_out_right(recorded: Recording) -> None:
    assert [claim.text for claim in claims(recorded) if not claim.held] == []
    assert came_out_right(recorded)


def spoilt(recording: Recording, how: str) -> None:
    acts = {act.version: act for act in recording.acts}
    match how:
        case "v1 goes live":
            recording.acts.remove(acts["v1"])
        case "v2 is promoted":
            recording.acts[1] = replace(acts["v2"], outcome="RolledBack")
        case "v2 is promoted without a restart of any serving or router pod":
            recording.acts[1] = replace(acts["v2"], pods_after=dict(list(acts["v2"].pods_after.items())[1:]))
        case "v3 is rolled back":
            recording.acts[2] = replace(acts["v3"], outcome="TimedOut")
        case "v4 is rolled back":
            recording.acts[3] = replace(acts["v4"], outcome="Promoted")
        case "v3 gets at most 150 requests":
            recording.attempts["v3"] = 151
        case "v4 gets at most 1,500 requests":
            recording.acts[3] = replace(acts["v4"], candidate_requests=1501)
        case "v3 goes because of its errors":
            last = max(tick.time for tick in recording.ticks if tick.time <= acts["v3"].ended)
            recording.ticks = [replace(t, errors=-1.0) if t.time == last else t for t in recording.ticks]
        case "v4 goes because of its predictions":
            last = max(tick.time for tick in recording.ticks if tick.time <= acts["v4"].ended)
            recording.ticks = [replace(t, predictions=-9.0) if t.time == last else t for t in recording.ticks]
        case "clients see 0 failed answers through v2, v3 and v4 together":
            recording.seconds[int(acts["v3"].applied) + 5]["failed"] += 1
        case "clients really send 50 requests a second":
            recording.seconds = {at: second for at, second in recording.seconds.items() if at % 5}
        case _:
            raise AssertionError(how)


CLAIMS = (
    "v1 goes live",
    "v2 is promoted",
    "v2 is promoted without a restart of any serving or router pod",
    "v3 is rolled back",
    "v4 is rolled back",
    "v3 gets at most 150 requests",
    "v4 gets at most 1,500 requests",
    "v3 goes because of its errors",
    "v4 goes because of its predictions",
    "clients see 0 failed answers through v2, v3 and v4 together",
    "clients really send 50 requests a second",
)


def test_these_are_all_claims(recorded: Recording) -> None:
    assert tuple(claim.text for claim in claims(recorded)) == CLAIMS


@pytest.mark.parametrize("text", CLAIMS)
def test_each_claim_can_fail_and_then_the_run_is_wrong(recorded: Recording, text: str) -> None:
    spoilt(recorded, text)
    assert text in [claim.text for claim in claims(recorded) if not claim.held]
    assert not came_out_right(recorded)


def test_a_restarted_container_is_a_restart(recorded: Recording) -> None:
    recorded.acts[1] = replace(recorded.acts[1], restarts=1)
    assert not came_out_right(recorded)


def test_a_run_that_never_began_is_wrong_and_can_be_reported(tmp_path: Path) -> None:
    empty = Recording(started=1.0, ended=2.0)
    assert not any(claim.held for claim in claims(empty))
    page = report.write(empty, tmp_path).read_text()
    assert "did not come out right" in page


def test_the_rows_say_what_each_version_cost(recorded: Recording) -> None:
    rows = {row.version: row for row in summary.rows(recorded)}
    assert list(rows) == ["v1", "v2", "v3", "v4"]
    assert all(row.good and row.failed_answers == 0 for row in rows.values())
    assert 0 < rows["v3"].exposed <= 150
    assert rows["v2"].exposed > 500
    assert "attempts on the candidate failed" in rows["v3"].why
    assert "predictions differ" in rows["v4"].why
    assert all(row.total >= row.decided_after for row in rows.values())


def test_the_terminal_report_fits_into_eighty_columns(recorded: Recording) -> None:
    console = Console(width=80, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - until the end
    report.show(recorded, console)
    console.file.close()
    text = console.export_text()
    assert "1,686" in text
    assert "…" not in text
    assert len(re.findall("✔", text)) == len(CLAIMS)


def test_the_page_needs_nothing_else(recorded: Recording, tmp_path: Path) -> None:
    page = report.write(recorded, tmp_path).read_text()
    assert "The story came out right" in page
    assert page.count("<svg") == 3
    assert re.findall(r'(?:src|href)="[^#].*?"', page) == []
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<metadata>.*?</metadata>', "", page, flags=re.DOTALL)
    assert "$" not in page


def test_what_a_status_says_is_escaped_in_the_page(recorded: Recording) -> None:
    recorded.acts[2] = replace(recorded.acts[2], message="<script>alert(1)</script>")
    assert "<script>" not in report.as_html(recorded)


def test_pictures_are_well_formed_and_equal_for_equal_runs(recorded: Recording) -> None:
    for draw in (plots.weights, plots.evidence, plots.outcomes):
        drawn = draw(recorded)
        ElementTree.fromstring(drawn)
        assert drawn == draw(recorded)


def test_a_report_can_be_made_again_from_its_recording(recorded: Recording, tmp_path: Path) -> None:
    report.write(recorded, tmp_path)
    again = report.read(tmp_path / "report.json")
    assert again.to_json() == recorded.to_json()
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["right"] is True
    assert len(data["rows"]) == 4
