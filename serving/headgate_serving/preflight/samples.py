"""The check `samples`: the artifact's own samples are answered as they were made, and stable's are answered at all."""

from collections.abc import Iterable

from ..artifact.digest import SAMPLES
from ..codec.lengths import Lengths
from ..codec.lenient import Tensor, Tensors
from .endpoint import Reply, not_finite
from .findings import Findings, NothingToCheck, shown
from .golden import Sample, Samples, SamplesInvalid, Tolerance
from .signature import Signature
from .subject import Asked, Subject


def check(subject: Subject, findings: Findings) -> None:
    """Own samples have to agree within their tolerance; of stable's, other answers are counted."""
    try:
        own = subject.candidate.samples
    except SamplesInvalid as error:
        findings.wrong.append(str(error))
        own = None
    theirs = subject.stable.usable_samples if subject.stable else Samples()
    if not findings.wrong and not (own and own.samples) and not theirs.samples:
        raise NothingToCheck(f"there are no samples in {SAMPLES} of the artifact")
    if own:
        _own(subject.candidate, own, findings)
    else:
        findings.notes.append(f"the artifact has no {SAMPLES}")
    if subject.stable and theirs.samples:
        _of_stable(subject.candidate, subject.stable, theirs, findings)


def _own(candidate: Asked, own: Samples, findings: Findings) -> None:
    for sample in own.samples:
        findings.count("samples")
        reply = candidate.endpoint.infer(sample.request)
        text = reply.text or _disagreement(reply.outputs, sample, own.tolerance)
        if text:
            findings.count("wrong")
            findings.wrong.append(f"the sample of row {shown(sample.row, 20)}: {text}")


def _disagreement(outputs: Tensors, sample: Sample, tolerance: Tolerance) -> str:
    for name, wanted in sample.outputs.items():
        if name not in outputs:
            return f"the output {shown(name)} is missing"
        if not tolerance.agree(outputs[name], wanted):
            return f"{shown(name)} is {_values(outputs, name)}, and was {_values(sample.outputs, name)}"
    return ""


def _of_stable(candidate: Asked, stable: Asked, theirs: Samples, findings: Findings) -> None:
    """Those that fit the candidate's inputs; what does not is a matter of the schema."""
    here, there = candidate.told, stable.told
    fitting = [one for one in theirs.samples if here is None or here.takes(one.request)]
    shapes = _Shapes(theirs.samples)
    others = 0
    for sample in fitting:
        findings.count("stableSamples")
        reply = candidate.endpoint.infer(sample.request)
        text = unanswered(reply, sample, comparable(sample.outputs, here, there), shapes)
        if text:
            findings.count("stableWrong")
            findings.wrong.append(f"stable's sample of row {shown(sample.row, 20)}: {text}")
        elif differs(reply.outputs, sample.outputs, theirs.tolerance):
            others += 1
    if fitting:
        findings.figures["otherAnswers"] = others / len(fitting)
        findings.notes.append(f"{others} of {len(fitting)} of stable's samples have another answer")
    else:
        findings.notes.append("none of stable's samples fits the inputs")


class _Shapes:
    """What stable's samples say of the shapes of its answers: which lengths are fixed, and which outputs have rows."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._lengths = Lengths()
        self._not_by_row = set[str]()
        for sample in samples:
            self._lengths.learn(sample.outputs)
            rows = next((one.values.shape[:1] for one in sample.request.values()), ())
            self._not_by_row.update(name for name, one in sample.outputs.items() if one.shape[:1] != rows)

    def differ(self, name: str, wanted: Tensor, found: Tensor) -> bool:
        """Whether an answer has another shape, in a way that does not depend on what was asked."""
        other_rows = name not in self._not_by_row and wanted.shape[:1] != found.shape[:1]
        return other_rows or self._lengths.differ(name, wanted, found)


def comparable(outputs: Iterable[str], here: Signature | None, there: Signature | None) -> list[str]:
    """Outputs that both versions declare alike; one that they declare otherwise is a matter of the schema."""
    if here is None or there is None:
        return list(outputs)
    return [
        name
        for name in outputs
        if name in here.outputs
        and (name not in there.outputs or here.outputs[name].datatype == there.outputs[name].datatype)
    ]


def unanswered(reply: Reply, sample: Sample, names: Iterable[str], shapes: _Shapes) -> str:
    """What is wrong with a reply, whatever the answer is, beside stable's."""
    if not reply.good:
        return reply.text
    wanted, invalid = sample.outputs, not_finite(reply.outputs)
    for name in names:
        if name not in reply.outputs:
            return f"the output {shown(name)} is missing"
        if shapes.differ(name, wanted[name], reply.outputs[name]):
            return f"{shown(name)} has the shape {list(reply.outputs[name].shape)}, not {list(wanted[name].shape)}"
        if name in invalid and name not in not_finite(wanted):
            return f"{shown(name)} is NaN or infinite"
    return ""


def differs(outputs: Tensors, wanted: Tensors, tolerance: Tolerance) -> bool:
    """Whether the answer is another one: by what is no floating number, where there is such an output."""
    labels = [name for name, one in wanted.items() if not one.is_float] or list(wanted)
    return any(name in outputs and not tolerance.agree(outputs[name], wanted[name]) for name in labels)


def _values(outputs: Tensors, name: str) -> str:
    return shown(outputs[name].values[:4].tolist(), 60)
