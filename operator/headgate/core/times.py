"""Kubernetes' time format. The clock itself is always an argument."""

from datetime import UTC, datetime


def stamp(now: float) -> str:
    """Seconds since the epoch -> `2026-11-20T12:00:00Z`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def no_later(time: str, now: float) -> str:
    """A stamp, or that of `now` where the clock has gone back behind it: what waits for a time begins to wait anew."""
    return min(time, stamp(now))


def seconds_since(time: str, now: float) -> float:
    """Seconds from a stamp to `now`; never negative."""
    then = datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return max(0.0, now - then.timestamp())
