"""A tenant with full rights over its own namespace tries to move, stall or read what others have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stories import hostile
from stories.clients import Clients
from stories.installation import Headgate
from stories.manifests import HARDENED, pod, service
from stories.models import Model, identities
from stories.seen import Seen
from stories.waiting import until
from stories.world import Artifact, delete_namespace, new_namespace

Json = dict[str, Any]
SCRIPT = Path(hostile.__file__)


@dataclass(frozen=True)
class Tenant:
    """The hostile one, and whom it is after."""

    headgate: Headgate
    namespace: str
    victim: Model
    bait: Model
    """Its own model, about which its exporters tell what is to be read of others."""

    def apply(self, *objects: Json) -> None:
        self.headgate.world.cluster.apply(*objects)

    def run(self, name: str, what: str, labels: dict[str, str], namespace: str = "", **environment: str) -> None:
        """One of its pods, of which Prometheus is told as of Headgate's own."""
        namespace = namespace or self.namespace
        meta = {"name": "hostile", "namespace": namespace}
        script = {"hostile.py": SCRIPT.read_text()}
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": script})
        template = pod(name, namespace, self.headgate.world.images["demo"], [], HARDENED)
        template["metadata"]["labels"] |= labels
        container = template["spec"]["containers"][0]
        container["command"] = ["python3", "/hostile/hostile.py", what]
        container["env"] = [{"name": key, "value": value} for key, value in environment.items()]
        container["ports"] = [{"name": "metrics", "containerPort": 8080}]
        container["volumeMounts"] = [{"name": "hostile", "mountPath": "/hostile"}]
        container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
        template["spec"]["volumes"] = [{"name": "hostile", "configMap": {"name": "hostile"}}]
        made = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
            },
        }
        self.apply(made, service(name, namespace))
        where = f"--namespace={namespace}"
        self.headgate.world.cluster.kubectl("rollout", "status", f"deployment/{name}", where, "--timeout=90s")

    def forges(self, name: str, seen: Seen, candidate: str, *, namespace: str = "", **of: float) -> None:
        """What it says of the victim's candidate: a share of answers (`good`) and failures (`bad`), or many `bins`."""
        victim = {
            "headgate_namespace": self.victim.namespace,
            "headgate_model": self.victim.name,
            "revision": seen.revision_of(candidate),
            "stable": seen.revision_of(seen.stable),
            "bait": next(iter(self.bait.look().weights)),
            **{what: str(of.get(what, 0)) for what in ("good", "bad", "bins")},
        }
        labels = {"headgate.dev/component": "router", "headgate.dev/model": self.victim.name}
        self.run(name, "metrics", labels, namespace, VICTIM=json.dumps(victim), OWN=self.namespace)


def test_a_hostile_tenant_harms_only_itself(headgate: Headgate, namespace: str) -> None:
    world, models = headgate.world, headgate.world.artifact
    census = headgate.model(namespace, rollout={"margins": {"errors": "0.5%", "predictions": "10%"}})
    census.ask_for(models("v1"))
    census.until_stable("v1")
    clients = Clients.of(census)
    own = new_namespace(world.cluster, "hostile")
    tenant = Tenant(headgate, own, census, headgate.model(own, "bait"))
    try:
        tenant.bait.ask_for(models("v1"))
        tenant.bait.until_stable("v1")
        taken = a_name_is_taken(tenant)
        endless = an_artifact_without_an_end(tenant)

        # Failures that nobody had do not roll back a good version ...
        census.ask_for(models("v2"))
        canary = census.until_canary("v2")
        tenant.forges("accuses", canary, "v2", bad=1)
        tenant.forges("floods", canary, "v2", bins=30_000)
        tenant.forges("stands-beside", canary, "v2", namespace=namespace, bad=1)
        routers_can_not_be_drained(tenant, clients)
        metrics_of_the_operator_are_for_prometheus_alone(tenant)
        until(lambda: scraped(headgate), lambda pods: len(pods) == 3, 60, "they are scraped")
        census.until(foreign_metrics_are_told, 60, "it is told whose series were left out")
        promoted = census.until_stable("v2", seconds=240)
        assert promoted.decisions[-1] == ("v2", "Promoted", "EvidencePassed")

        # ... and answers that nobody got do not save a bad one.
        routers = identities(census.pods("router"))
        census.ask_for(models("v3"))
        tenant.forges("praises", census.until_canary("v3"), "v3", good=1)
        end = census.until_rolled_back("v3", seconds=300)
        assert end.decisions[-1][:2] == ("v3", "RolledBack")
        assert end.weights == {end.revision_of("v2"): 100.0}
        assert identities(census.pods("router")) == routers
        assert len(json.dumps(end.status)) < 32 << 10
        clients.saw_no_failure()

        what_is_taken_stays(tenant, taken)
        until(endless.look, too_large, 120, "an artifact without an end is refused")
        assert hostile.SECRET not in json.dumps(tenant.bait.look().status)
    finally:
        delete_namespace(world.cluster, own)


def scraped(headgate: Headgate) -> set[str]:
    """The hostile exporters that Prometheus reads."""
    found = headgate.query('sum by (pod) (up{pod=~"(accuses|floods|stands-beside)-.+"} == 1)', by="pod")
    return {pod.rsplit("-", 2)[0] for pod in found}


def foreign_metrics_are_told(seen: Seen) -> bool:
    """The pod beside the model's own is named."""
    told = seen.condition("ForeignMetrics")
    return told.status == "True" and "stands-beside" in told.message


def a_name_is_taken(tenant: Tenant) -> Model:
    """A model with the name of another team's Service."""
    theirs = service("payments", tenant.namespace)
    tenant.apply(theirs)
    model = tenant.headgate.model(tenant.namespace, "payments")
    model.ask_for(tenant.headgate.world.artifact("v1"))
    return model


def what_is_taken_stays(tenant: Tenant, model: Model) -> None:
    """The Service is as its team made it, and the model says why it is not there."""
    found = tenant.headgate.world.api.get(f"/api/v1/namespaces/{tenant.namespace}/services/payments")
    assert found and found["spec"]["selector"] == {"app": "payments"}
    assert not found["metadata"].get("ownerReferences")
    told = json.dumps(model.look().status.get("conditions"))
    assert "NameTaken" in told
    assert "payments" in told


def an_artifact_without_an_end(tenant: Tenant) -> Model:
    """A file of four gigabytes, where 64 MiB are asked for at most."""
    tenant.run("endless", "endless", {})
    spec = {"model": {"maxSize": "64Mi"}}
    model = Model(tenant.headgate.world, tenant.namespace, "endless-model", spec)
    uri = f"http://endless.{tenant.namespace}.svc/model.onnx"
    model.ask_for(Artifact("v1", uri, "sha256:" + 64 * "0"))
    return model


def too_large(seen: Seen) -> bool:
    """Whether the conditions say so."""
    return "ArtifactTooLarge" in json.dumps(seen.status.get("conditions"))


def metrics_of_the_operator_are_for_prometheus_alone(tenant: Tenant) -> None:
    """They name the models of everybody: a pod of the tenant's is refused them, with a token of nobody too."""
    pods = tenant.headgate.pods("operator")
    script = (
        "import sys,urllib.request as u,urllib.error as e\n"
        "for ip in sys.argv[1:]:\n"
        " for with_token in ({}, {'Authorization': 'Bearer x'}):\n"
        "  try: print(u.urlopen(u.Request(f'http://{ip}:8080/metrics', headers=with_token), timeout=5).status)\n"
        "  except e.HTTPError as error: print(error.code)\n"
    )
    addresses = [pod["status"]["podIP"] for pod in pods]
    where = f"--namespace={tenant.namespace}"
    said = tenant.headgate.cluster.kubectl(
        "exec", where, "deployment/endless", "--", "python3", "-c", script, *addresses
    )
    assert said.split() == ["401"] * 2 * len(pods)
    names = {pod["metadata"]["name"] for pod in pods}
    read = 'sum by (pod) (up{job="headgate-operator"} == 1)'
    until(
        lambda: tenant.headgate.query(read, by="pod"), lambda found: names <= found.keys(), 30, "Prometheus reads them"
    )


def routers_can_not_be_drained(tenant: Tenant, clients: Clients) -> None:
    """Every port of every router is asked for a drain, from a pod of the tenant's."""
    addresses = [each["status"]["podIP"] for each in clients.model.pods("router")]
    script = (
        "import sys,urllib.request as u,socket\n"
        "for ip in sys.argv[1:]:\n"
        " for port in (8080,8081,8082,8085,9901,15000):\n"
        "  for path in ('/drain?seconds=600','/drain','/quitquitquit','/healthcheck/fail'):\n"
        "   for method in ('GET','POST'):\n"
        "    try: u.urlopen(u.Request(f'http://{ip}:{port}{path}',method=method),timeout=1).read()\n"
        "    except OSError: pass\n"
    )
    where = f"--namespace={tenant.namespace}"
    tenant.headgate.world.cluster.kubectl(
        "exec", where, "deployment/endless", "--", "python3", "-c", script, *addresses
    )
