"""The API server's audit log: what service accounts asked for, whether they were refused it, which rights they used.

The log has one event for each request, without bodies. It is turned over when it is full, and the oldest part goes.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

MEGABYTES, BACKUPS = 50, 3
"""Of one file, and how many full ones are kept."""

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        # Whoever takes rights away: what an account is refused afterwards is no fault of its Role.
        {
            "level": "Metadata",
            "verbs": ["delete", "deletecollection"],
            "resources": [{"group": "rbac.authorization.k8s.io", "resources": ["roles", "rolebindings"]}],
        },
        # Kubernetes' own controllers ask for more than everybody else together.
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}

Event = Mapping[str, Any]
Right = tuple[str, str]
"""Verb, and the resource with its subresource."""

_PREFIX = "system:serviceaccount:"


def arguments(policy: Path, log: Path) -> list[str]:
    """Of the API server, so that it follows the policy in this file and writes that log."""
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
        f"--audit-log-maxsize={MEGABYTES}",
        f"--audit-log-maxbackup={BACKUPS}",
    ]


def events(log: Path, since: str = "") -> list[Event]:
    """All that the log and its backups have, the oldest first, from a time on: in RFC 3339, UTC, as in the log."""
    files = [*sorted(log.parent.glob(f"{log.stem}-*{log.suffix}")), log]
    return [event for file in files for event in _in(file) if event["stageTimestamp"] >= since]


def _in(file: Path) -> Iterator[Event]:
    for line in file.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # the API server may be about to write the rest of the last one
            yield json.loads(line)


def account(event: Event) -> str:
    """NAMESPACE:NAME of the service account that asked; empty for other users."""
    name = str(event["user"]["username"])
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""


def by(found: Iterable[Event], *accounts: str) -> list[Event]:
    """Those of some service accounts."""
    return [event for event in found if account(event) in accounts]


def forbidden(found: Iterable[Event]) -> list[str]:
    """Each request that an account had no right to, in words, but those after its Role or RoleBinding was deleted.

    A 403 of an admission plugin, such as in a namespace that is being deleted, is no question of rights. Nor is a
    refusal of what the account was allowed before and after: an API server that has just started knows no roles yet.
    """
    in_order = sorted(found, key=lambda each: str(each["requestReceivedTimestamp"]))
    allowed = _allowed(in_order)
    ended = set[str]()
    refusals = set[str]()
    for event in in_order:
        about, who = event.get("objectRef", {}), account(event)
        if event["verb"].startswith("delete") and about.get("resource") in ("roles", "rolebindings"):
            ended.add(f"{about['namespace']}:{about.get('name', '')}")
        elif _is_refused(event) and not (_was_allowed(event, allowed) or _has_ended(who, ended)):
            refusals.add(f"{who}: {event['verb']} {event['requestURI']}")
    return sorted(refusals)


def _has_ended(who: str, ended: Container[str]) -> bool:
    namespace, _, _ = who.partition(":")
    return who in ended or f"{namespace}:" in ended


def _allowed(in_order: Iterable[Event]) -> dict[tuple[str, ...], tuple[str, str]]:
    """When each request was allowed for the first and for the last time."""
    times = dict[tuple[str, ...], tuple[str, str]]()
    for event in in_order:
        if not _is_refused(event):
            at, request = str(event["requestReceivedTimestamp"]), _request(event)
            times[request] = (times.get(request, (at, at))[0], at)
    return times


def _was_allowed(event: Event, allowed: Mapping[tuple[str, ...], tuple[str, str]]) -> bool:
    first, last = allowed.get(_request(event), ("~", ""))
    return bool(first < event["requestReceivedTimestamp"] < last)


def _request(event: Event) -> tuple[str, ...]:
    """Who asked for what."""
    about = event.get("objectRef", {})
    parts = ("apiGroup", "resource", "subresource", "namespace", "name")
    return account(event), event["verb"], *(about.get(part, "") for part in parts)


def _is_refused(event: Event) -> bool:
    decision: str = event.get("annotations", {}).get("authorization.k8s.io/decision", "")
    return decision == "forbid"


def used(found: Iterable[Event]) -> set[Right]:
    """The rights that requests for resources needed, as far as they were allowed."""
    return {
        right
        for event in found
        if "resource" in event.get("objectRef", {}) and not _is_refused(event)
        for right in _needed(event)
    }


def _needed(event: Event) -> set[Right]:
    """An apply that creates needs the right to create as well."""
    about = event["objectRef"]
    resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    return {(event["verb"], resource)} | ({("create", resource)} if event["responseStatus"]["code"] == 201 else set())


def granted(*roles: Mapping[str, Any]) -> set[Right]:
    """Verb and resource of each rule of Roles and ClusterRoles."""
    rules = [rule for role in roles for rule in role["rules"]]
    return {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule.get("resources", ())}
