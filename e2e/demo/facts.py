"""What is true of the four models on the rows that the demo replays: measured, printed, and held against limits.

The rollout's verdicts follow from these numbers, so a demo whose models miss them is not played: `artifacts.py`
refuses to pack such models.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .data import Rows
from .models import RELP, RELP_KNOWN, Models
from .onnx_session import session_of

DECILES = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True)
class Answers:
    """One model's answers to rows that it can answer."""

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Facts:
    """Shares are of 1; a shift is the larger of the change and its opposite."""

    rows: int
    accuracy_v1: float
    accuracy_v2: float
    held_out_accuracy_v1: float
    held_out_accuracy_v2: float
    accuracy_v4: float
    positive_v1: float
    positive_v2: float
    positive_v4: float
    label_shift_v2: float
    score_shift_v2: float
    label_shift_v4: float
    score_shift_v4: float
    failing_v3: float

    def problems(self) -> list[str]:
        """Which of the claims in `models.py` do not hold; empty if the demo can be played."""
        claims = {
            "v2 is better than v1 by at least half a point": self.accuracy_v2 - self.accuracy_v1 >= 0.005,
            "v2 is better on held-out rows": self.held_out_accuracy_v2 > self.held_out_accuracy_v1,
            "v2 shifts the labels by less than 5 points": self.label_shift_v2 < 0.05,
            "v2 shifts the scores by less than 6 points": self.score_shift_v2 < 0.06,
            "v3 fails on 3 to 7 % of the rows": 0.03 <= self.failing_v3 <= 0.07,
            "v4 shifts the labels by more than 15 points": self.label_shift_v4 > 0.15,
        }
        return [claim for claim, holds in claims.items() if not holds]

    def to_json(self) -> dict[str, float]:
        """As plain numbers."""
        return asdict(self)


def measure(models: Models, reference: Rows, live: Rows) -> Facts:
    """Run v1, v2 and v4 on all live rows and v3 on enough of them to know where it fails."""
    sessions = {version: session_of(model) for version, model in models.versions.items()}
    v1, v2, v4 = (_answers(sessions[version], live) for version in ("v1", "v2", "v4"))
    held_out = {
        version: _accuracy(_answers(sessions[version], models.held_out), models.held_out) for version in ("v1", "v2")
    }
    return Facts(
        rows=len(live),
        accuracy_v1=_accuracy(v1, live),
        accuracy_v2=_accuracy(v2, live),
        held_out_accuracy_v1=held_out["v1"],
        held_out_accuracy_v2=held_out["v2"],
        accuracy_v4=_accuracy(v4, live),
        positive_v1=float(v1.labels.mean()),
        positive_v2=float(v2.labels.mean()),
        positive_v4=float(v4.labels.mean()),
        label_shift_v2=abs(float(v2.labels.mean() - v1.labels.mean())),
        score_shift_v2=_score_shift(v2, v1, _answers(sessions["v1"], reference)),
        label_shift_v4=abs(float(v4.labels.mean() - v2.labels.mean())),
        score_shift_v4=_score_shift(v4, v2, _answers(sessions["v2"], reference)),
        failing_v3=failing_share(sessions["v3"], live),
    )


def failing_share(session: ort.InferenceSession, rows: Rows, sample: int = 2000) -> float:
    """The share of rows on which a model ends in an error of ONNX Runtime.

    Asks one by one for `sample` rows; where these show that exactly the rows with an unknown RELP fail, the
    share is that of such rows.
    """
    unknown = rows.features[:, RELP] >= RELP_KNOWN
    asked = [_fails(session, rows.features[row : row + 1]) for row in range(min(sample, len(rows)))]
    if list(unknown[: len(asked)]) != asked:
        return float(np.mean(asked))
    return float(unknown.mean())


def _fails(session: ort.InferenceSession, row: NDArray[np.float32]) -> bool:
    try:
        session.run(None, {"input": row})
    except Exception:
        return True
    return False


def _answers(session: ort.InferenceSession, rows: Rows) -> Answers:
    labels, probabilities = session.run(["label", "probabilities"], {"input": rows.features})
    return Answers(labels, probabilities[:, 1])


def _accuracy(answers: Answers, rows: Rows) -> float:
    return float((answers.labels == rows.labels).mean())


def _score_shift(new: Answers, old: Answers, old_on_reference: Answers) -> float:
    """The largest difference of the two distributions at the deciles that the old version's profile has."""
    edges = np.quantile(old_on_reference.scores, DECILES)
    return float(max(abs((new.scores <= edge).mean() - (old.scores <= edge).mean()) for edge in edges))
