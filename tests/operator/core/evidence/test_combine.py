"""Several signals under one alpha."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.status import Evidence, OutputEvidence, PredictionEvidence, RateEvidence, ShadowEvidence
from headgate.core.evidence.combine import CAPITAL, carrier, combine, threshold, weights

logs = st.floats(-50, 200)


def evidence(errors=0.0, predictions=0.0):
    return Evidence(errors=RateEvidence(logHarm=errors), predictions=PredictionEvidence(logHarm=predictions))


@given(logs, logs)
def test_the_combined_e_value_is_the_weighted_mean_of_the_signals(errors, predictions):
    combined = combine(evidence(errors, predictions), 0.01)
    peak = max(errors, predictions)
    share = weights(["errors", "predictions"])
    mean = share["errors"] * math.exp(errors - peak) + share["predictions"] * math.exp(predictions - peak)
    assert abs(combined.logHarm - (peak + math.log(mean))) <= 1e-4


def test_the_weights_share_one_alpha():
    for present in (["errors"], ["errors", "predictions"], ["errors", "latency"], list(CAPITAL)):
        assert math.isclose(sum(weights(present).values()), 1, abs_tol=1e-5)
        assert set(weights(present)) == set(present)
    assert math.isclose(threshold(0.01), math.log(100))


@given(logs, logs, st.floats(0.001, 0.2))
def test_a_signal_that_fails_alone_rolls_back(errors, predictions, alpha):
    combined = combine(evidence(errors, predictions), alpha)
    if "Fail" in (combined.errors.verdict, combined.predictions.verdict):
        assert combined.logHarm >= combined.threshold - 2e-4


def test_the_signal_that_carries_most_is_named():
    assert carrier(evidence(errors=6.0, predictions=1.0)) == "errors"
    assert carrier(evidence(errors=1.0, predictions=6.0)) == "predictions"


def test_what_a_shadow_has_shown_counts_on_in_the_canary():
    share = weights(["errors", "predictions", "shadow"])
    seen = evidence(5.0, 0.0).model_copy(update={"shadow": ShadowEvidence(logHarm=2.0, logSafe=4.0), "weights": share})
    combined = combine(seen, 0.01)
    mean = sum(share[name] * math.exp(log) for name, log in (("errors", 5.0), ("predictions", 0.0), ("shadow", 2.0)))
    assert combined.logHarm == pytest.approx(math.log(mean), abs=1e-4)
    assert combined.shadow.verdict == "Pass"


def test_verdicts_are_brought_up_to_date():
    seen = Evidence(
        errors=RateEvidence(logSafe=4.0),
        predictions=PredictionEvidence(logHarm=9.0, outputs=[OutputEvidence(output="label", layout="a")]),
    )
    combined = combine(seen, 0.01)
    assert (combined.errors.verdict, combined.predictions.verdict) == ("Pass", "Fail")
