"""Leader election with a Lease: one of the replicas decides, another takes over when it is gone.

`__main__` runs an `Election` in a thread of its own, so that a busy process does not lose the lease. The times are
those of Kubernetes' own components: who can't renew for 10 s stops, others take over 15 s after the last renewal, and
both try every 2 s. Differences from the client package's own election: what is observed is judged by our monotonic
clock (never by another machine's time), each call has a time-out of its own, the lease is released on exit, and who
has lost it stands for election again. The lease is taken and kept with conditional replaces (resourceVersion).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.edges.kube import Kube, Object
from headgate.errors import Conflict, HeadgateError, NotFound, cause_of

log = logging.getLogger("headgate.lease")


@dataclass(frozen=True)
class LeaseSettings:
    """Where the lease is, who we are, and how patient everybody is (in seconds)."""

    namespace: str
    name: str
    identity: str
    duration: float = 15.0
    """After how long without a renewal others take over."""

    @property
    def renew_deadline(self) -> float:
        """After how long without a renewal the leader itself stops: some time before others may begin."""
        return self.duration * 2 / 3

    @property
    def renew_every(self) -> float:
        """Between two attempts, of the leader to renew and of the others to take over."""
        return self.duration * 2 / 15


Connect = Callable[[], Awaitable[Kube]]
"""Opens a connection to the API server in the event loop that is running."""


class Election:
    """Stands for election for ever, and calls back on each change."""

    def __init__(
        self,
        connect: Connect,
        settings: LeaseSettings,
        clock: Callable[[], float],
        on_change: Callable[[bool], object],
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._elector: Elector | None = None

    @property
    def leading(self) -> bool:
        """Whether the lease is ours for certain. May be asked in any thread."""
        elector = self._elector
        return elector is not None and elector.leading

    async def run(self) -> None:
        """Until cancelled; then the lease is released. With a connection of its own."""
        kube = await self._connect()
        elector = self._elector = Elector(kube, self._settings, self._clock)
        try:
            while True:
                await elector.acquire()
                self._on_change(True)
                await elector.keep()
                self._on_change(False)
        finally:
            await elector.release()
            await kube.close()


class Elector:
    """Takes the lease and keeps it."""

    def __init__(self, kube: Kube, settings: LeaseSettings, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._settings = settings
        self._clock = clock
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None
        self._why = ""

    @property
    def leading(self) -> bool:
        """Whether the lease is ours for certain: renewed less than the renew deadline ago, by our own clock."""
        renewed_at = self._renewed_at
        return renewed_at is not None and self._clock() - renewed_at < self._settings.renew_deadline

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
        log.error("lost the lease %s: %s", self._settings.name, self._why)

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
            log.warning("the lease could not be released: %s", cause_of(error))

    async def _try(self) -> bool:
        """One attempt to take or renew the lease. A hung or failed call is a failed attempt."""
        started = self._clock()
        try:
            async with asyncio.timeout(limit := self._settings.renew_deadline / 2):
                if not await self._take_or_renew():
                    return False
        except TimeoutError:
            self._failed(f"the API server did not answer within {limit:g} s")
            return False
        except Exception as error:
            self._failed(cause_of(error))
            return False
        self._renewed_at = started
        return True

    def _failed(self, why: str) -> None:
        self._why = why
        if self._renewed_at is None:
            log.warning("the lease %s could not be asked for: %s", self._settings.name, why)
        else:
            age = self._clock() - self._renewed_at
            log.warning("the lease %s could not be renewed for %.1f s: %s", self._settings.name, age, why)

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
            self._renewed_at, self._why = None, f"{holder} holds it"
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
