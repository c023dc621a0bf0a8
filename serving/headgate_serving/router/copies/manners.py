"""Who goes first where cores are short: Envoy, and after it what looks at copies of what it has done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def giving_way() -> Iterator[None]:
    """For this thread, and those that it starts: when it wakes it takes no core from who is at work.

    A copy wakes the agent at the worst moment, while its request is on its way. The agent's other work is a few
    milliseconds later for it at most. Where the system does not allow it, all is as before.
    """
    before = os.sched_getscheduler(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, before, os.sched_param(0))
