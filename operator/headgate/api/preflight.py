"""What a preflight says of a version: the container of its pod ends with a `Report` as its termination message.

`headgate_serving.preflight` writes it, the operator reads it, keeps it in the status, and decides by it.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from headgate.api.stored import CONFIG, Stored

CheckName = Literal["evaluation", "schema", "samples", "edgeCases", "robustness", "load"]
Mode = Literal["Required", "Advisory", "Off"]
"""Whether a check that fails ends the rollout, is only told, or is not made."""
Outcome = Literal["Passed", "Failed", "Skipped"]

REPORTED = "PreflightDone"
"""Reason of the termination message that is a report. Any other reason says why there is none."""
MOST_TEXT, MOST_FIGURES = 500, 12
"""Of one check: characters of its message, and figures; six checks fit into the 4,096 bytes of a termination
message."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Check(Stored):
    """One check of a preflight."""

    name: CheckName
    outcome: Outcome
    """Skipped: there was nothing to check, and `message` says why."""
    message: Annotated[str, Field(max_length=MOST_TEXT)] = ""
    """What was found, for people."""
    figures: Annotated[dict[str, float], Field(max_length=MOST_FIGURES)] = field(default_factory=dict)
    """The same for programs."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Report(Stored):
    """All checks, in the order in which they were made."""

    checks: Annotated[list[Check], Field(max_length=20)] = field(default_factory=list)
    seconds: float = 0.0
    """How long they took."""
