"""The first process of `headgate-serve`: it holds the listening sockets, and replaces a serving process that dies.

A model that crashes ONNX Runtime takes its process with it. As the sockets live on, clients that connect meanwhile wait
instead of being refused, for the second that a new process takes. What ends before it was ever ready, or again and
again, is left to the kubelet, which has seen it then. Nothing heavy is imported here.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from ..errors import HeadgateServingError, SettingsInvalid
from ..http.descriptors import raise_limit
from ..listening import listening_socket
from ..runtime.settings import Settings, read_settings
from ..termination import write_termination_log
from .inherited import BACKLOG, HUNG, Inherited, Listeners

logger = logging.getLogger(__name__)

KILLED = 128 + signal.SIGKILL
"""Exit status when the serving process had to be killed, for it did not end within the grace."""

_TOO_OFTEN, _WITHIN = 5, 60.0  # so many deaths within so many seconds are for the kubelet
_BEYOND_GRACE = 0.5  # seconds; the kubelet kills half a second later
_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; 1 (or the error's own exit status) if the model can't be served."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = read_settings(argv, os.environ)
        raise_limit()
        listeners = listen(settings)
    except HeadgateServingError as error:
        logger.error("%s: %s", error.reason, error)  # noqa: TRY400 - a message, not a trace
        write_termination_log(error.reason, str(error))
        return error.exit_status
    return _Supervisor(settings, listeners).run()


def listen(settings: Settings) -> Listeners:
    """Open the sockets; SettingsInvalid if an address is taken or is none."""
    return Listeners(
        _opened("--http-port", settings.host, settings.http_port),
        _opened("--grpc-port", settings.host, settings.grpc_port) if settings.grpc_port else None,
        _opened("--health-port", settings.host, settings.health_port) if settings.health_port else None,
    )


def _opened(option: str, host: str, port: int) -> socket.socket:
    try:
        return listening_socket(host, port, BACKLOG)
    except OSError as error:
        raise SettingsInvalid(f"{option}: can't listen at {host}:{port}: {error.strerror or error}") from error


class _Supervisor:
    """One serving process at a time."""

    def __init__(self, settings: Settings, listeners: Listeners) -> None:
        self._settings = settings
        self._listeners = listeners
        self._child = 0
        self._stopping = False

    def run(self) -> int:
        """Until it is told to end, or the serving process can't go on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._kill)
        deaths: deque[float] = deque(maxlen=_TOO_OFTEN)
        restarts = 0
        while True:
            status, was_ready = self._serve(restarts)
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                signal.setitimer(signal.ITIMER_REAL, 0)
                if -code == signal.SIGKILL:
                    logger.error("the serving process did not end within %g s of grace: killed", self._settings.grace)
                    return KILLED
                return 0 if -code in (signal.SIGTERM, signal.SIGINT) else code
            if code >= 0 and code != HUNG:
                return code
            how = "gave up a run of the model that hangs" if code == HUNG else f"was killed by {_signal_name(-code)}"
            deaths.append(time.monotonic())
            often = len(deaths) == _TOO_OFTEN and deaths[-1] - deaths[0] < _WITHIN
            if often or not was_ready:
                when = f"{_TOO_OFTEN} times within {_WITHIN:.0f} s" if often else "before it was ready"
                logger.error("the serving process %s, %s; giving up", how, when)
                write_termination_log("ServingCrashed", f"the serving process {how}, {when}")
                return HUNG if code == HUNG else 128 - code
            restarts += 1
            logger.error("the serving process %s; starting another one (number %d)", how, restarts)

    def _serve(self, restarts: int) -> tuple[int, bool]:
        """Let a child serve until it ends: its status, and whether it ever was ready."""
        reads, writes = os.pipe()
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        if self._stopping:
            return 0, True
        self._child = os.fork()
        if self._child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
            os.close(reads)
            _die_with(parent)
            os._exit(_child(self._settings, Inherited(self._listeners, writes, restarts)))
        os.close(writes)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        with open(reads, "rb") as pipe:  # noqa: PTH123 - a file descriptor
            was_ready = pipe.read(1) != b""
            _, status = os.waitpid(self._child, 0)
        self._child = 0
        return status, was_ready

    def _stop(self, number: int, _frame: object) -> None:
        if not self._stopping:
            # A run on the event loop that hangs, and a loop that hangs, hear no signal.
            signal.setitimer(signal.ITIMER_REAL, self._settings.grace + _BEYOND_GRACE)
        self._stopping = True
        for listener in self._listeners:
            if listener:
                listener.close()  # so that nobody can connect any more once the child has closed its own
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)

    def _kill(self, _number: int, _frame: object) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)


def _child(settings: Settings, inherited: Inherited) -> int:
    try:
        from .worker import serve

        status = serve(settings, inherited)
    except BaseException:
        logger.exception("unhandled error in the serving process")
        status = 1
    logging.shutdown()
    return status


def _die_with(parent: int) -> None:
    """A child without its supervisor would hold the sockets for ever."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
