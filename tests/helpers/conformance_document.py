"""docs/conformance.md: what the table has, and each of its differences with its reason.

What `python -m bench.conformance` writes below stays as it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance_table import Among, Case, Unlike, Wording
from tools.setup import cache

PLACE = cache.REPOSITORY / "docs" / "conformance.md"
COMMAND = "python -m pytest tests/serving/conformance --write-conformance"
MODELS = "\n## Models\n"
_LONGEST = 90

_HEAD = """# Conformance

What ours answers, beside Triton {triton}: one table of {count} requests ({rest} over REST, {grpc} over gRPC; \
`tests/helpers/cases_*.py`), sent to a real `headgate-serve` and to the real `tritonserver` of the \
nvidia-pytriton wheel, which runs the same ONNX files in its Python backend. Status and content have to be the same; \
of an error the wording is each server's own. {same} requests are answered alike. The other {different} are below; \
the tests fail on a difference that is not listed as on one that is listed and not there.

Written by `{command}`.
"""


def document(cases: Sequence[Case]) -> str:
    """The whole text."""
    return _table(cases) + MODELS + PLACE.read_text().partition(MODELS)[2]


def _table(cases: Sequence[Case]) -> str:
    unlike: dict[str, list[tuple[Case, Unlike]]] = {}
    for case in cases:
        if case.triton:
            unlike.setdefault(case.triton.because, []).append((case, case.triton))
    different = sum(map(len, unlike.values()))
    rest = sum(case.ask.form == "REST" for case in cases)
    text = _HEAD.format(
        triton=_triton_version(),
        count=len(cases),
        rest=rest,
        grpc=len(cases) - rest,
        same=len(cases) - different,
        different=different,
        command=COMMAND,
    )
    for reason, entries in sorted(unlike.items(), key=lambda item: -len(item[1])):
        text += f"\n{reason}\n\n| ours | Triton | requests |\n|---|---|---|\n"
        alike: dict[tuple[str, str], list[str]] = {}
        for case, theirs in entries:
            both = _shown(case.ours, theirs.answer), _shown(theirs.answer, case.ours)
            alike.setdefault(both, []).append(case.id)
        for (our_answer, their_answer), names in alike.items():
            text += f"| {our_answer} | {their_answer} | {'; '.join(names)} |\n"
    return text


def _shown(answer: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The status; where that is the same, what else there is."""
    if "status" in answer and answer["status"] != other.get("status"):
        return str(answer["status"])
    said = "; ".join(_plain(value) for key, value in answer.items() if key != "status")
    return f"`{said[:_LONGEST]}{'…' if len(said) > _LONGEST else ''}`"


def _plain(value: Any) -> str:
    if isinstance(value, Wording):
        return f"…{value}…"
    if isinstance(value, Among):
        return _plain(list(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return "an empty body" if value == b"" else "none" if value == "nothing" else str(value)


def _triton_version() -> str:
    pinned = Path(cache.REPOSITORY / "bench" / "serving" / "peers" / "triton.txt").read_text().splitlines()
    wheel = next(line.partition("==")[2] for line in pinned if line.startswith("nvidia-pytriton=="))
    return f"2.51 (of nvidia-pytriton {wheel})"
