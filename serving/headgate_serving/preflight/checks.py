"""All checks, in the order in which they are made. A further one is a module and a line here."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headgate.api.preflight import Check, CheckName, Mode

from . import edge_cases, evaluation, load, robustness, samples, schema
from .endpoint import OutOfTime
from .findings import Findings, NothingToCheck, skipped
from .subject import Subject

logger = logging.getLogger(__name__)


class CheckBroken(Exception):
    """A check has ended with an error that is none of the version."""


@dataclass(frozen=True)
class Kind:
    """A check: its function adds to the findings; NothingToCheck where there is nothing."""

    name: CheckName
    run: Callable[[Subject, Findings], None]
    default: Mode = "Required"


CHECKS = (
    Kind("evaluation", evaluation.check),
    Kind("schema", schema.check),
    Kind("samples", samples.check),
    Kind("edgeCases", edge_cases.check),
    Kind("robustness", robustness.check, "Advisory"),
    Kind("load", load.check),
)


def made(subject: Subject, modes: Mapping[str, Mode]) -> list[Check]:
    """The results of all checks that are not off. CheckBroken if one that is required can't be made."""
    chosen = [(kind, modes.get(kind.name, kind.default)) for kind in CHECKS]
    return [_made(kind, mode, subject) for kind, mode in chosen if mode != "Off"]


def _made(kind: Kind, mode: Mode, subject: Subject) -> Check:
    findings = Findings()
    try:
        kind.run(subject, findings)
    except NothingToCheck as nothing:
        if not findings.wrong:
            return skipped(kind.name, str(nothing))
    except OutOfTime:
        if not findings.wrong and not findings.figures:
            return skipped(kind.name, "there was no time left for it")
        findings.notes.append("the time ended before it was whole")
    except Exception as error:
        logger.exception("the check %s is broken", kind.name)
        if mode == "Required":
            raise CheckBroken(
                f"the check {kind.name} ended with {error!r}; turn it off, and tell its makers"
            ) from error
        return skipped(kind.name, f"it ended with {error!r}")
    return findings.check(kind.name)
