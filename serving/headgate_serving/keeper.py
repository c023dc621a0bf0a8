"""Starts the process of a sidecar anew when it has crashed, within its container.

Kubernetes takes a pod out of its Services while a container of it is started again, be the one that serves users as
well as ever. Agents or monitors that crash everywhere at once would leave nobody to connect to.

Only the standard library: it stays small beside what it starts.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

RESTARTS = "HEADGATE_RESTARTS"
"""The environment variable that tells a process how often it was started anew."""

CRASHED = 1
"""The exit status of Python after an exception. A process that is killed ends with the signal; every other status is
meant, and is handed on."""

EARLY_SECONDS = 10.0
"""Who crashes so soon after the container's start is left to Kubernetes, and to those who look at restarts: a new
version of it that can't start must not look as if it ran."""

PAUSES = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each start after a crash, and from then on the last of them. Together with a start they are less than
what the liveness probe forgives."""

STEADY_SECONDS = 60.0
"""A life after which the pauses begin anew."""

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

log = logging.getLogger(__name__)


def restarts() -> int:
    """How often this process was started anew after a crash."""
    return int(os.environ.get(RESTARTS, "0"))


def kept(module: str, arguments: Sequence[str]) -> int:
    """Run `python -m MODULE ARGUMENTS` until it ends as it means to, or is told to by SIGTERM or SIGINT.

    Returns:
        Its exit status; 128 and the signal if it was killed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        return _keep([sys.executable, "-m", module, *arguments])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _keep(command: list[str]) -> int:
    began, restarts, crashes = time.monotonic(), 0, 0
    while True:
        started = time.monotonic()
        environment = {**os.environ, RESTARTS: str(restarts)}
        process = os.posix_spawn(command[0], command, environment, setsigmask=())
        status, told = _until_ended(process)
        lived = time.monotonic() - started
        if told or not _has_crashed(status) or started + lived - began < EARLY_SECONDS:
            return _exit_status(status)
        crashes = 0 if lived > STEADY_SECONDS else crashes
        pause = PAUSES[min(crashes, len(PAUSES) - 1)]
        restarts, crashes = restarts + 1, crashes + 1
        log.error("%s; it is started anew in %g s", _words(status), pause)
        if _told_within(pause):
            return _exit_status(status)


def _until_ended(process: int) -> tuple[int, bool]:
    """The status that `waitpid` tells, and whether the end was asked for."""
    told = False
    while True:
        got = signal.sigwait(_HANDLED)
        if got != signal.SIGCHLD:
            told = True
            os.kill(process, got)
        # Also what nobody else waits for: this is the first process of its container.
        for ended, status in _ended():
            if ended == process:
                return status, told


def _ended() -> list[tuple[int, int]]:
    found = list[tuple[int, int]]()
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not ended:
            return found
        found.append((ended, status))


def _told_within(seconds: float) -> bool:
    """Whether the end is asked for meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        got = signal.sigtimedwait(_HANDLED, left)
        if got and got.si_signo != signal.SIGCHLD:
            return True
    return False


def _has_crashed(status: int) -> bool:
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == CRASHED


def _exit_status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _words(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"the process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the process has ended with status {os.WEXITSTATUS(status)}"
