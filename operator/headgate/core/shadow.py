"""A candidate that gets copies of requests and answers nobody: what its pairs are evidence of, and when that is enough.

`observe` asks `compares_pairs` what to read, `learn` folds the pairs that `core.pairs` found, `phases` asks whether the
shadow is over. The e-value depends on the numbers of pairs alone, so nothing else is kept.
"""

import numpy as np

from headgate.api.quantities import fraction
from headgate.api.spec import Shadow, Spec
from headgate.api.status import Rollout, ShadowEvidence
from headgate.core import judge
from headgate.core.evidence import agreement
from headgate.core.evidence.agreement import Agreement
from headgate.core.model import PairBlock


def compares_pairs(spec: Spec, rollout: Rollout) -> bool:
    """Whether the next thing to learn is how the candidate answers copies."""
    return rollout.phase == "Shadow" and not is_over(spec, rollout)


def is_over(spec: Spec, rollout: Rollout) -> bool:
    """Whether the candidate has passed, or nobody asks for its shadow any more."""
    asked, seen = spec.rollout.shadow, rollout.evidence.shadow
    return asked is None or (seen is not None and passed(seen, asked))


def passed(seen: ShadowEvidence, asked: Shadow) -> bool:
    """Whether it is shown that enough of the answers agree."""
    return seen.pairs >= asked.minPairs and bool(judge.passed([seen.logSafe]))


def fold(seen: ShadowEvidence, block: PairBlock, asked: Shadow) -> ShadowEvidence:
    """The evidence after one more block of pairs."""
    pairs, agreed = seen.pairs + block.pairs, seen.agreed + block.agreed
    minimum = fraction(asked.minAgreement)
    state = agreement.fold(Agreement.start(1), np.array([float(pairs)]), np.array([float(agreed)]), minimum)
    return seen.model_copy(
        update={
            "pairs": pairs,
            "agreed": agreed,
            "failed": seen.failed + block.failed,
            "logHarm": round(float(state.log_harm[0]), 4),
            "logSafe": round(float(state.log_safe[0]), 4),
        }
    )
