"""Who may read the operator's metrics: what the chart grants for it, and whom the embedded Prometheus shows a token."""

from typing import Any

import pytest
import yaml

from chart_objects import NAMESPACE, Objects, Render, of_kind
from headgate.settings import read_settings

EMBEDDED: dict[str, Any] = {"prometheus": {"embedded": {"enabled": True}}}
OWN: dict[str, Any] = {"prometheus": {"url": "http://metrics.example:9090"}}
ON: dict[str, Any] = {"metrics": {"authentication": True}}
REVIEW, READER = f"{NAMESPACE}-headgate-metrics-review", f"{NAMESPACE}-headgate-metrics-reader"


def jobs(objects: Objects) -> dict[str, Any]:
    (config,) = of_kind(objects, "ConfigMap")
    return {each["job_name"]: each for each in yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]}


def pod(objects: Objects, name: str) -> Any:
    (found,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == name]
    return found["spec"]["template"]


def bound(objects: Objects) -> dict[str, str]:
    """ServiceAccount by the name of the ClusterRoleBinding that names it."""
    return {each["metadata"]["name"]: each["subjects"][0]["name"] for each in of_kind(objects, "ClusterRoleBinding")}


@pytest.mark.parametrize("values", [OWN, EMBEDDED], ids=["own Prometheus", "embedded Prometheus"])
def test_nothing_is_granted_and_no_token_shown_unless_it_is_asked_for(render: Render, values: dict[str, Any]) -> None:
    objects = render(values)
    assert not [name for name in bound(objects) if "metrics" in name]
    assert "tokenreviews" not in yaml.safe_dump(of_kind(objects, "ClusterRole"))
    if values is EMBEDDED:
        assert set(jobs(objects)) == {"headgate"}
        assert "serviceAccountToken" not in yaml.safe_dump(pod(objects, "headgate-prometheus"))


@pytest.mark.parametrize("namespaces", [[], ["one"]], ids=["all namespaces", "one namespace"])
def test_the_operator_may_ask_whose_a_token_is_and_the_embedded_prometheus_may_read(
    render: Render, namespaces: list[str]
) -> None:
    objects = render({**EMBEDDED, **ON, "operator": {"watchNamespaces": namespaces}})
    roles = {each["metadata"]["name"]: each["rules"] for each in of_kind(objects, "ClusterRole")}
    assert {(*rule["resources"], *rule["verbs"]) for rule in roles[REVIEW]} == {
        ("tokenreviews", "create"),
        ("subjectaccessreviews", "create"),
    }
    assert roles[READER] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    found = bound(objects)
    assert (found[REVIEW], found[READER]) == ("headgate", "headgate-prometheus")


def test_with_a_prometheus_of_ones_own_the_right_to_read_is_there_to_be_bound(render: Render) -> None:
    objects = render({**OWN, **ON})
    assert bound(objects).keys() & {REVIEW, READER} == {REVIEW}
    assert READER in {each["metadata"]["name"] for each in of_kind(objects, "ClusterRole")}


@pytest.mark.parametrize("audience", ["headgate-metrics", ""])
def test_operator_and_embedded_prometheus_agree_on_the_audience(render: Render, audience: str) -> None:
    objects = render({**EMBEDDED, "metrics": {"authentication": True, "audience": audience}})
    variables = pod(objects, "headgate")["spec"]["containers"][0]["env"]
    settings = read_settings({each["name"]: each["value"] for each in variables if "value" in each})
    assert (settings.metrics_authentication, settings.metrics_audience) == (True, audience)
    spec = pod(objects, "headgate-prometheus")["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "metrics-token"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"].get("audience", "") == audience
    (mounted,) = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "metrics-token"]
    credentials = jobs(objects)["headgate-operator"]["authorization"]["credentials_file"]
    assert credentials == f"{mounted['mountPath']}/{source['serviceAccountToken']['path']}"


def test_the_token_is_shown_to_the_operators_pods_alone(render: Render) -> None:
    objects = render({**EMBEDDED, **ON})
    found = jobs(objects)
    assert "authorization" not in found["headgate"]
    (where,) = found["headgate-operator"]["kubernetes_sd_configs"]
    assert where["namespaces"] == {"names": [NAMESPACE]}
    (selector,) = where["selectors"]
    wanted = dict(each.split("=") for each in selector["label"].split(","))
    assert wanted.items() <= pod(objects, "headgate")["metadata"]["labels"].items()
    drops = [each for each in found["headgate"]["relabel_configs"] if each.get("action") == "drop"]
    component = ["__meta_kubernetes_pod_label_headgate_dev_component"]
    assert [each["regex"] for each in drops if each["source_labels"] == component] == ["operator"]
