"""The check `edgeCases`: unusual requests may be refused, but nothing crashes, hangs, fails or answers nonsense.

Stable is asked only what the candidate did not answer well; a request that the candidate did not survive is never sent
to it.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..codec.lenient import Tensors
from .cases import Case, Ground, cases, made_up
from .endpoint import Kind, Reply, not_finite
from .findings import Findings, NothingToCheck, shown
from .golden import Tolerance
from .requests import Request, is_finite, rows_of, stacked
from .signature import Signature
from .subject import Subject

_READY_SECONDS = 2.0


def check(subject: Subject, findings: Findings) -> None:
    """Every case, and afterwards whether the candidate still is as it was."""
    signature = subject.candidate.told
    if signature is None or not signature.known:
        raise NothingToCheck("the metadata tells no inputs of which values could be made")
    bases = _bases(subject, signature)
    base = bases[0]
    first = subject.candidate.endpoint.infer(base)
    if not first.good:
        _nothing_to_start_from(first, findings)
        return
    known = subject.ask_stable(base)
    compared = subject if known and known.good else replace(subject, stable=None)
    again = subject.candidate.endpoint.infer(base)
    _all_cases(compared, _ground(compared, signature, bases, first, findings), first, findings)
    if not findings.wrong:
        _still_there(subject, base, first, steady=again.good and _same(again.outputs, first.outputs), findings=findings)
    if subject.left_alone:
        findings.notes.append(subject.left_alone)


def _bases(subject: Subject, signature: Signature) -> list[Request]:
    """Requests that are right: golden samples, else what can be made up."""
    found = subject.candidate.golden(signature)
    found += subject.stable.golden(signature) if subject.stable else []
    return found or [made_up(signature)]


def _nothing_to_start_from(first: Reply, findings: Findings) -> None:
    if first.kind < Kind.LATE:
        raise NothingToCheck(f"there is no request to start from: one with the metadata's shapes was {first.text}")
    findings.wrong.append(f"one row: {first.text}")


def _ground(
    subject: Subject, signature: Signature, bases: Sequence[Request], first: Reply, findings: Findings
) -> Ground:
    """Whether a request may have several rows is tried: a first dimension that is free may be that of words."""
    base, by_row = bases[0], signature.by_row & bases[0].keys()
    timeout_share = first.seconds * 4 / subject.candidate.endpoint.timeout
    most_rows = int(min(64, max(1, 1 / max(timeout_share, 1e-3))))
    ground = Ground(base, signature, subject.candidate.profile, frozenset(), most_rows)
    rows = rows_of(base, by_row)
    if not by_row or any(len(base[name].values) != rows for name in by_row):
        return ground
    two = stacked([base, base], by_row)
    findings.count("cases")
    reply = subject.candidate.endpoint.infer(two)
    if reply.good and _are_rows(reply.outputs, first.outputs, 2):
        return replace(ground, by_row=by_row)
    stable = subject.ask_stable(two)
    if stable and stable.good and _are_rows(stable.outputs, first.outputs, 2):
        findings.count("wrong")
        findings.wrong.append(f"two rows in a request: {reply.text or 'not two answers'}, and stable answers both")
    return ground


def _are_rows(outputs: Tensors, single: Tensors, times: int) -> bool:
    """Whether there are so many times the rows of one answer, in every output that has rows."""
    grown = [name for name, one in single.items() if name in outputs and one.shape and outputs[name].shape != one.shape]
    return bool(grown) and all(
        outputs[name].shape == (times * single[name].shape[0], *single[name].shape[1:]) for name in grown
    )


def _all_cases(subject: Subject, ground: Ground, first: Reply, findings: Findings) -> None:
    for case in cases(ground):
        if not _can_be_sent(subject, case):
            continue
        findings.count("cases")
        reply = subject.candidate.endpoint.infer(case.request)
        findings.count("refused", reply.kind is Kind.REFUSED)
        text = _fault(case, reply, first.outputs, ground)
        if not text:
            continue
        if _is_wrong(subject, case, reply, ground, first.outputs):
            findings.count("wrong")
            findings.wrong.append(f"{shown(case.name)}: {text}")
        if reply.kind is Kind.LOST:
            return
    findings.figures.setdefault("wrong", 0)


def _can_be_sent(subject: Subject, case: Case) -> bool:
    finite = "infinity" not in case.name
    return finite or subject.candidate.endpoint.takes_binary()


def _fault(case: Case, reply: Reply, single: Tensors, ground: Ground) -> str:
    """What may be wrong with a reply; empty: nothing."""
    if not reply.good:
        return reply.text
    missing = [name for name in single if name not in reply.outputs]
    if missing:
        return f"the output {shown(missing[0])} is missing"
    rows, before = rows_of(case.request, ground.by_row), rows_of(ground.base, ground.by_row)
    for name, one in single.items():
        found = reply.outputs[name].shape
        if ground.by_row and rows and found[:1] != one.shape[:1] and found[:1] != (rows * one.shape[0] // before,):
            return f"{shown(name)} has the shape {list(found)} for {rows} rows"
    invalid = not_finite(reply.outputs) if is_finite(case.request) else []
    return f"{shown(invalid[0])} is NaN or infinite" if invalid else ""


def _is_wrong(subject: Subject, case: Case, reply: Reply, ground: Ground, single: Tensors) -> bool:
    """Beside stable: whether it does better. Without it: whether nobody may answer an ordinary request so."""
    if reply.kind is Kind.LOST:
        return True
    stable = subject.ask_stable(case.request)
    if stable is None:
        if reply.kind is Kind.LATE:
            return not case.heavy
        return reply.kind is not Kind.REFUSED and case.ordinary
    if reply.good:
        return stable.good and not _fault(case, stable, single, ground)
    return stable.kind < reply.kind


def _still_there(subject: Subject, base: Request, first: Reply, *, steady: bool, findings: Findings) -> None:
    endpoint = subject.candidate.endpoint
    ready = endpoint.wait_until_ready(_READY_SECONDS)
    if ready.status != 200:
        findings.wrong.append(f"not ready after the cases: {ready.text or f'answered {ready.status}'}")
        return
    last = endpoint.infer(base)
    if not last.good:
        findings.wrong.append(f"a good request after the cases: {last.text}")
    elif steady and not _same(last.outputs, first.outputs):
        findings.wrong.append("a good request has another answer after the cases than before")


def _same(one: Tensors, other: Tensors) -> bool:
    return all(name in one and Tolerance().agree(one[name], wanted) for name, wanted in other.items())
