"""What Headgate's ServiceAccounts asked the embedded cluster's API server for: no more than they may, and all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.cluster import audit

from .installation import PROMETHEUS, RELEASE, SYSTEM
from .world import World

HANDED_ON: dict[audit.Right, str] = {
    ("list", "endpointslices"): "a router's Role grants it, and nobody may grant what he has not",
    ("watch", "endpointslices"): "the same",
}
ASKED_FOR_BY_ADMISSION: dict[audit.Right, str] = {
    ("update", "modeldeployments/finalizers"): "OwnerReferencesPermissionEnforcement asks for it, where it is on",
}
LISTED_BY_A_WATCH: dict[audit.Right, str] = {
    ("list", "pods"): "Prometheus' client lists by a watch, but at an API server that can't do so",
}
NOT_IN_STORIES: dict[audit.Right, str] = {
    ("create", "horizontalpodautoscalers"): "no story scales by load: the unit tests at a real API server do",
    ("delete", "horizontalpodautoscalers"): "the same",
    ("delete", "modelrevisions"): "no story makes more records than are kept: those tests do",
    ("delete", "networkpolicies"): "no story switches them off: the unit tests at a real API server do",
}

OPERATOR, SCRAPER = f"{SYSTEM}:{RELEASE}", f"{SYSTEM}:{PROMETHEUS}"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Rights:
    """The audit log from the beginning of a session on."""

    world: World
    log: Path
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))

    def nobody_was_refused(self) -> None:
        """The operator, Prometheus and all routers had every right that they needed."""
        found = audit.events(self.log, self.since)
        assert audit.by(found, OPERATOR), f"{self.log} has nothing of the operator"
        refusals = [each for each in audit.forbidden(found) if _is_ours(each.partition(": ")[0])]
        assert not refusals, "\n".join(refusals)

    def everything_was_used(self, namespace: str, model: str) -> None:
        """Each right of the operator, of Prometheus, and of the routers by the Role of a model that is there."""
        found = audit.events(self.log, self.since)
        routers = [event for event in found if _is_router(audit.account(event))]
        of_router = self._granted(f"namespaces/{namespace}/roles/{model}-router")
        assert of_router == audit.used(routers)
        of_scraper = self._granted(f"clusterroles/{SYSTEM}-{PROMETHEUS}")
        assert of_scraper - audit.used(audit.by(found, SCRAPER)) == set(LISTED_BY_A_WATCH)
        roles = ("clusterroles/{0}-{1}", "clusterroles/{0}-{1}-metrics-review", "namespaces/{0}/roles/{1}-lease")
        of_operator = self._granted(*(role.format(SYSTEM, RELEASE) for role in roles))
        unused = of_operator - audit.used(audit.by(found, OPERATOR))
        assert unused == set(HANDED_ON | ASKED_FOR_BY_ADMISSION | NOT_IN_STORIES)

    def _granted(self, *roles: str) -> set[audit.Right]:
        found: list[Any] = [self.world.api.get(f"{_RBAC}/{role}") for role in roles]
        assert all(found), f"not all of {', '.join(roles)} are there"
        return audit.granted(*found)


def _is_ours(account: str) -> bool:
    return account in (OPERATOR, SCRAPER) or _is_router(account)


def _is_router(account: str) -> bool:
    return account.endswith("-router")
