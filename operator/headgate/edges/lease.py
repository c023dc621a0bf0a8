"""Leader election with a Lease: one of the replicas decides, another takes over when it is gone.

`__main__` waits for `Elector.acquire` and runs `Elector.keep`. Differences from the client package's own election:
what is observed is judged by our monotonic clock (never by another machine's time), each call has a time-out of its
own, the lease is released on exit, and losing it ends the process, so nothing that the old leader had in flight goes
on. The lease is taken and kept with conditional replaces (resourceVersion).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.edges.kube import Kube, Object
from headgate.errors import Conflict, HeadgateError, NotFound

log = logging.getLogger("headgate.lease")


@dataclass(frozen=True)
class LeaseSettings:
    """Where the lease is, who we are, and how patient everybody is (in seconds)."""

    namespace: str
    name: str
    identity: str
    duration: float = 10.0
    renew_every: float = 2.0


class Elector:
    """Takes the lease and keeps it."""

    def __init__(self, kube: Kube, settings: LeaseSettings, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._settings = settings
        self._clock = clock
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    @property
    def leading(self) -> bool:
        """Whether the lease is ours for certain: renewed less than its duration ago, by our own clock."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._settings.duration

    async def acquire(self) -> None:
        """Return when the lease is ours."""
        while True:
            if await self._try():
                return
            await asyncio.sleep(self._settings.renew_every)

    async def keep(self) -> None:
        """Renew the lease for ever; return when it is lost."""
        while self.leading:
            await asyncio.sleep(self._settings.renew_every)
            await self._try()
        log.error("lost the lease %s", self._settings.name)

    async def release(self) -> None:
        """Let the next one take over at once."""
        if not self.leading:
            return
        self._renewed_at = None
        try:
            lease = await self._kube.get(
                "coordination.k8s.io/v1", "Lease", self._settings.namespace, self._settings.name
            )
            if lease["spec"].get("holderIdentity") == self._settings.identity:
                lease["spec"]["holderIdentity"] = ""
                await self._kube.replace(lease)
        except HeadgateError as error:
            log.warning("the lease could not be released: %s", error)

    async def _try(self) -> bool:
        """One attempt to take or renew the lease. A hung or failed call is a failed attempt."""
        started = self._clock()
        try:
            async with asyncio.timeout(self._settings.renew_every * 2):
                if not await self._take_or_renew():
                    return False
        except (HeadgateError, TimeoutError) as error:
            log.warning("the lease could not be renewed: %s", error or type(error).__name__)
            return False
        self._renewed_at = started
        return True

    async def _take_or_renew(self) -> bool:
        s = self._settings
        try:
            lease = await self._kube.get("coordination.k8s.io/v1", "Lease", s.namespace, s.name)
        except NotFound:
            await self._kube.create(self._with_us({"metadata": {"name": s.name, "namespace": s.namespace}}))
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        observed = (holder, spec.get("renewTime") or "")
        if observed != self._seen:
            self._seen, self._seen_at = observed, self._clock()
        held_by_other = holder not in ("", s.identity)
        if held_by_other and self._clock() - self._seen_at < s.duration:
            self._renewed_at = None
            return False
        try:
            await self._kube.replace(self._with_us(lease))
        except Conflict:
            return False
        return True

    def _with_us(self, lease: Object) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease.get("spec") or {})
        if spec.get("holderIdentity") != self._settings.identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": int(self._settings.duration),
            "renewTime": now,
        }
        return {**lease, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
