"""The check `robustness`: a little noise changes few labels, and the order of rows no answer.

Noise: each floating feature of the golden rows moves by at most NOISE of its range in the profile. Labels are what an
output says that is no floating number, else the largest column of each row.
"""

from collections.abc import Sequence

import numpy as np

from ..codec.lenient import Tensors
from ..monitor.bins import NumericBins
from ..monitor.profile import Profile
from .cases import MOST_VALUES
from .endpoint import Reply
from .findings import Findings, NothingToCheck, shown
from .golden import Tolerance
from .requests import Request, Values, in_order, rows_of, size_of, stacked
from .signature import Signature
from .subject import Subject

NOISE = 1e-3
MARGIN = 0.2
"""Share of the labels that may flip, or flip more often than stable's."""
_ROWS, _SEED = 64, 11


def check(subject: Subject, findings: Findings) -> None:
    """Both, with the golden rows in one request."""
    signature = subject.candidate.told
    rows = subject.candidate.golden(signature) if signature else []
    if signature is None or not rows:
        raise NothingToCheck("there are no golden samples that fit the inputs")
    by_row = signature.by_row & rows[0].keys()
    alike = [row for row in rows if row.keys() == rows[0].keys()]
    most = max(1, MOST_VALUES // max(1, size_of(rows[0])))
    if not by_row or len(alike) < 2 or most < 2:
        raise NothingToCheck("a request has one row only, or there are not two golden samples that fit the inputs")
    together = stacked(alike[: min(most, _ROWS)], by_row)
    calm = subject.candidate.endpoint.infer(together)
    if not calm.good:
        raise NothingToCheck(f"the golden samples in one request: {calm.text}")
    _order(subject, together, calm, by_row, findings)
    _noise(subject, together, calm, by_row, findings, signature)


def _order(subject: Subject, together: Request, calm: Reply, by_row: frozenset[str], findings: Findings) -> None:
    count = rows_of(together, by_row)
    order = np.random.default_rng(_SEED).permutation(count).tolist()
    mixed = in_order(together, order, by_row)
    text = _not_permuted(calm.outputs, subject.candidate.endpoint.infer(mixed), order, count)
    findings.figures["orderMatters"] = float(bool(text))
    if not text:
        return
    before, after = subject.ask_stable(together), subject.ask_stable(mixed)
    if before and after and before.good and _not_permuted(before.outputs, after, order, count):
        findings.notes.append(f"{text}; so it is with stable")
    else:
        findings.wrong.append(text)


def _not_permuted(calm: Tensors, reply: Reply, order: Sequence[int], count: int) -> str:
    """Where an answer is not that of before, in the other order."""
    if not reply.good:
        return f"the golden rows in another order: {reply.text}"
    for name, one in calm.items():
        if one.shape[:1] != (count,) or name not in reply.outputs:
            continue
        wanted = one._replace(values=one.values.reshape(count, -1)[list(order)].ravel())
        if not Tolerance().agree(reply.outputs[name], wanted):
            return f"{shown(name)} of a row depends on the order of the rows in its request"
    return ""


def _noise(
    subject: Subject, together: Request, calm: Reply, by_row: frozenset[str], findings: Findings, signature: Signature
) -> None:
    ranges = _ranges(subject.candidate.profile, together)
    before = _labels(calm.outputs)
    if not ranges or before is None:
        findings.notes.append("no noise: there are no labels, or no profile with floating features")
        return
    noisy = _noisy(together, ranges)
    own = _flips(before, subject.candidate.endpoint.infer(noisy))
    if own is None:
        findings.notes.append("rows with noise were not answered")
        return
    findings.figures["flips"] = own
    theirs = _of_stable(subject, together, noisy) if own > MARGIN else None
    if theirs is not None:
        findings.figures["stableFlips"] = theirs
    if own > MARGIN + (theirs or 0.0):
        beside = "" if theirs is None else f", of stable's {theirs:.0%}"
        findings.wrong.append(f"{own:.0%} of the labels flip with noise of {NOISE:g} of each feature's range{beside}")


def _of_stable(subject: Subject, together: Request, noisy: Request) -> float | None:
    before, after = subject.ask_stable(together), subject.ask_stable(noisy)
    labels = _labels(before.outputs) if before and before.good else None
    return _flips(labels, after) if labels is not None and after else None


def _ranges(profile: Profile | None, request: Request) -> list[tuple[str, int, float]]:
    """Input, column and range of each floating feature."""
    return [
        (one.input, one.column, one.bins.edges[-1] - one.bins.edges[0])
        for one in (profile.features if profile else ())
        if isinstance(one.bins, NumericBins)
        and one.input in request
        and request[one.input].datatype.kind == "f"
        and one.column < request[one.input].table.shape[1]
    ]


def _noisy(request: Request, ranges: Sequence[tuple[str, int, float]]) -> Request:
    draw = np.random.default_rng(_SEED)
    tables = {name: request[name].table for name, _, _ in ranges}
    for name, column, width in ranges:
        tables[name][:, column] += (NOISE * width * draw.uniform(-1, 1, len(tables[name]))).astype(tables[name].dtype)
    return {name: one.with_table(tables[name]) if name in tables else one for name, one in request.items()}


def _labels(outputs: Tensors) -> list[Values] | None:
    """One array for each output that names a class."""
    named = [one.values for one in outputs.values() if not one.is_float and one.values.size]
    if named:
        return named
    wide = [one for one in outputs.values() if one.is_float and len(one.shape) == 2 and one.shape[1] > 1]
    return [one.values.reshape(one.shape).argmax(axis=1) for one in wide if one.values.size] or None


def _flips(before: list[Values], reply: Reply) -> float | None:
    """Share of the labels that are others."""
    after = _labels(reply.outputs) if reply.good else None
    if after is None or [one.shape for one in after] != [one.shape for one in before]:
        return None
    return float(np.mean(np.concatenate([one != other for one, other in zip(before, after, strict=True)])))
