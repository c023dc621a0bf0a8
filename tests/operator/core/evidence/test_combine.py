"""Several signals under one alpha."""

import math

from hypothesis import given
from hypothesis import strategies as st

from headgate.api.status import ErrorEvidence, Evidence, OutputEvidence, PredictionEvidence
from headgate.core.evidence.combine import WEIGHTS, carrier, combine, threshold

logs = st.floats(-50, 200)


def evidence(errors=0.0, predictions=0.0):
    return Evidence(errors=ErrorEvidence(logHarm=errors), predictions=PredictionEvidence(logHarm=predictions))


@given(logs, logs)
def test_the_combined_e_value_is_the_weighted_mean_of_the_signals(errors, predictions):
    combined = combine(evidence(errors, predictions), 0.01)
    peak = max(errors, predictions)
    mean = 0.7 * math.exp(errors - peak) + 0.3 * math.exp(predictions - peak)
    assert abs(combined.logHarm - (peak + math.log(mean))) <= 1e-4


def test_the_weights_share_one_alpha():
    assert math.isclose(sum(WEIGHTS.values()), 1)
    assert math.isclose(threshold(0.01), math.log(100))


@given(logs, logs, st.floats(0.001, 0.2))
def test_a_signal_that_fails_alone_rolls_back(errors, predictions, alpha):
    combined = combine(evidence(errors, predictions), alpha)
    if "Fail" in (combined.errors.verdict, combined.predictions.verdict):
        assert combined.logHarm >= combined.threshold - 2e-4


def test_the_signal_that_carries_most_is_named():
    assert carrier(evidence(errors=6.0, predictions=1.0)) == "errors"
    assert carrier(evidence(errors=1.0, predictions=6.0)) == "predictions"


def test_verdicts_are_brought_up_to_date():
    seen = Evidence(
        errors=ErrorEvidence(logSafe=4.0),
        predictions=PredictionEvidence(logHarm=9.0, outputs=[OutputEvidence(output="label", layout="a")]),
    )
    combined = combine(seen, 0.01)
    assert (combined.errors.verdict, combined.predictions.verdict) == ("Pass", "Fail")
