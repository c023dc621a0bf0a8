"""The check `evaluation`: what the artifact's `evaluation.json` says has to hold."""

from ..artifact.evaluation import EVALUATION, MAX_EVALUATION, read_evaluation
from ..errors import ArtifactInvalid
from .findings import Findings, NothingToCheck
from .golden import SamplesInvalid, bounded
from .subject import Subject


def check(subject: Subject, findings: Findings) -> None:
    """Each metric is within its bounds."""
    try:
        raw = bounded(subject.candidate.folder, EVALUATION, MAX_EVALUATION)
        if raw is None:
            raise NothingToCheck(f"the artifact has no {EVALUATION}")
        metrics = read_evaluation(raw)
    except (SamplesInvalid, ArtifactInvalid) as error:
        findings.wrong.append(str(error))
        return
    findings.wrong += [str(metric) for metric in metrics if not metric.holds]
    findings.figures |= {"metrics": len(metrics), "failed": len(findings.wrong)}
