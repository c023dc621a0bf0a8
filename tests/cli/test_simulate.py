"""`headgate simulate` as people call it: flags and manifests in, a table or one JSON object out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.core.signals import SIGNALS
from headgate_cli import main
from headgate_cli.manifest_text import write
from manifest_cases import BAD, GOOD, Bad, manifest

KEYS = [
    "runs",
    "rolled_back",
    "promoted",
    "undecided",
    "rolled_back_by",
    "candidate_requests",
    "seconds",
    "bad_answers_seen",
    "wald_bound",
    "ratio_to_bound",
]
SPREAD = ["mean", "median", "p95"]
Simulate = Callable[..., tuple[int, str, str]]
Told = Callable[..., dict[str, Any]]
Written = Callable[..., Path]

QUICK = ["--runs", "20", "--max-time", "20s", "--history", "60s"]


@pytest.fixture
def simulate(capsys: pytest.CaptureFixture[str]) -> Simulate:
    """Exit status, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            status = main(["simulate", *map(str, words)])
        except SystemExit as end:  # argparse
            assert isinstance(end.code, int)
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def told(simulate: Simulate) -> Told:
    """The JSON object of a simulation that goes well."""

    def run(*words: object) -> dict[str, Any]:
        status, out, err = simulate("--json", *words)
        assert (status, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    return run


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A file with these objects."""

    def put(*documents: object) -> Path:
        file = tmp_path / "model.yaml"
        file.write_text("---\n".join(map(write, documents)))
        return file

    return put


def test_the_json_object_has_exactly_these_keys(told: Told) -> None:
    found = told(*QUICK, "--candidate-errors", "50%", "--weight", "10")
    assert list(found) == KEYS
    assert list(found["rolled_back_by"]) == [*(signal.name for signal in SIGNALS), "budget"]
    assert all(list(found[name]) == SPREAD for name in ("candidate_requests", "seconds", "bad_answers_seen"))
    assert (found["runs"], found["rolled_back"], found["promoted"], found["undecided"]) == (20, 1, 0, 0)
    assert found["wald_bound"] == pytest.approx(3.67, abs=0.01)
    assert found["ratio_to_bound"] > 1


def test_without_a_fixed_weight_there_is_no_bound(told: Told) -> None:
    found = told(*QUICK, "--candidate-errors", "1")
    assert list(found) == KEYS
    assert (found["wald_bound"], found["ratio_to_bound"]) == (None, None)
    assert found["seconds"]["p95"] <= 3


def test_a_seed_gives_the_same_object_and_another_one_another(told: Told) -> None:
    words = [*QUICK, "--candidate-errors", "5%", "--errors", "bursty:5", "--seed"]
    assert told(*words, 3) == told(*words, 3) != told(*words, 4)


def test_people_get_a_table(simulate: Simulate) -> None:
    status, out, err = simulate(*QUICK, "--candidate-errors", "50%", "--weight", "10")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "rolled back           100.0 % (100 % errors)"
    assert lines[1:3] == ["promoted              0.0 %", "undecided             0.0 %"]
    assert lines[4].split() == ["until", "then", "mean", "median", "95", "%"]
    assert [line.rsplit(maxsplit=3)[0] for line in lines[5:8]] == ["candidate requests", "seconds", "bad answers seen"]
    assert lines[9].startswith("no test can do with fewer than 4 candidate requests; the mean is ")


def test_the_table_says_when_too_few_were_rolled_back_to_compare(simulate: Simulate) -> None:
    _, out, _ = simulate(*QUICK, "--candidate-errors", "0.7%", "--weight", "10")
    assert out.rstrip().endswith("too few rollouts were rolled back to compare")


def test_a_share_is_a_number_or_a_percentage(told: Told) -> None:
    assert told(*QUICK, "--candidate-errors", "5%") == told(*QUICK, "--candidate-errors", "0.05")


def test_refusals_are_failures_where_stable_answers_and_no_attempts_where_it_is_not_asked(told: Told) -> None:
    words = [*QUICK, "--stable-errors", "0", "--candidate-refusals", "100%"]
    asked, alone = told(*words), told(*words, "--no-retry-on-stable", "--max-time", "20s")
    assert (asked["rolled_back"], asked["rolled_back_by"]["errors"]) == (1, 1)
    assert asked["bad_answers_seen"]["p95"] == 0
    assert (alone["rolled_back"], alone["promoted"]) == (0, 0)
    assert alone["bad_answers_seen"]["mean"] == alone["candidate_requests"]["mean"] > 0


def test_without_more_the_candidate_fails_as_often_as_stable(told: Told) -> None:
    words = [*QUICK, "--stable-errors", "2%"]
    assert told(*words) == told(*words, "--candidate-errors", "2%")


@pytest.mark.parametrize(
    "words",
    [
        ("--season",),
        ("--outage", "5s"),
        ("--late-onset", "5s"),
        ("--missed-scrapes", "30%"),
        ("--restart-every", "5s"),
        ("--prediction-shift", "30%"),
        ("--prediction-shift", "0", "--prediction-margin", "10%"),
        ("--history", "0s"),
        ("--weight-every", "2s"),
        ("--no-retry-on-stable",),
        ("--errors", "bursty:50"),
        ("--scrape", "200ms"),
        ("--rps", "2"),
        ("--risk-budget", "2"),
        ("--max-weight", "1"),
        ("--alpha", "0.2"),
        ("--margin", "5%"),
    ],
)
def test_every_flag_makes_a_difference(words: tuple[str, ...], told: Told) -> None:
    usual = [*QUICK, "--candidate-errors", "10%", "--stable-errors", "2%"]
    assert told(*usual, *words) != told(*usual)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_drawn(ending: str, simulate: Simulate, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"plot.{ending}"
    status, out, err = simulate(*QUICK, "--candidate-errors", "5%", "--plot", file)
    assert (status, err) == (0, "")
    assert out
    assert file.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_the_policy_is_read_from_a_manifest(told: Told, written: Written) -> None:
    words = [*QUICK, "--candidate-errors", "5%"]
    policy = {"alpha": 0.1, "maxWeight": 5, "riskBudget": 7, "margins": {"errors": "1%"}}
    file = written(manifest(("spec.rollout", policy), ("spec.traffic", {"retryOnStable": False})))
    flags = ["--alpha", "0.1", "--max-weight", "5", "--risk-budget", "7", "--margin", "1%", "--no-retry-on-stable"]
    assert told(*words, "-f", file) == told(*words, *flags) != told(*words)


def test_what_a_manifest_leaves_out_is_what_it_is_without_a_manifest(told: Told, written: Written) -> None:
    words = [*QUICK, "--candidate-errors", "5%"]
    assert told(*words, "-f", written(manifest())) == told(*words)


def test_flags_override_the_manifest(told: Told, written: Written) -> None:
    words = [*QUICK, "--candidate-errors", "5%"]
    file = written(manifest(("spec.rollout", {"alpha": 0.1, "riskBudget": 100})))
    assert told(*words, "-f", file, "--alpha", "0.01", "--risk-budget", "20") == told(*words)


def test_a_fixed_weight_takes_the_place_of_a_manifests_ladder_and_keeps_its_margin(
    told: Told, written: Written
) -> None:
    words = [*QUICK, "--candidate-errors", "50%", "--weight", "10"]
    ladder = {"steps": [{"weight": 1, "hold": "1h"}], "margins": {"errors": "1%"}}
    assert told(*words, "-f", written(manifest(("spec.rollout", ladder)))) == told(*words, "--margin", "1%")


def test_the_only_one_in_a_list_is_simulated(told: Told, simulate: Simulate, written: Written) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [manifest(("spec.rollout.alpha", 0.2))]}
    assert told(*QUICK, "-f", written(listed)) == told(*QUICK, "--alpha", "0.2")
    file = written(manifest())
    file.write_text(file.read_text() + "kind: ModelDeployment\n")
    status, _, err = simulate("-f", file)
    assert status == 2
    assert "twice" in err


def test_other_kinds_in_the_file_are_passed_over(told: Told, written: Written) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    assert told(*QUICK, "-f", written(service, manifest(), service)) == told(*QUICK)


@pytest.mark.parametrize("name", GOOD)
def test_every_manifest_that_the_api_server_takes_can_be_simulated(name: str, told: Told, written: Written) -> None:
    assert list(told("-f", written(GOOD[name]), "--runs", "2", "--max-time", "2s", "--history", "10s")) == KEYS


WRONG = {
    "a rate above 1": ("--stable-errors 1.5", "--stable-errors: 1.5 is no share between 0 and 1"),
    "a negative rate": ("--candidate-errors=-0.1", "--candidate-errors: -0.1 is no share"),
    "a rate that is no number": ("--candidate-errors many", "'many' is no number"),
    "not a number": ("--stable-errors nan", "nan is no share"),
    "an infinite rate": ("--stable-errors inf", "inf is no share"),
    "above a hundred percent": ("--stable-errors 101%", "101% is no share"),
    "no percentage": ("--stable-errors x%", "'x%' is no percentage such as 0.5%"),
    "an empty rate": ("--stable-errors=", "'' is no number"),
    "no requests": ("--rps 0", "--rps: 0 is not above 0"),
    "negative requests": ("--rps=-5", "-5 is not above 0"),
    "infinite requests": ("--rps inf", "inf is not above 0"),
    "no scrape interval": ("--scrape 0s", "0s is not between 1ms and 30 days"),
    "a duration without a unit": ("--scrape 1", "'1' is no duration such as 200ms, 90s, 1h30m"),
    "a negative duration": ("--max-time=-1s", "'-1s' is no duration"),
    "a duration that is not a number": ("--max-time nan", "'nan' is no duration"),
    "too long": ("--max-time 721h", "721h is not between"),
    "too long a history": ("--history 721h", "721h is more than 30 days"),
    "shorter than a scrape": ("--max-time 500ms", "--max-time is shorter than --scrape (1s)"),
    "bursts of nothing": ("--errors bursty:0", "bursty:0 is neither independent nor bursty:SIZE"),
    "bursts of some size": ("--errors bursty", "bursty is neither independent nor bursty:SIZE"),
    "half a burst": ("--errors bursty:1.5", "bursty:1.5 is neither"),
    "another kind of errors": ("--errors rare", "rare is neither"),
    "missing more than all": ("--missed-scrapes 2", "2 is no share"),
    "more than half of the scores": ("--prediction-shift 0.6", "at most half of the scores can move"),
    "alpha 0": ("--alpha 0", "--alpha 0: must be above 0 and below 1"),
    "alpha 1": ("--alpha 1", "--alpha 1: must be above 0 and below 1"),
    "weight 0": ("--weight 0", "--weight: 0 is not above 0"),
    "weight 101": ("--weight 101", "a weight of 101 %: must be above 0 and at most 100"),
    "a weight that is not a number": ("--weight nan", "nan is not above 0"),
    "a largest weight of 101": ("--max-weight 101", "a weight of 101 %"),
    "no budget": ("--risk-budget 0", "0 is not above 0"),
    "both": ("--weight 10 --risk-budget 20", "not allowed with argument"),
    "a margin that nothing can pass": ("--margin 0", "--margin 0 lets no candidate pass"),
    "no runs": ("--runs 0", "0 is no whole number between 1 and 1000000"),
    "half a run": ("--runs 1.5", "1.5 is no whole number"),
    "too many runs": ("--runs 1000001", "1000001 is no whole number"),
    "a seed that is no number": ("--seed x", "--seed: x is no whole number"),
    "a negative seed": ("--seed=-1", "--seed: -1 is no whole number"),
    "a margin of everything": ("--margin 1", "--margin: 1 is a margin of more than 50%"),
    "predictions may move anywhere": ("--prediction-margin 60%", "60% is a margin of more than 50%"),
    "predictions may not move": (
        "--prediction-margin 0 --prediction-shift 0",
        "--prediction-margin 0 lets no candidate pass",
    ),
    "a picture of no kind": ("--plot picture", "give a name that ends in .png, .svg, .pdf"),
    "a flag that there is not": ("--canary 5", "unrecognized arguments: --canary 5"),
}


def refused(status: int, out: str, err: str, reason: str) -> None:
    """Exit status 2, nothing on standard output, and one message at the end of what argparse says of usage."""
    assert (status, out) == (2, "")
    *usage, message = err.splitlines()
    assert not usage or usage[0].startswith("usage: ")
    assert reason in message
    assert message.startswith("headgate")
    assert "Traceback" not in err


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_told_in_one_message(name: str, simulate: Simulate) -> None:
    words, reason = WRONG[name]
    refused(*simulate("--json", *words.split()), reason)


def test_a_file_that_is_not_there_is_told(simulate: Simulate, tmp_path: Path) -> None:
    refused(*simulate("-f", tmp_path / "none.yaml"), "No such file")
    refused(*simulate("-f", tmp_path), "Is a directory")


@pytest.mark.parametrize("text", ["a: [", "\tx: 1", "!!python/object:os.system {}"])
def test_a_file_that_is_no_yaml_is_told(text: str, simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(text)
    status, out, err = simulate("-f", file)
    assert (status, out) == (2, "")
    assert err.startswith(f"headgate simulate: {file} can't be read as YAML: ")
    assert "Traceback" not in err


def test_bytes_that_are_no_text_are_told(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_bytes(b"\xff\xfe\x00kind")
    refused(*simulate("-f", file), "can't be read as YAML")


def test_a_file_has_to_hold_one_model_deployment(simulate: Simulate, written: Written) -> None:
    refused(
        *simulate("-f", written(manifest(), manifest())),
        "holds 2 objects of kind ModelDeployment; give a file with one",
    )
    refused(*simulate("-f", written({"kind": "Service"})), "holds 0 objects of kind ModelDeployment")


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_what_the_api_server_refuses_is_not_simulated(case: Bad, simulate: Simulate, written: Written) -> None:
    status, out, err = simulate("-f", written(case.manifest), *QUICK)
    assert (status, out) == (2, "")
    assert err.startswith("headgate simulate: ")
    assert case.field in err
    assert case.reason in err
    assert "Traceback" not in err


def test_a_plot_that_can_not_be_written_is_told(simulate: Simulate, tmp_path: Path) -> None:
    place = tmp_path / "none" / "plot.png"
    refused(*simulate("--json", *QUICK, "--plot", place), f"can't draw {place}")


def test_with_few_requests_a_candidate_that_always_fails_goes_within_its_budget(told: Told) -> None:
    few = ("--rps", "0.05", "--scrape", "5s", "--stable-errors", "0.002", "--runs", "200")
    found = told(*few, "--candidate-errors", "1")
    assert found["rolled_back"] >= 0.99
    assert found["candidate_requests"]["p95"] <= 20


def test_slow_answers_and_a_shadow_can_be_asked_for(told: Told) -> None:
    slow = told(*QUICK, "--stable-slow", "1%", "--candidate-slow", "50%", "--stable-errors", "0")
    assert slow["rolled_back_by"]["latency"] == 1
    shadow = told(*QUICK, "--shadow", "--agreement", "50%")
    assert (shadow["rolled_back_by"]["shadow"], shadow["candidate_requests"]["mean"]) == (1, 0)


@pytest.mark.parametrize("words", [("--agreement", "90%"), ("--candidate-slow", "10%")])
def test_what_has_nothing_to_be_compared_with_is_said(simulate: Simulate, words: tuple[str, ...]) -> None:
    status, _, err = simulate(*QUICK, *words)
    assert status == 2
    assert words[0] in err
