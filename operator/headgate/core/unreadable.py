"""PURE: the status of a ModelDeployment of which spec or status can't be read. Called by `reconcile`.

Such an object was stored under an older CustomResourceDefinition, or written by another version of the operator.
Nothing is decided for it, and nothing in its status but the conditions changes: the routers keep their weights.
"""

from collections.abc import Mapping
from typing import Any

from headgate.core.times import stamp

REASON = "ObjectUnreadable"

Json = dict[str, Any]


def with_condition(status: Any, message: str, generation: int, now: float) -> Json | None:
    """`status`, as the API server gives it, with conditions that say why nothing goes on; None if they already do."""
    present = dict(status) if isinstance(status, Mapping) else {}
    given = present.get("conditions")
    before = {c["type"]: c for c in given if isinstance(c, Mapping) and "type" in c} if isinstance(given, list) else {}
    stalled = _condition(before, "Stalled", "True", REASON, message, generation, now)
    if before.get("Stalled") == stalled:
        return None
    # kstatus takes the first of both that is true for the state of the object.
    reconciling = _condition(before, "Reconciling", "False", "Stalled", "See the condition Stalled.", generation, now)
    conditions = {**before, "Stalled": stalled, "Reconciling": reconciling}
    return {**present, "observedGeneration": generation, "conditions": [dict(each) for each in conditions.values()]}


def _condition(
    before: Mapping[str, Mapping[str, Any]],
    type_: str,
    status: str,
    reason: str,
    message: str,
    generation: int,
    now: float,
) -> Json:
    earlier = before.get(type_, {})
    same = earlier.get("status") == status and earlier.get("lastTransitionTime")
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": same or stamp(now),
        "observedGeneration": generation,
    }
