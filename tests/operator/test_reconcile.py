"""One look, against an API server in a dictionary: what is sent, in which order, and when nothing is."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.api import API_VERSION
from headgate.api.status import Evidence
from headgate.background import DRIFT_EVERY
from headgate.edges import events
from headgate.errors import (
    Conflict,
    KubernetesError,
    NamespaceTerminating,
    NotLeading,
    RecordsUnknown,
    TooSlow,
    Unreadable,
)
from headgate.queue import Key
from headgate.reconcile import LONGEST_RECONCILIATION, REAPPLY_EVERY
from small_cluster import KEY, Cluster
from told import counts
from virtual_time import run


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_the_first_look_writes_status_then_revision_then_children(cluster: Cluster) -> None:
    assert await cluster.look() == 5.0
    verbs = [r[:2] for r in cluster.kube.writes]
    assert ("create", "Event") in verbs, "at any time: nothing waits for it"
    verbs.remove(("create", "Event"))
    assert verbs[:3] == [("status", "ModelDeployment"), ("apply", "ModelRevision"), ("status", "ModelRevision")]
    assert sorted(kind for verb, kind in verbs[3:] if verb == "apply") == [
        "Deployment",
        "Deployment",
        "PodDisruptionBudget",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "Service",
        "ServiceAccount",
    ]


async def test_a_second_look_sends_nothing(cluster: Cluster) -> None:
    await cluster.look()
    await cluster.look()
    assert cluster.kube.writes == []


async def test_an_idle_model_is_left_alone(cluster: Cluster) -> None:
    await cluster.live()
    await cluster.look()
    assert cluster.kube.requests == [("get", "ModelDeployment", "fraud")]


async def test_a_new_operator_applies_everything_again_and_changes_nothing(cluster: Cluster) -> None:
    await cluster.live()
    before = {ident: o["metadata"]["generation"] for ident, o in cluster.kube.objects.items()}
    cluster.reconciler = cluster.restarted()
    await cluster.look()
    assert {r[0] for r in cluster.kube.writes} == {"apply"}
    assert {ident: o["metadata"]["generation"] for ident, o in cluster.kube.objects.items()} == before
    await cluster.look()
    assert cluster.kube.writes == []


async def test_children_are_applied_again_after_a_while(cluster: Cluster) -> None:
    await cluster.live()
    await cluster.look(REAPPLY_EVERY)
    assert {r[0] for r in cluster.kube.writes} == {"apply"}


async def test_a_rollback_is_written_before_anything_else(cluster: Cluster) -> None:
    await cluster.canary()
    cluster.serve(candidate=(10, 90))
    await cluster.look()
    assert cluster.status["phase"] == "RollingBack"
    assert cluster.routed == {"stable": 100}
    assert cluster.kube.writes[0] == ("status", "ModelDeployment", "fraud")
    labels = {"headgate_namespace": "models", "headgate_model": "fraud", "reason": "ErrorsHigher"}
    assert cluster.telemetry.registry.get_sample_value("headgate_rollbacks_total", labels) == 1


async def test_the_pods_of_a_rejected_version_go_after_the_drain(cluster: Cluster) -> None:
    await cluster.canary()
    revision = cluster.status["candidate"]["revision"]
    cluster.serve(candidate=(10, 90))
    await cluster.look()
    await cluster.look(4)
    assert cluster.kube.find("Deployment", revision)
    await cluster.look(4)
    assert cluster.kube.find("Deployment", revision) is None
    assert cluster.kube.find("Service", revision) is None
    assert cluster.kube.find("ModelRevision", revision)["status"]["state"] == "RolledBack"
    deletions = [kind for verb, kind, _ in cluster.kube.writes if verb == "delete"]
    assert deletions[-1] == "Deployment", "the next look knows by the Deployment that something is left"


async def test_pods_are_removed_even_if_one_request_fails(cluster: Cluster) -> None:
    await cluster.canary()
    revision = cluster.status["candidate"]["revision"]
    cluster.serve(candidate=(10, 90))
    await cluster.look()
    for kind, seconds in (("Service", 8), ("Deployment", 4)):
        cluster.kube.failing["delete", kind] = KubernetesError("the API server is busy")
        with pytest.raises(KubernetesError):
            await cluster.look(seconds)
    await cluster.look()
    assert not {("Deployment", "models", revision), ("Service", "models", revision)} & set(cluster.kube.objects)


async def test_a_conflict_stops_the_look_before_anything_else_is_done(cluster: Cluster) -> None:
    await cluster.live()
    cluster.ask("v2")

    def somebody_else(verb: Any, kind: Any, name: Any) -> None:
        if (verb, kind) == ("status", "ModelDeployment"):
            cluster.ask("v3")

    cluster.kube.before = somebody_else
    with pytest.raises(Conflict):
        await cluster.look()
    assert cluster.kube.writes == [("status", "ModelDeployment", "fraud")]
    cluster.kube.before = lambda *_: None
    await cluster.look()
    assert cluster.status["candidate"]["version"] == "v3"


async def test_who_does_not_lead_writes_nothing(cluster: Cluster) -> None:
    cluster.leading = False
    with pytest.raises(NotLeading):
        await cluster.look()
    assert cluster.kube.writes == []


async def test_who_stops_leading_in_the_middle_writes_nothing_more(cluster: Cluster) -> None:
    def lose(verb: Any, kind: Any, name: Any) -> None:
        cluster.leading = cluster.leading and verb != "status"

    cluster.kube.before = lose
    with pytest.raises(NotLeading):
        await cluster.look()
    assert [r[:2] for r in cluster.kube.writes] == [("status", "ModelDeployment"), ("create", "Event")]


async def test_a_child_that_was_deleted_is_applied_again(cluster: Cluster) -> None:
    await cluster.live()
    cluster.kube.objects.pop(("Service", "models", "fraud"))
    cluster.reconciler.child_changed("Service", "models", "fraud", None)
    await cluster.look()
    assert cluster.kube.writes == [("apply", "Service", "fraud")]
    assert cluster.kube.find("Service", "fraud")


async def test_a_child_that_somebody_changed_is_applied_again(cluster: Cluster) -> None:
    await cluster.live()
    router = cluster.kube.find("Deployment", "fraud-router")
    cluster.reconciler.child_changed("Deployment", "models", "fraud-router", router["metadata"]["generation"])
    await cluster.look()
    assert cluster.kube.writes == []
    changed = {**router, "spec": {**router["spec"], "replicas": 0}}
    cluster.kube.put(changed)
    generation = cluster.kube.find("Deployment", "fraud-router")["metadata"]["generation"]
    cluster.reconciler.child_changed("Deployment", "models", "fraud-router", generation)
    await cluster.look()
    assert cluster.kube.find("Deployment", "fraud-router")["spec"]["replicas"] == 2


async def test_a_change_of_a_child_that_is_not_ours_is_no_news(cluster: Cluster) -> None:
    await cluster.live()
    cluster.reconciler.child_changed("Deployment", "models", "other", 7)
    await cluster.look()
    assert cluster.kube.writes == []


async def test_an_event_that_cannot_be_posted_stops_nothing(cluster: Cluster) -> None:
    cluster.kube.failing["create", "Event"] = KubernetesError("forbidden")
    await cluster.look()
    assert cluster.kube.find("Deployment", "fraud-router")


class Stored(KubernetesError):
    """The answer to a request that was carried out all the same is lost."""


def answers_are_lost(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, verb: str, kind: str, times: int) -> None:
    """Of the next requests of a kind: they are carried out, and end in an error."""
    left, send = [times], getattr(cluster.kube, verb)

    async def sent(manifest: dict[str, Any]) -> Any:
        answer = await send(manifest)
        if manifest["kind"] == kind and left[0]:
            left[0] -= 1
            raise Stored("the connection was closed")
        return answer

    monkeypatch.setattr(cluster.kube, verb, sent)


@pytest.mark.parametrize("error", [KubernetesError("500"), Conflict("409 of a quota: the object has been modified")])
async def test_an_event_is_posted_until_it_is_stored_and_stored_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, error: KubernetesError
) -> None:
    monkeypatch.setattr(events, "FIRST_DELAY", 0.001)
    cluster.kube.failing["create", "Event"] = error
    answers_are_lost(cluster, monkeypatch, "create", "Event", 1)
    await cluster.look()
    assert reasons_of_events(cluster) == ["RolloutStarted"]
    assert [verb for verb, kind, _ in cluster.kube.requests if kind == "Event"] == ["create"] * 3
    assert len(cluster.events) == 0, "none waits any more"


async def test_what_was_decided_is_told_once_where_the_answer_to_the_status_is_lost(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.canary()
    before = reasons_of_events(cluster)
    cluster.serve(candidate=(10, 90))
    answers_are_lost(cluster, monkeypatch, "apply_status", "ModelDeployment", 1)
    with pytest.raises(Stored):
        await cluster.look()
    assert cluster.status["phase"] == "RollingBack"
    # The lease was lost at that moment too, and another time as the leader begins.
    cluster.reconciler = cluster.restarted()
    await cluster.look()
    await cluster.look()
    assert reasons_of_events(cluster) == [*before, "RolledBack"]
    labels = {"headgate_namespace": "models", "headgate_model": "fraud", "reason": "ErrorsHigher"}
    assert cluster.telemetry.registry.get_sample_value("headgate_rollbacks_total", labels) == 1
    assert not cluster.statuses._unsure


async def test_what_was_not_stored_is_not_told(cluster: Cluster) -> None:
    await cluster.live()
    before = reasons_of_events(cluster)
    cluster.kube.failing["status", "ModelDeployment"] = KubernetesError("500")
    cluster.ask("v2")
    with pytest.raises(KubernetesError):
        await cluster.look()
    cluster.ask("v3")
    await cluster.look()
    told = [o["message"] for (kind, *_), o in cluster.kube.objects.items() if kind == "Event"]
    assert reasons_of_events(cluster) == [*before, "RolloutStarted"]
    assert "v3" in told[-1]


async def test_that_it_can_not_be_read_is_told_where_the_answer_is_lost(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.live()
    unknown_field(cluster.kube.find("ModelDeployment", "fraud"))
    answers_are_lost(cluster, monkeypatch, "apply_status", "ModelDeployment", 1)
    with pytest.raises(Stored):
        await cluster.look()
    for _ in range(2):
        with pytest.raises(Unreadable):
            await cluster.look()
    assert reasons_of_events(cluster).count("ObjectUnreadable") == 1


async def test_events_are_posted_once_with_reason_and_message(cluster: Cluster) -> None:
    await cluster.live()
    found = [o for (kind, *_), o in cluster.kube.objects.items() if kind == "Event"]
    assert [e["reason"] for e in found] == ["RolloutStarted", "Live"]
    assert all(e["involvedObject"]["uid"] == "uid-fraud" and e["type"] == "Normal" for e in found)


async def test_a_child_that_cannot_be_applied_does_not_hide_the_status(cluster: Cluster) -> None:
    cluster.kube.failing["apply", "Role"] = KubernetesError("forbidden")
    with pytest.raises(KubernetesError):
        await cluster.look()
    assert cluster.status["phase"] == "Pending"
    await cluster.look()
    assert cluster.kube.find("Role", "fraud-router")


async def test_a_model_that_is_gone_is_forgotten(cluster: Cluster) -> None:
    await cluster.live()
    labels = {"headgate_namespace": "models", "headgate_model": "fraud", "phase": "Stable"}
    assert cluster.telemetry.registry.get_sample_value("headgate_rollout_phase", labels) == 1
    cluster.kube.objects.pop(("ModelDeployment", "models", "fraud"))
    assert await cluster.look() is None
    assert cluster.kube.writes == []
    assert cluster.telemetry.registry.get_sample_value("headgate_rollout_phase", labels) is None


async def test_a_model_that_is_being_deleted_is_left_alone(cluster: Cluster) -> None:
    await cluster.live()
    cluster.kube.find("ModelDeployment", "fraud")["metadata"]["deletionTimestamp"] = "2026-11-20T12:00:00Z"
    assert await cluster.look(1000) is None
    assert cluster.kube.writes == []


async def test_a_whole_promotion_restarts_no_pod(cluster: Cluster) -> None:
    await cluster.canary()
    templates = {
        name: o["metadata"]["generation"] for (kind, _, name), o in cluster.kube.objects.items() if kind == "Deployment"
    }
    for _ in range(20):
        phase = cluster.status["phase"]
        if phase == "Stable":
            break
        seconds = 300 if phase == "Soaking" else 2
        cluster.serve(candidate=(500, 0), stable=(500 if phase == "Canary" else 0, 0), seconds=seconds)
        await cluster.look(seconds)
    assert cluster.status["stable"]["version"] == "v2"
    for name, generation in templates.items():
        assert cluster.kube.find("Deployment", name)["metadata"]["generation"] == generation


async def test_drift_is_looked_at_every_five_minutes_or_so(cluster: Cluster) -> None:
    await cluster.live()
    cluster.metrics.asked.clear()
    for _ in range(40):
        await cluster.look(0.05 * DRIFT_EVERY)
    assert len(cluster.metrics.asked) in (1, 2)


async def test_an_old_record_beyond_the_limit_is_deleted(cluster: Cluster) -> None:
    await cluster.live()
    for i in range(14):
        cluster.ask(f"w{i}")
        await cluster.look(10)
        await cluster.look(10)
    records = [name for kind, _, name in cluster.kube.objects if kind == "ModelRevision"]
    assert len(records) == 10 + 2


async def test_the_metrics_show_what_was_decided(cluster: Cluster) -> None:
    await cluster.canary()
    base = {"headgate_namespace": "models", "headgate_model": "fraud"}
    value = cluster.telemetry.registry.get_sample_value
    revision = cluster.status["candidate"]["revision"]
    assert value("headgate_rollout_phase", {**base, "phase": "Canary"}) == 1
    weight = {**base, "headgate_revision": revision, "role": "candidate"}
    assert value("headgate_traffic_weight", weight) == 1.0
    assert value("headgate_revision_info", {**weight, "version": "v2"}) == 1


async def test_an_autoscaler_that_the_spec_no_longer_asks_for_goes(cluster: Cluster) -> None:
    cluster.ask("v1", runtime={"autoscaling": {"maxReplicas": 3}})
    await cluster.live()
    revision = cluster.status["stable"]["revision"]
    assert ("HorizontalPodAutoscaler", revision) in {(k, n) for k, _, n in cluster.kube.objects}
    cluster.ask("v1")
    await cluster.look()
    assert ("HorizontalPodAutoscaler", revision) not in {(k, n) for k, _, n in cluster.kube.objects}


async def test_a_decision_keeps_its_evidence_though_the_cache_of_revisions_lags(cluster: Cluster) -> None:
    await cluster.canary()
    revision = cluster.status["candidate"]["revision"]
    lagging = cluster.kube.children("models", "fraud")
    cluster.kube.children = lambda namespace, model: lagging  # type: ignore[method-assign]
    for _ in range(4):
        phase = cluster.status["phase"]
        cluster.serve(candidate=(2000, 0), stable=(2000 if phase == "Canary" else 0, 0), seconds=2)
        await cluster.look(2)
    (decision,) = cluster.kube.find("ModelRevision", revision)["status"]["decisions"]
    assert decision["decision"] == "Promoted"
    assert cluster.status["rollout"]["candidateRequests"] > decision["candidateRequests"]
    evidence = Evidence.read(decision["evidence"])
    assert counts(evidence, "errors")["candidateAttempts"] == decision["candidateRequests"]
    assert not [entry for entry in evidence.signals if entry.state], "nobody goes on with a record"


def test_a_rollback_does_not_wait_for_what_decides_nothing() -> None:
    async def story(clock: Any) -> None:
        cluster = await Cluster().canary()
        for question in ("largest", "gains"):
            setattr(cluster.metrics, question, hang)
        await cluster.reconciler.reconcile(KEY)
        cluster.background._known[KEY].drift_due = 0.0
        await cluster.reconciler.reconcile(KEY)
        cluster.serve(candidate=(10, 90))
        cluster.now += 1
        cluster.metrics.time = cluster.now
        start = clock()
        await cluster.reconciler.reconcile(KEY)
        assert cluster.status["phase"] == "RollingBack"
        assert clock() == start
        await cluster.background.close()

    run(story)


async def hang(*_: Any) -> None:
    await asyncio.Event().wait()


def test_a_look_whose_requests_hang_is_given_up_after_what_decides_was_written() -> None:
    async def story(clock: Any) -> None:
        cluster = await Cluster().canary()
        cluster.serve(candidate=(10, 90))
        cluster.now += 1
        cluster.metrics.time = cluster.now
        plain = cluster.kube.apply_status

        async def apply_status(manifest: dict[str, Any]) -> Any:
            return await (hang() if manifest["kind"] == "ModelRevision" else plain(manifest))

        cluster.kube.apply_status = apply_status  # type: ignore[method-assign]
        start = clock()
        with pytest.raises(TooSlow):
            await cluster.reconciler.reconcile(KEY)
        assert clock() - start == pytest.approx(LONGEST_RECONCILIATION)
        assert (cluster.status["phase"], cluster.routed) == ("RollingBack", {"stable": 100})

    run(story)


def test_nothing_waits_for_an_event_that_hangs() -> None:
    async def story(clock: Any) -> None:
        cluster = Cluster()
        cluster.kube.create = hang  # type: ignore[method-assign, assignment]
        start = clock()
        await cluster.reconciler.reconcile(KEY)
        assert (clock(), len(cluster.events)) == (start, 1)
        assert cluster.kube.find("Deployment", "fraud-router")

    run(story)


def without_records(cluster: Cluster) -> None:
    """The cache has lost the ModelRevisions, or has not heard of them."""
    plain = cluster.kube.children
    cluster.kube.children = lambda *of: replace(plain(*of), revisions=())  # type: ignore[method-assign]


async def test_a_record_that_the_cache_lacks_is_asked_for_and_no_pod_is_restarted(cluster: Cluster) -> None:
    await cluster.canary()
    before = {ident: o for ident, o in cluster.kube.objects.items() if ident[0] in ("Deployment", "ModelRevision")}
    without_records(cluster)
    cluster.reconciler = cluster.restarted()
    await cluster.look()
    candidate = cluster.status["candidate"]["revision"]
    assert cluster.kube.find("ModelRevision", candidate)["status"]["baseline"]
    for (kind, namespace, name), was in before.items():
        now = cluster.kube.find(kind, name, namespace)
        assert now["metadata"]["generation"] == was["metadata"]["generation"]
        assert now.get("status") == was.get("status")


@pytest.mark.parametrize("error", [KubernetesError("503"), TimeoutError(), "unreadable"])
async def test_no_rollback_waits_for_a_record_that_can_not_be_asked_for_or_read(cluster: Cluster, error: Any) -> None:
    await cluster.canary()
    candidate = cluster.status["candidate"]["revision"]
    without_records(cluster)
    plain = cluster.kube.get

    async def get(api_version: Any, kind: Any, namespace: Any, name: Any) -> Any:
        if kind == "ModelRevision" and name == candidate:
            if isinstance(error, Exception):
                raise error
            return {"metadata": {"name": name}, "spec": {"from": "another version"}}
        return await plain(api_version, kind, namespace, name)

    cluster.kube.get = get  # type: ignore[method-assign]
    cluster.serve(candidate=(10, 90))
    with pytest.raises(RecordsUnknown, match=candidate):
        await cluster.look()
    assert (cluster.status["phase"], cluster.routed) == ("RollingBack", {"stable": 100})
    touched = {name for verb, kind, name in cluster.kube.writes if kind != "Event"}
    assert candidate not in touched, "nothing is made anew of what may be there"


def stalled(cluster: Cluster) -> dict[str, Any]:
    return next(c for c in cluster.status["conditions"] if c["type"] == "Stalled")


def reasons_of_events(cluster: Cluster) -> list[Any]:
    return [o["reason"] for (kind, *_), o in cluster.kube.objects.items() if kind == "Event"]


async def test_a_record_in_use_that_stays_unreadable_is_a_condition(cluster: Cluster) -> None:
    await cluster.canary()
    candidate = cluster.status["candidate"]["revision"]
    without_records(cluster)
    cluster.kube.find("ModelRevision", candidate)["spec"] = {"from": "another version"}
    for seconds in (1, 5, 7):
        with pytest.raises(RecordsUnknown):
            await cluster.look(seconds)
    told = stalled(cluster)
    assert (told["status"], told["reason"]) == ("True", "RecordsUnknown")
    assert candidate in told["message"]
    assert "spec." in told["message"], "which field it is"
    assert reasons_of_events(cluster).count("RecordsUnknown") == 1


def too_large_alpha(found: dict[str, Any]) -> str:
    found["spec"]["rollout"] = {"alpha": 0.9}
    return "spec.rollout.alpha"


def unknown_field(found: Any) -> Any:
    found["spec"]["model"]["flavour"] = "new"
    return "spec.model.flavour"


def condition_without_a_time(found: Any) -> Any:
    del found["status"]["conditions"][0]["lastTransitionTime"]
    return "status.conditions.0.lastTransitionTime"


def weight_in_words(found: Any) -> Any:
    found["status"]["traffic"][0]["weight"] = "all"
    return "status.traffic.0.weight"


@pytest.mark.parametrize("spoil", [too_large_alpha, unknown_field, weight_in_words, condition_without_a_time])
async def test_what_can_not_be_read_is_said_once_and_nothing_else_changes(
    cluster: Cluster, spoil: Callable[..., Any]
) -> None:
    await cluster.canary()
    found = cluster.kube.find("ModelDeployment", "fraud")
    where = spoil(found)
    before = json.loads(json.dumps(found["status"]))
    for _ in range(3):
        with pytest.raises(Unreadable, match=re.escape(where)):
            await cluster.look()
    told = stalled(cluster)
    assert (told["status"], told["reason"], where in told["message"]) == ("True", "ObjectUnreadable", True)
    assert reasons_of_events(cluster).count("ObjectUnreadable") == 1
    assert cluster.kube.writes == [], "it is written once"
    known = {c["type"]: c["status"] for c in cluster.status["conditions"]}
    assert (known["Reconciling"], known["Ready"]) == ("False", "True"), "users are served as before"
    rest = {name: value for name, value in cluster.status.items() if name not in ("conditions", "observedGeneration")}
    assert rest == {name: value for name, value in before.items() if name in rest}
    labels = {"headgate_namespace": "models", "headgate_model": "fraud"}
    labels |= {"type": "Stalled", "status": "True", "reason": "ObjectUnreadable"}
    assert cluster.telemetry.registry.get_sample_value("headgate_condition", labels) == 1


async def test_what_is_unreadable_from_the_first_look_on_has_a_status_too(cluster: Cluster) -> None:
    too_large_alpha(cluster.kube.find("ModelDeployment", "fraud"))
    with pytest.raises(Unreadable):
        await cluster.look()
    assert stalled(cluster)["reason"] == "ObjectUnreadable"


async def test_what_has_been_mended_goes_on(cluster: Cluster) -> None:
    await cluster.canary()
    found = cluster.kube.find("ModelDeployment", "fraud")
    too_large_alpha(found)
    with pytest.raises(Unreadable):
        await cluster.look()
    del cluster.kube.find("ModelDeployment", "fraud")["spec"]["rollout"]
    await cluster.look()
    assert (cluster.status["phase"], stalled(cluster)["status"]) == ("Canary", "False")


async def test_a_record_that_can_not_be_read_and_that_nobody_needs_holds_up_nothing(cluster: Cluster) -> None:
    await cluster.live()
    labels = {"headgate.dev/model": "fraud"}
    meta = {"namespace": "models", "name": "fraud-00000000", "labels": labels}
    old = {"apiVersion": API_VERSION, "kind": "ModelRevision", "metadata": meta, "spec": {"from": "another version"}}
    cluster.kube.put(old)
    cluster.ask("v2")
    await cluster.look()
    assert cluster.status["candidate"]["version"] == "v2"


async def test_a_child_that_is_refused_stops_nothing_but_itself(cluster: Cluster) -> None:
    await cluster.canary()
    revision = cluster.status["candidate"]["revision"]
    cluster.serve(candidate=(10, 90))
    cluster.reconciler = cluster.restarted()

    def refuse(verb: Any, kind: Any, name: Any) -> None:
        if (verb, kind) == ("apply", "PodDisruptionBudget"):
            raise KubernetesError("403 forbidden")

    cluster.kube.before = refuse
    for seconds in (1, 4, 4, 4):
        with pytest.raises(KubernetesError, match="403"):
            await cluster.look(seconds)
    assert cluster.status["phase"] == "RolledBack"
    assert cluster.kube.find("Deployment", revision) is None, "the pods go"
    labels = {"headgate_namespace": "models", "headgate_model": "fraud", "phase": "RolledBack"}
    assert cluster.telemetry.registry.get_sample_value("headgate_rollout_phase", labels) == 1


async def test_what_is_known_of_a_model_with_a_longer_name_stays(cluster: Cluster) -> None:
    await cluster.live()
    cluster.reconciler._forget(Key("models", "frau"))
    cluster.reconciler._forget(Key("models", "fraud-a"))
    await cluster.look()
    assert cluster.kube.writes == []


@pytest.mark.parametrize("role", ["stable", "candidate"])
async def test_a_record_that_somebody_deleted_is_made_again_as_it_was(cluster: Cluster, role: str) -> None:
    await cluster.canary()
    revision = cluster.status[role]["revision"]
    lost = cluster.kube.objects.pop(("ModelRevision", "models", revision))
    generation = cluster.kube.find("Deployment", revision)["metadata"]["generation"]
    cluster.reconciler = cluster.restarted()
    await cluster.look()
    found = cluster.kube.find("ModelRevision", revision)
    assert found["spec"] == lost["spec"]
    assert found["status"].get("baseline") == lost["status"].get("baseline")
    assert cluster.kube.find("Deployment", revision)["metadata"]["generation"] == generation
    await cluster.look()
    assert not [w for w in cluster.kube.writes if w[1] == "ModelRevision"], "once"


async def test_events_in_a_namespace_that_is_being_deleted_are_not_worth_a_warning(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.kube.failing["create", "Event"] = NamespaceTerminating("forbidden: it is being terminated")
    await cluster.look()
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]


async def test_nothing_is_kept_of_a_model_that_is_gone(cluster: Cluster) -> None:
    await cluster.canary()
    cluster.kube.objects.clear()
    await cluster.look()
    assert not cluster.reconciler._applied
    assert not cluster.reconciler._recorded
    assert not cluster.background._known


async def test_a_refusal_that_lasts_is_a_condition_and_an_event_in_the_api_servers_words(cluster: Cluster) -> None:
    await cluster.live()

    def refuse(verb: Any, kind: Any, name: Any) -> None:
        if (verb, kind) == ("apply", "Deployment"):
            raise KubernetesError("403 exceeded quota")

    cluster.kube.before = refuse
    cluster.ask("v2")
    for seconds in (1, 5, 7):
        with pytest.raises(KubernetesError):
            await cluster.look(seconds)

    assert (stalled(cluster)["status"], stalled(cluster)["reason"]) == ("True", "ChildRefused")
    assert "403 exceeded quota" in stalled(cluster)["message"]
    assert cluster.kube.find("Service", cluster.status["candidate"]["revision"]), "everything else is applied"
    assert reasons_of_events(cluster).count("ChildRefused") == 1
    cluster.kube.before = lambda *_: None
    await cluster.look()
    await cluster.look()
    assert stalled(cluster)["status"] == "False"
