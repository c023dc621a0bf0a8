"""What `headgate drift` finds out of one feature."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headgate.core.statistics import distances
from headgate.core.statistics.drift import Windows

DRIFT, NO_DRIFT, TOO_FEW = "drift", "no drift", "too few rows"


@dataclass(frozen=True)
class Judged:
    """One feature: counts by window and bin, the distances that people know, and the verdicts."""

    name: str
    kind: str
    counts: distances.Floats
    missing: distances.Floats
    unseen: distances.Floats
    psi: distances.Floats
    js: distances.Floats
    windows: Windows

    @cached_property
    def verdicts(self) -> list[str]:
        """One for each window."""
        few, drifted = self.windows.too_few, self.windows.drifted
        return [DRIFT if d else TOO_FEW if f else NO_DRIFT for d, f in zip(drifted, few, strict=True)]

    @cached_property
    def verdict(self) -> str:
        """Drift if any window has drifted."""
        found = self.verdicts
        return next((v for v in (DRIFT, NO_DRIFT) if v in found), TOO_FEW)

    @cached_property
    def alarms(self) -> list[int]:
        """The windows that have drifted."""
        return [int(at) for at in np.flatnonzero(self.windows.drifted)]
