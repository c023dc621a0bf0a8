"""The check `schema`: would a client of stable still be understood, and understand the answers?

What is refused and what is compatible, in docs/preflight.md.
"""

from collections.abc import Mapping
from itertools import zip_longest

from ..monitor.bins import CategoryBins
from ..monitor.profile import Profile
from .findings import Findings, NothingToCheck, shown
from .signature import MetadataInvalid, Signature, Spec
from .subject import Asked, Subject


def check(subject: Subject, findings: Findings) -> None:
    """Every difference that breaks a client of stable is wrong; others are noted."""
    try:
        here = subject.candidate.signature
    except MetadataInvalid as error:
        findings.wrong.append(str(error))
        return
    findings.figures |= {"inputs": len(here.inputs), "outputs": len(here.outputs)}
    if not here.told:
        raise NothingToCheck("the engine tells neither inputs nor outputs in its metadata")
    if subject.stable is None:
        findings.notes.append("not compared: there is no stable version")
        return
    there = subject.stable.told
    if there is None:
        findings.notes.append("not compared: stable's metadata tells nothing, or can't be read")
        return
    _inputs(there, here, findings)
    _outputs(there, here, findings)
    _classes(subject.stable, there, subject.candidate, here, findings)
    findings.figures["differences"] = len(findings.wrong)


def _inputs(there: Signature, here: Signature, findings: Findings) -> None:
    new = {name: spec for name, spec in here.inputs.items() if name not in there.inputs}
    for name, old in there.inputs.items():
        now = here.inputs.get(name)
        if now is None:
            findings.wrong.append(f"the input {shown(name)} is gone{_renamed(old, new)}")
            continue
        findings.wrong += [f"the input {shown(name)} {text}" for text in _narrower(old, now)]
        if old.optional and not now.optional:
            findings.wrong.append(f"the input {shown(name)} was optional and is required")
    for name, spec in new.items():
        if spec.optional:
            findings.notes.append(f"a new optional input {shown(name)}")
        else:
            findings.wrong.append(f"a new required input {shown(name)}, {spec}")


def _outputs(there: Signature, here: Signature, findings: Findings) -> None:
    new = {name: spec for name, spec in here.outputs.items() if name not in there.outputs}
    for name, old in there.outputs.items():
        now = here.outputs.get(name)
        if now is None:
            findings.wrong.append(f"the output {shown(name)} is gone{_renamed(old, new)}")
        else:
            findings.wrong += [f"the output {shown(name)} {text}" for text in _other(old, now)]
    findings.notes += [f"a new output {shown(name)}" for name in new]


def _renamed(old: Spec, new: Mapping[str, Spec]) -> str:
    """A hint at where it may be."""
    alike = [spec.name for spec in new.values() if (spec.datatype, spec.shape) == (old.datatype, old.shape)]
    return f" (renamed to {shown(alike[0])}?)" if len(alike) == 1 else ""


def _narrower(old: Spec, now: Spec) -> list[str]:
    """What of stable's tensors an input does not take any more."""
    if old.datatype != now.datatype:
        return [f"is {shown(now.datatype)} and was {shown(old.datatype)}"]
    return _narrower_shape(old.shape, now.shape)


def _narrower_shape(old: tuple[int, ...] | None, now: tuple[int, ...] | None) -> list[str]:
    if now is None or old == now:
        return []
    if old is None:
        return [f"has the shape {list(now)}, and took any"]
    if len(old) != len(now):
        return [f"has the shape {list(now)} of {len(now)} dimensions, and had {list(old)}"]
    if old[:1] == (-1,) != now[:1]:
        return [f"takes {now[0]} rows in a request, and took any number: it has lost its batch dimension"]
    if any(is_now not in (-1, was) for was, is_now in zip(old, now, strict=True)):
        return [f"has the shape {list(now)}, and had {list(old)}"]
    return []


def _other(old: Spec, now: Spec) -> list[str]:
    """What a client that reads an output would stumble over.

    A length that is declared on one side only breaks nobody: converters declare shapes that answers do not have. The
    shapes of answers are compared by the other checks.
    """
    if old.datatype != now.datatype:
        return [f"is {shown(now.datatype)} and was {shown(old.datatype)}"]
    if old.shape is None or now.shape is None:
        return []
    pairs = list(zip_longest(old.shape, now.shape))
    if len(old.shape) != len(now.shape) or any(was != is_now and -1 not in (was, is_now) for was, is_now in pairs):
        return [f"has the shape {list(now.shape)}, and had {list(old.shape)}"]
    return []


def _classes(stable: Asked, there: Signature, candidate: Asked, here: Signature, findings: Findings) -> None:
    olds, news = _named(there, stable.profile), _named(here, candidate.profile)
    for name in olds.keys() & news.keys():
        old, now = olds[name], news[name]
        if old != now:
            how = "in another order" if sorted(old) == sorted(now) else "others"
            findings.wrong.append(
                f"the columns of {shown(name)} stand for the classes {_list(now)}, {how}: they stood for {_list(old)}"
            )
    before, after = _labels(stable.profile), _labels(candidate.profile)
    for name in before.keys() & after.keys():
        if before[name].isdisjoint(after[name]):
            findings.wrong.append(
                f"the output {shown(name)} has the labels {_list(sorted(after[name]))}, none of stable's "
                f"{_list(sorted(before[name]))}"
            )


def _named(signature: Signature, profile: Profile | None) -> dict[str, tuple[str, ...]]:
    """Names of outputs' columns, from the profile or from the metadata."""
    outputs = profile.outputs if profile else ()
    found = {one.reduction.output: one.reduction.classes for one in outputs if one.reduction.classes}
    return found | {name: spec.classes for name, spec in signature.outputs.items() if spec.classes}


def _labels(profile: Profile | None) -> dict[str, set[str]]:
    """Labels that outputs had in the reference. A rare one may be missing, so they are no full list."""
    return {
        one.reduction.output: {*one.bins.categories, *one.bins.others}
        for one in (profile.outputs if profile else ())
        if one.reduction.how == "value" and isinstance(one.bins, CategoryBins) and not one.bins.open
    }


def _list(names: tuple[str, ...] | list[str]) -> str:
    more = ", …" if len(names) > 6 else ""
    return "[" + ", ".join(shown(name, 20) for name in names[:6]) + more + "]"
