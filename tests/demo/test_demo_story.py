"""The story, played to a scripted cluster; and the manifests that it applies."""

import io
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from rich.console import Console

from demo import scene, story, watch
from demo.api import Unreadable
from demo.claims import VERDICTS, claims
from demo.recording import Recording
from demo.screen import Lines
from demo.story import Part
from demo.watch import Watcher
from headgate.api.spec import Spec
from patience import PATIENCE
from tools.setup import cache

VALUES = {
    "VERSION": "v1",
    "DIGEST": "sha256:" + "a" * 64,
    "LOAD_SECONDS": "10",
    **{
        f"{name}_IMAGE": f"localhost/{name.lower()}:1"
        for name in ("DEMO", "OPERATOR", "SERVING", "ENVOY", "PROMETHEUS")
    },
}


class Cluster:
    """Answers like a cluster on which each version needs a few looks; also the story's scene and its clock."""

    def __init__(self, outcomes: dict[str, str]) -> None:
        self.outcomes = outcomes
        self.screen = Lines(Console(file=io.StringIO()))
        self.now = 1000.0
        self.version = ""
        self.applied = 0.0
        self.stable = ""
        self.clients_since = 0.0
        self.history: list[dict[str, Any]] = []

    def apply(self, version: str) -> None:
        self.version, self.applied = version, self.now

    def start_clients(self) -> None:
        self.clients_since = self.now

    def clock(self) -> float:
        self.now += 0.01
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def get(self, path: str, _query: dict[str, str] | None = None) -> Any:
        assert path == watch.RESOURCE
        return {"metadata": {"generation": 1}, "status": self._status()}

    def items(self, path: str, query: dict[str, str] | None = None) -> list[dict[str, Any]]:
        if path == watch.EVENTS:
            return []
        assert query == {"labelSelector": "headgate.dev/component"}
        pods = [("router-0", {}), *((f"{v}-0", {"headgate.dev/revision": f"c-{v}"}) for v in VERDICTS)]
        return [
            {"metadata": {"uid": f"uid-{name}", "name": name, "labels": labels}, "status": {}} for name, labels in pods
        ]

    def of_service(self, _namespace: str, service: str, _path: str, query: dict[str, str]) -> Any:
        if service.startswith("headgate-prometheus"):
            values = {"c-v1": 500, "c-v2": 900, "c-v3": 100, "c-v4": 300}
            series = [{"metric": {"headgate_revision": name}, "value": [0, str(n)]} for name, n in values.items()]
            return {"data": {"result": series}}
        if not self.clients_since:
            raise Unreadable("no such service")
        seconds = range(max(int(query["since"]), int(self.clients_since)), int(self.now) + 1)
        counts = {"sent": 50, "ok": 50, "failed": 0, "late": 0, "correct": 40}
        return {
            "totals": {"ok": 1, "failed": 0},
            "revisions": {},
            "seconds": [{"time": at, **counts, "revisions": {}} for at in seconds],
        }

    def _status(self) -> dict[str, Any]:
        version, age = self.version, self.now - self.applied
        outcome = self.outcomes.get(version, "")
        rollout = {
            **{"version": version, "revision": f"c-{version}", "phase": "Canary", "candidateRequests": 100},
            "evidence": {
                "logHarm": 1.0,
                "threshold": 4.6,
                "signals": [
                    {"name": "errors", "logHarm": 5.0 if version == "v3" else 0.0},
                    {"name": "predictions", "logHarm": 6.0 if version == "v4" else 0.0},
                ],
            },
        }
        status: dict[str, Any] = {"phase": "Canary", "rollout": rollout, "history": self.history}
        if age > 5 and outcome:
            self._decide(version, outcome)
            status["phase"] = "RolledBack" if outcome == "RolledBack" else "Stable"
        elif self.stable:
            status["candidate"] = {"version": version, "revision": f"c-{version}"}
            status["traffic"] = [{"revision": f"c-{version}", "weight": 10}]
        if self.stable:
            status["stable"] = {"version": self.stable, "revision": f"c-{self.stable}"}
        return status

    def _decide(self, version: str, outcome: str) -> None:
        if not any(entry["version"] == version for entry in self.history):
            entry = {"version": version, "revision": f"c-{version}", "decision": outcome}
            self.history.insert(0, {**entry, "candidateRequests": 100, "seconds": 4, "reason": "Because"})
        if outcome != "RolledBack":
            self.stable = version


def played(outcomes: dict[str, str]) -> Recording:
    cluster = Cluster(outcomes)
    recording = Recording()
    watcher = Watcher(cluster, recording, cluster.screen, clock=cluster.clock, sleep=cluster.sleep)  # type: ignore[arg-type]
    story.play(cluster, watcher)  # type: ignore[arg-type]
    return recording


def test_the_story_as_it_should_be() -> None:
    recording = played(VERDICTS)
    assert [(act.version, act.outcome) for act in recording.acts] == list(VERDICTS.items())
    assert [claim for claim in claims(recording) if not claim.held] == []
    v2 = recording.act("v2")
    assert v2 and set(v2.pods_before.values()) == {"router-0", "v2-0"}
    assert (v2.candidate_requests, v2.decided_after, v2.reason) == (100, 4, "Because")
    assert recording.attempts == {"v1": 500, "v2": 900, "v3": 100, "v4": 300}


@pytest.mark.parametrize(
    ("outcomes", "last"),
    [
        ({}, ("v1", "TimedOut")),
        ({"v1": "Live", "v2": "RolledBack"}, ("v2", "RolledBack")),
        ({"v1": "Live", "v2": "Promoted", "v3": "Promoted"}, ("v3", "Promoted")),
        ({"v1": "Live", "v2": "Promoted", "v3": "RolledBack"}, ("v4", "TimedOut")),
    ],
    ids=["nothing happens", "the better model goes", "a bad model stays", "a bad model is not seen"],
)
def test_a_wrong_turn_ends_the_story_and_is_told(outcomes: dict[str, str], last: tuple[str, str]) -> None:
    recording = played(outcomes)
    assert (recording.acts[-1].version, recording.acts[-1].outcome) == last
    assert not all(claim.held for claim in claims(recording))


def test_the_story_ends_within_its_time() -> None:
    assert sum(part.deadline for part in story.PARTS) + story.BEFORE + story.AFTER < scene.LOAD_SECONDS
    assert {part.version: part for part in story.PARTS}.keys() == VERDICTS.keys()
    assert all(isinstance(part, Part) for part in story.PARTS)


def filled(name: str) -> list[dict[str, Any]]:
    text = Template((scene.MANIFESTS / name).read_text()).substitute(VALUES)
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("name", sorted(path.name for path in scene.MANIFESTS.glob("*.yaml")))
def test_a_filled_manifest_is_yaml_without_placeholders(name: str) -> None:
    assert "${" not in str(filled(name))


def test_the_model_deployment_is_one_that_headgate_accepts() -> None:
    (resource,) = filled("census.yaml")
    spec = Spec.model_validate(resource["spec"])
    assert spec.model.version == "v1"
    assert spec.rollout.margins.predictions == "10%"


@pytest.mark.parametrize("name", ["artifacts.yaml", "load.yaml"])
def test_the_demos_own_pods_are_restricted(name: str) -> None:
    workload = next(each for each in filled(name) if each["kind"] in ("Deployment", "Pod"))
    pod = workload["spec"]["template"]["spec"] if workload["kind"] == "Deployment" else workload["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_both_namespaces_refuse_other_pods() -> None:
    for namespace in filled("namespaces.yaml"):
        assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_helm_values_are_ones_that_the_chart_knows() -> None:
    import json

    import jsonschema

    schema = json.loads((cache.REPOSITORY / scene.CHART / "values.schema.json").read_text())
    (values,) = filled("values.yaml")
    defaults = yaml.safe_load((cache.REPOSITORY / scene.CHART / "values.yaml").read_text())
    jsonschema.validate({**defaults, **values}, schema)


def test_files_are_served_and_folders_are_not_listed(tmp_path: Path) -> None:
    import threading
    import urllib.error
    import urllib.request

    from demo import files

    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "manifest.json").write_text("{}")
    with files.server(tmp_path, "127.0.0.1", 0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{serving.server_port}"
        with urllib.request.urlopen(f"{base}/v1/manifest.json", timeout=PATIENCE) as response:
            assert response.read() == b"{}"
        for path in ("/v1/", "/none", "/../../etc/passwd"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(base + path, timeout=PATIENCE)
            caught.value.close()
            assert caught.value.code == 404
        serving.shutdown()
        thread.join()
