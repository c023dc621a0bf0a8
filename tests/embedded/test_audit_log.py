"""What is read in an audit log: refusals, and which rights were used."""

import json
from pathlib import Path
from typing import Any

from tools.cluster import audit

ROUTER = "models:fraud-router"


def event(
    second: int, verb: str, resource: str, who: str = ROUTER, name: str = "", code: int = 200, decision: str = "allow"
) -> dict[str, Any]:
    """One request for a resource in the namespace `models`."""
    at = f"2026-01-01T00:00:{second:02}.000000Z"
    resource, _, subresource = resource.partition("/")
    about = {"resource": resource, "namespace": "models", "name": name, "subresource": subresource}
    return {
        "user": {"username": f"system:serviceaccount:{who}"},
        "verb": verb,
        "requestURI": f"/{resource}",
        "requestReceivedTimestamp": at,
        "stageTimestamp": at,
        "objectRef": {key: value for key, value in about.items() if value},
        "responseStatus": {"code": code},
        "annotations": {"authorization.k8s.io/decision": decision},
    }


def refusal(second: int, who: str = ROUTER) -> dict[str, Any]:
    return event(second, "list", "secrets", who, code=403, decision="forbid")


def test_a_request_without_the_right_is_found() -> None:
    assert audit.forbidden([event(0, "list", "pods"), refusal(1)]) == [f"{ROUTER}: list /secrets"]


def test_what_admission_refuses_is_no_question_of_rights() -> None:
    assert audit.forbidden([event(0, "create", "pods", code=403)]) == []


def test_a_refusal_counts_until_the_accounts_rights_are_deleted() -> None:
    others = "models:risk-router"
    gone = event(5, "delete", "rolebindings", "kube-system:generic-garbage-collector", "fraud-router")
    everything = event(5, "deletecollection", "roles", "kube-system:namespace-controller")
    assert audit.forbidden([refusal(6), gone, refusal(6, others)]) == [f"{others}: list /secrets"]
    assert audit.forbidden([gone, refusal(4)]) == [f"{ROUTER}: list /secrets"]
    assert audit.forbidden([refusal(6), everything, refusal(6, others)]) == []


def test_an_api_server_that_knows_no_roles_yet_refuses_nothing_for_good() -> None:
    def ask(second: int) -> dict[str, Any]:
        return event(second, "list", "secrets")

    assert audit.forbidden([ask(0), refusal(1), ask(2)]) == []
    for found in ([refusal(1), ask(2)], [ask(0), refusal(1)], [event(0, "list", "pods"), refusal(1), ask(2)]):
        assert audit.forbidden(found) == [f"{ROUTER}: list /secrets"]


def test_an_apply_that_creates_uses_the_right_to_create_as_well() -> None:
    found = [event(0, "patch", "services", code=201), event(0, "patch", "modeldeployments/status"), refusal(1)]
    assert audit.used(found) == {("patch", "services"), ("create", "services"), ("patch", "modeldeployments/status")}


def test_what_roles_grant() -> None:
    rules = [
        {"resources": ["pods", "services"], "verbs": ["list"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ]
    assert audit.granted({"rules": rules}, {"rules": []}) == {("list", "pods"), ("list", "services")}


def test_the_log_and_its_backups_are_read_from_a_time_on_without_what_is_half_written(tmp_path: Path) -> None:
    lines = [json.dumps(event(second, "list", "pods")) for second in range(4)]
    (tmp_path / "audit-2026-01-01T00-00-01.000.log").write_text(f"{lines[0]}\n{lines[1]}\n")
    (tmp_path / "audit.log").write_text(f"{lines[2]}\n{lines[3]}\n{lines[0][:20]}")
    (tmp_path / "other.log").write_text("no audit log\n")
    found = audit.events(tmp_path / "audit.log", "2026-01-01T00:00:01")
    assert [each["stageTimestamp"][17:19] for each in found] == ["01", "02", "03"]
    assert audit.by(found, ROUTER, "a:b") == found
    assert audit.by(found, "a:b") == []
