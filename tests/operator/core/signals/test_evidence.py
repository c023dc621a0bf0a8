"""Several signals under one alpha."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.spec import Spec
from headgate.api.status import Evidence, SignalEvidence
from headgate.core.signals import SIGNALS
from headgate.core.signals.evidence import carrier, combined, threshold, weights

logs = st.floats(-50, 200)
SHARES = weights(["errors", "predictions"])


def evidence(errors: float = 0.0, predictions: float = 0.0, shares: dict[str, Any] = SHARES, **more: Any) -> Evidence:
    seen = {"errors": errors, "predictions": predictions, **more}
    return Evidence(signals=[SignalEvidence(name=n, weight=shares[n], logHarm=log) for n, log in seen.items()])


@given(logs, logs)
def test_the_combined_e_value_is_the_weighted_mean_of_the_signals(errors: float, predictions: float) -> None:
    found = combined(evidence(errors, predictions), 0.01)
    peak = max(errors, predictions)
    mean = SHARES["errors"] * math.exp(errors - peak) + SHARES["predictions"] * math.exp(predictions - peak)
    assert abs(found.logHarm - (peak + math.log(mean))) <= 1e-4


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_every_signal_has_a_share_beside_failed_answers(signal: Any) -> None:
    shares = weights({"errors", signal.name})
    assert set(shares) == {"errors", signal.name}
    assert math.isclose(sum(shares.values()), 1, abs_tol=1e-5)


def test_the_weights_share_one_alpha() -> None:
    everything = [signal.name for signal in SIGNALS]
    for present in (["errors"], ["errors", "predictions"], ["errors", "latency"], everything):
        assert math.isclose(sum(weights(present).values()), 1, abs_tol=1e-5)
        assert set(weights(present)) == set(present)
    assert math.isclose(threshold(0.01), math.log(100))


@given(logs, logs, st.floats(0.001, 0.2))
def test_a_signal_that_fails_alone_rolls_back(errors: float, predictions: float, alpha: float) -> None:
    found = combined(evidence(errors, predictions), alpha)
    if "Fail" in [each.verdict for each in found.signals]:
        assert found.logHarm >= found.threshold - 2e-4


def test_a_signal_without_a_share_decides_nothing() -> None:
    found = combined(evidence(0.0, 300.0, shares={"errors": 1.0, "predictions": 0.0}), 0.01)
    predictions = found.of("predictions")
    assert predictions is not None
    assert (found.logHarm, predictions.verdict) == (0.0, "Inconclusive")


def test_the_signal_that_carries_most_is_named() -> None:
    spec = Spec.model_validate({"model": {"version": "v1", "uri": "pvc://m/1"}})
    assert carrier(spec, evidence(errors=6.0, predictions=1.0)).name == "errors"
    assert carrier(spec, evidence(errors=1.0, predictions=6.0)).name == "predictions"


def test_what_a_shadow_has_shown_counts_on_in_the_canary() -> None:
    share = weights(["errors", "predictions", "shadow"])
    found = combined(evidence(5.0, 0.0, share, shadow=2.0), 0.01)
    mean = sum(share[name] * math.exp(log) for name, log in (("errors", 5.0), ("predictions", 0.0), ("shadow", 2.0)))
    assert found.logHarm == pytest.approx(math.log(mean), abs=1e-4)


def test_verdicts_are_brought_up_to_date() -> None:
    seen = evidence(0.0, 9.0)
    errors, predictions = combined(
        Evidence(signals=[SignalEvidence(name="errors", logSafe=4.0), seen.signals[1]]), 0.01
    ).signals
    assert (errors.verdict, predictions.verdict) == ("Pass", "Fail")
