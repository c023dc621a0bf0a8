"""What `headgate profile` and `headgate drift` say about data that others have published, typed as a user would.

The files come out of wheels in the cache, see `setup.wheels`. Without them these tests fail: they are the measure.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headgate_cli import main
from tools.setup import wheels

Feature = dict[str, Any]
"""What is said of one, as in `--json`."""
Drift = Callable[..., tuple[int, dict[str, Feature]]]

CHANGED = {"car_value", "salary_range", "loan_length", "repaid_loan_on_prev_car"}
UNCHANGED = {"debt_to_income_ratio", "size_of_downpayment", "driver_tenure"}
FEATURES = ",".join(sorted(CHANGED | UNCHANGED))
CHANGED_AT = 25_000


@pytest.fixture
def drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Drift:
    """Profiles one file, compares another with it: exit status and features by name."""
    monkeypatch.chdir(tmp_path)

    def run(
        wheel: wheels.Wheel, reference: str, data: str, *options: str, profile: Sequence[str] = ()
    ) -> tuple[int, dict[str, Feature]]:
        for file in {reference, data}:
            wheel.extract(file, tmp_path)
        assert main(["profile", "--data", reference, *profile]) == 0
        capsys.readouterr()
        status = main(["drift", "--profile", "profile.json", "--data", data, "--json", *options])
        said = capsys.readouterr()
        assert said.err == ""
        return status, {feature["feature"]: feature for feature in json.loads(said.out)["features"]}

    return run


def loans(drift: Drift, *options: str) -> tuple[int, dict[str, Feature]]:
    names = (f"synthetic_car_loan_{part}.csv" for part in ("reference", "analysis"))
    return drift(wheels.NANNYML, *names, "--by", "1000", *options, profile=["--labels", "repaid"])


def first_alarm(feature: Feature) -> int | None:
    """The row before the first window that alarmed; None if none did."""
    return int(feature["firstAlarm"].split()[1].split("-")[0]) - 1 if feature["alarms"] else None


@pytest.mark.parametrize("options", [(), ("--tolerance", "0.05")])
def test_of_the_car_loans_the_changed_features_alarm_at_once_and_the_others_never(
    drift: Drift, options: tuple[str, ...]
) -> None:
    """Among the changed: nine of a hundred left the highest `salary_range`, nearly all who were in it."""
    status, features = loans(drift, *options)
    assert status == 1
    for name in CHANGED:
        alarm = first_alarm(features[name])
        assert alarm is not None and CHANGED_AT <= alarm < CHANGED_AT + 3000, name
        assert features[name]["windows"][-1]["verdict"] == "drift", name
    for name in UNCHANGED:
        assert features[name]["alarms"] == 0, name


@pytest.mark.parametrize("rows", ["100", "5000", "50000"])
def test_the_unchanged_features_of_the_loans_are_quiet_in_windows_of_any_size(drift: Drift, rows: str) -> None:
    names = (f"synthetic_car_loan_{part}.csv" for part in ("reference", "analysis"))
    options = ("--by", rows, "--tolerance", "0.02")
    _, features = drift(wheels.NANNYML, *names, *options, profile=["--columns", ",".join(sorted(UNCHANGED))])
    assert {name: feature["alarms"] for name, feature in features.items()} == dict.fromkeys(UNCHANGED, 0)


def test_columns_that_tell_nothing_are_left_out_of_the_profile_of_the_loans(drift: Drift) -> None:
    _, features = loans(drift)
    assert set(features) == CHANGED | UNCHANGED | {"y_pred", "y_pred_proba"}


@pytest.mark.parametrize("options", [(), ("--by", "year")], ids=["three years", "year by year"])
def test_the_census_of_massachusetts_has_not_drifted_in_three_years(drift: Drift, options: tuple[str, ...]) -> None:
    names = (f"employment_MA_{part}.pq" for part in ("reference", "analysis"))
    status, features = drift(wheels.NANNYML, *names, *options, profile=["--labels", "employed"])
    assert status == 0
    assert {feature["verdict"] for feature in features.values()} == {"no drift"}
    assert {"AGEP", "SCHL", "SEX", "RAC1P"} < set(features)
    assert not {"id", "year", "employed"} & set(features)
    assert max(window["ks"] for feature in features.values() for window in feature["windows"]) < 0.05


@pytest.mark.parametrize("options", [("--by", "168"), ("--by", "date", "--every", "7d")], ids=["rows", "times"])
def test_every_week_in_seattle_is_another_season_than_the_year(drift: Drift, options: tuple[str, ...]) -> None:
    """No fault of the test: a week *is* no sample of the year. Candidate and stable are compared in the same week."""
    status, features = drift(wheels.VEGA_DATASETS, "seattle-temps.csv", "seattle-temps.csv", *options)
    assert status == 1
    (temperature,) = features.values()
    assert temperature["alarms"] == len(temperature["windows"]) == 53
    assert min(window["psi"] for window in temperature["windows"][:-1]) > 1


def test_the_whole_year_in_seattle_is_like_itself(drift: Drift) -> None:
    status, features = drift(wheels.VEGA_DATASETS, "seattle-temps.csv", "seattle-temps.csv")
    assert (status, features["temp"]["windows"][0]["ks"]) == (0, 0)
