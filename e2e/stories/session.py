"""What all stories of one `make e2e` stand on, made once: each of its processes finds it in its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

VARIABLE = "HEADGATE_STORIES"


@dataclass(frozen=True)
class Session:
    """Headgate is installed, and `place` is the namespace with the artifacts."""

    place: str
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))
    """From when on the audit log is looked at."""
    all_are_told: bool = False
    """Whether this process tells the last stories, and all before went well."""

    @staticmethod
    def current() -> Session | None:
        """None where stories are told by pytest alone, which installs for itself."""
        text = os.environ.get(VARIABLE)
        return Session(**json.loads(text)) if text else None

    def environment(self) -> Mapping[str, str]:
        """For a process that is to tell stories in it."""
        return {**os.environ, VARIABLE: json.dumps(asdict(self))}
