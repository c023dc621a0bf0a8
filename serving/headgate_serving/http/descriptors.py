"""How many files and connections the process may have open, and how many of them clients get.

`supervisor.py` raises the limit before anything is opened; `worker.py` asks how many connections each protocol takes.
Container runtimes often leave a soft limit of 1,024 below a hard one that is far higher. Where no descriptor is left,
nobody can connect any more, neither who asks whether this process lives nor who reads its metrics.
"""

import logging
import resource

logger = logging.getLogger(__name__)

SPARED = 32
"""Connections of a protocol beyond its limit: as many to answer questions about health, as many to say no to."""

_ENOUGH = 1 << 20  # where there is no hard limit
_OWN = 64  # descriptors for the model's files, for listening, for metrics, and for libraries
_MOST = 4096  # connections of one protocol, however many descriptors there are
_LEAST = 8


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else hard
    if resource.RLIM_INFINITY in (soft, wanted) or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        logger.warning("the soft limit of %d open files could not be raised to %d: %s", soft, wanted, error)
    else:
        logger.info("the soft limit of %d open files is raised to %d", soft, wanted)


def connections_each(protocols: int) -> int:
    """How many connections each protocol may have, so that some descriptors are left for health and metrics."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    each = max(_LEAST, min(_MOST, (soft - _OWN) // protocols - 2 * SPARED))
    if each < _MOST:
        logger.warning("%d files may be open: each protocol takes %d connections, not %d", soft, each, _MOST)
    return each
