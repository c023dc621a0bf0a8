"""The chart, rendered by a real helm: what it grants, how its pods are locked down, what each switch does."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_objects import CHART, NAMESPACE, Objects, Render, of_kind
from headgate.api import contract
from headgate.settings import read_settings

REPOSITORY = CHART.parents[1]
EMBEDDED: dict[str, Any] = {"prometheus": {"embedded": {"enabled": True}}}
OWN: dict[str, Any] = {"prometheus": {"url": "http://metrics.example:9090"}}
Helm = Callable[..., subprocess.CompletedProcess[str]]


def with_values(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(base), **more}


def rules(objects: Objects) -> list[tuple[str, dict[str, Any]]]:
    roles = of_kind(objects, "ClusterRole") + of_kind(objects, "Role")
    return [(role["metadata"]["name"], rule) for role in roles for rule in role["rules"]]


def pods(objects: Objects) -> list[tuple[str, dict[str, Any]]]:
    return [(each["metadata"]["name"], each["spec"]["template"]["spec"]) for each in of_kind(objects, "Deployment")]


def environment(objects: Objects, name: str = "headgate") -> dict[str, Any]:
    (pod,) = [pod for found, pod in pods(objects) if found == name]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in pod["containers"][0]["env"]}


@pytest.mark.parametrize("values", [EMBEDDED, OWN], ids=["embedded Prometheus", "own Prometheus"])
def test_helm_finds_nothing_to_complain_about(helm: Helm, tmp_path: Path, values: dict[str, Any]) -> None:
    place = tmp_path / "values.yaml"
    place.write_text(yaml.safe_dump(values))
    done = helm("lint", "--strict", CHART, f"--values={place}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("namespaces", [[], ["one", "two"]], ids=["all namespaces", "two namespaces"])
def test_no_rule_has_a_wildcard(render: Render, namespaces: list[str]) -> None:
    found = rules(render(with_values(EMBEDDED, operator={"watchNamespaces": namespaces})))
    assert len(found) > 10
    for name, rule in found:
        for field in ("apiGroups", "resources", "verbs"):
            assert "*" not in "".join(rule[field]), name
        assert not {"secrets", "nodes"} & set(rule["resources"]), name


def test_the_operator_never_writes_a_users_object(render: Render) -> None:
    allowed = {
        verb
        for name, rule in rules(render(EMBEDDED))
        if name == f"{NAMESPACE}-headgate" and "modeldeployments" in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == {"get", "list", "watch"}


def test_the_operator_has_what_it_hands_to_a_router(render: Render) -> None:
    granted = {
        (group, resource, verb)
        for name, rule in rules(render(EMBEDDED))
        if name == f"{NAMESPACE}-headgate"
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for verb in ("list", "watch"):
        assert ("headgate.dev", "modeldeployments", verb) in granted
        assert ("discovery.k8s.io", "endpointslices", verb) in granted


def test_with_named_namespaces_nothing_is_bound_everywhere(render: Render) -> None:
    objects = render(with_values(EMBEDDED, operator={"watchNamespaces": ["one", "two"]}))
    assert of_kind(objects, "ClusterRoleBinding") == []
    bound = {(each["metadata"]["name"], each["metadata"]["namespace"]) for each in of_kind(objects, "RoleBinding")}
    assert {(f"{NAMESPACE}-headgate", "one"), (f"{NAMESPACE}-headgate", "two")} <= bound
    assert environment(objects)["HEADGATE_WATCH_NAMESPACES"] == "one,two"
    (config,) = of_kind(objects, "ConfigMap")
    (scrape,) = yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]
    assert scrape["kubernetes_sd_configs"][0]["namespaces"]["names"] == ["one", "two", NAMESPACE]


def test_all_pods_are_admitted_by_the_restricted_level(render: Render) -> None:
    found = pods(render(EMBEDDED))
    assert [name for name, _ in found] == ["headgate", "headgate-prometheus"]
    for name, pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert all(set(volume) - {"name"} <= {"emptyDir", "configMap"} for volume in pod["volumes"]), name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert "limits" in container["resources"], name


def test_the_chart_brings_the_same_crds_as_the_repository(render: Render) -> None:
    found = {each["metadata"]["name"]: each for each in of_kind(render(EMBEDDED), "CustomResourceDefinition")}
    generated = [yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "crds").glob("*.yaml"))]
    assert set(found) == {each["metadata"]["name"] for each in generated}
    for each in generated:
        assert found[each["metadata"]["name"]]["spec"] == each["spec"]


@pytest.mark.parametrize("keep", [True, False])
def test_crds_outlive_the_release_only_if_they_shall(render: Render, keep: bool) -> None:
    found = of_kind(render(with_values(EMBEDDED, crds={"keep": keep})), "CustomResourceDefinition")
    assert len(found) == 2
    for each in found:
        assert each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == ("keep" if keep else None)


def test_crds_can_be_left_out(render: Render) -> None:
    assert of_kind(render(with_values(EMBEDDED, crds={"enabled": False})), "CustomResourceDefinition") == []


def test_the_operator_is_told_everything_that_it_reads(render: Render) -> None:
    images = {"operator": "r/o:1", "serving": "r/s:2", "envoy": "r/e:3"}
    objects = render(with_values(OWN, images=images, imagePullPolicy="Never"))
    told = environment(objects)
    assert told["HEADGATE_SERVING_IMAGE"] == "r/s:2"
    assert told["HEADGATE_ENVOY_IMAGE"] == "r/e:3"
    assert told["HEADGATE_IMAGE_PULL_POLICY"] == "Never"
    assert told["HEADGATE_PROMETHEUS_URL"] == "http://metrics.example:9090"
    assert told["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    ((_, pod),) = pods(objects)
    assert pod["containers"][0]["image"] == "r/o:1"
    assert pod["containers"][0]["imagePullPolicy"] == "Never"


def test_the_operator_is_told_with_what_others_pull_its_images(render: Render) -> None:
    assert "HEADGATE_IMAGE_PULL_SECRETS" not in environment(render(OWN))
    objects = render(with_values(OWN, servingImagePullSecrets=[{"name": "registry"}, {"name": "my.other"}]))
    assert environment(objects)["HEADGATE_IMAGE_PULL_SECRETS"] == "registry,my.other"
    ((_, pod),) = pods(objects)
    assert "imagePullSecrets" not in pod


def test_the_operator_understands_its_environment(render: Render) -> None:
    from headgate.settings import read_settings

    told = {name: value for name, value in environment(render(EMBEDDED)).items() if isinstance(value, str)}
    settings = read_settings({**told, "POD_NAME": "a", "POD_NAMESPACE": NAMESPACE})
    assert settings.prometheus_url == f"http://headgate-prometheus.{NAMESPACE}.svc:9090"
    assert settings.lease_name == "headgate"


@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1)])
def test_a_disruption_budget_needs_somebody_to_stand_by(render: Render, replicas: int, budgets: int) -> None:
    objects = render(with_values(EMBEDDED, operator={"replicas": replicas}))
    assert len(of_kind(objects, "PodDisruptionBudget")) == budgets


@pytest.mark.parametrize("release", ["headgate", "x", "my-headgate-2", "a" * 53, "1-2-3"])
def test_any_release_name_works(render: Render, release: str) -> None:
    objects = render(EMBEDDED, release)
    names = [each["metadata"]["name"] for each in objects]
    assert all(len(name) <= 63 for name in names)
    (service,) = of_kind(objects, "Service")
    (operator,) = [name for name, _ in pods(objects) if not name.endswith("-prometheus")]
    assert environment(objects, operator)["HEADGATE_PROMETHEUS_URL"] == (
        f"http://{service['metadata']['name']}.{NAMESPACE}.svc:9090"
    )
    chosen = {role["metadata"]["name"] for role in of_kind(objects, "ClusterRole") + of_kind(objects, "Role")}
    accounts = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
    for binding in of_kind(objects, "ClusterRoleBinding") + of_kind(objects, "RoleBinding"):
        assert binding["roleRef"]["name"] in chosen
        assert {subject["name"] for subject in binding["subjects"]} <= accounts
    for name, pod in pods(objects):
        assert pod["serviceAccountName"] in accounts, name


def test_two_releases_of_one_name_share_no_cluster_wide_object(helm: Helm) -> None:
    def cluster_wide(namespace: str) -> set[str]:
        done = helm("template", "x", CHART, f"--namespace={namespace}", "--set=prometheus.embedded.enabled=true")
        objects = [each for each in yaml.safe_load_all(done.stdout) if each]
        return {each["metadata"]["name"] for each in objects if each["kind"].startswith("ClusterRole")}

    assert cluster_wide("one").isdisjoint(cluster_wide("two"))


def test_the_embedded_prometheus_scrapes_what_the_contract_says(render: Render) -> None:
    values = {"prometheus": {"embedded": {"enabled": True, "scrapeInterval": "1s"}}}
    (config,) = of_kind(render(values), "ConfigMap")
    parsed = yaml.safe_load(config["data"]["prometheus.yml"])
    assert parsed["global"]["scrape_interval"] == "1s"
    (scrape,) = parsed["scrape_configs"]
    assert scrape["kubernetes_sd_configs"] == [
        {"role": "pod", "selectors": [{"role": "pod", "label": "headgate.dev/component"}]}
    ]
    targets = {each.get("target_label") for each in scrape["relabel_configs"]}
    assert {"__metrics_path__", "namespace", "pod"} <= targets


def test_what_is_scraped_can_not_say_whose_it_is_nor_fill_the_embedded_prometheus(render: Render) -> None:
    (config,) = of_kind(render(EMBEDDED), "ConfigMap")
    (scrape,) = yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]
    assert (scrape["honor_labels"], scrape["honor_timestamps"]) == (False, False)
    limits = ("sample_limit", "label_limit", "label_name_length_limit", "label_value_length_limit")
    assert all(scrape[limit] > 0 for limit in limits)
    assert scrape["body_size_limit"]
    sources = {
        each["target_label"]: each["source_labels"] for each in scrape["relabel_configs"] if "target_label" in each
    }
    for label in ("namespace", "pod", contract.NAMESPACE, contract.MODEL, contract.REVISION):
        assert all(source.startswith("__meta_kubernetes_") for source in sources[label])
    (of_models,) = [each for each in scrape["relabel_configs"] if each.get("target_label") == contract.NAMESPACE]
    assert (of_models["source_labels"][0], of_models["regex"]) == (
        "__meta_kubernetes_pod_label_headgate_dev_model",
        ".+;(.+)",
    )


def test_what_prometheus_is_shown_comes_from_secrets_that_are_mounted(render: Render) -> None:
    shown = {"auth": {"secretName": "prom-auth"}, "caSecret": "prom-ca", "headers": {"X-Scope-OrgID": "team"}}
    found = render({"prometheus": {**OWN["prometheus"], **shown, "matchers": {"cluster": "a"}}})
    (pod,) = [pod for name, pod in pods(found) if name == "headgate"]
    mounted = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    secrets = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    assert secrets == {"prometheus-auth": "prom-auth", "prometheus-ca": "prom-ca"}
    variables = {name: value for name, value in environment(found).items() if isinstance(value, str)}
    access = read_settings(variables).prometheus
    assert str(access.credentials) == mounted["prometheus-auth"]
    assert str(access.ca) == f"{mounted['prometheus-ca']}/ca.crt"
    assert (access.matchers, access.headers) == ({"cluster": "a"}, {"X-Scope-OrgID": "team"})


def test_a_volume_claim_comes_only_when_asked_for(render: Render) -> None:
    values = {"prometheus": {"embedded": {"enabled": True, "storage": {"size": "5Gi", "storageClass": "fast"}}}}
    (claim,) = of_kind(render(values), "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "fast"
    assert of_kind(render(EMBEDDED), "PersistentVolumeClaim") == []


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "set prometheus.url"),
        ({"prometheus": {"url": "http://p:9090", "embedded": {"enabled": True}}}, "exclude each other"),
        (with_values(EMBEDDED, operator={"replicas": -1}), "replicas"),
        (with_values(EMBEDDED, operater={"replicas": 1}), "operater"),
        (with_values(EMBEDDED, imagePullPolicy="Sometimes"), "imagePullPolicy"),
        (with_values(EMBEDDED, images={"operator": ""}), "operator"),
        ({"prometheus": {"embedded": {"enabled": True, "scrapeInterval": "often"}}}, "scrapeInterval"),
        ({"prometheus": {"url": "http://user:password@metrics.example"}}, "url"),
    ],
    ids=["no Prometheus", "two of them", "negative", "unknown", "no policy", "no image", "no duration", "a password"],
)
def test_values_that_cannot_be_right_are_refused(
    helm: Helm, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    place = tmp_path / "values.yaml"
    place.write_text(yaml.safe_dump(values))
    done = helm("template", "headgate", CHART, f"--values={place}")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_notes_name_both_ports_that_an_own_prometheus_has_to_scrape(helm: Helm, tmp_path: Path) -> None:
    place = tmp_path / "values.yaml"
    place.write_text(yaml.safe_dump(OWN))
    done = helm("install", "headgate", CHART, f"--values={place}", "--dry-run=client")
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.rpartition("NOTES:")[2]
    assert '"metrics"' in told
    assert '"agent-metrics"' in told
