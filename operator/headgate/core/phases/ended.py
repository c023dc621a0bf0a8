"""The phases in which nothing is compared any more: Stable, RollingBack and RolledBack.

`transitions.drained` leads from RollingBack to RolledBack, when the candidate's pods have had time to finish.
"""

from typing import ClassVar

from headgate.core.phases.phase import Phase


class Stable(Phase):
    name: ClassVar = "Stable"
    running: ClassVar = False


class RollingBack(Phase):
    name: ClassVar = "RollingBack"
    requeue_after: ClassVar = 2.0
    outcome: ClassVar = "failed"


class RolledBack(Phase):
    name: ClassVar = "RolledBack"
    running: ClassVar = False
    outcome: ClassVar = "failed"
