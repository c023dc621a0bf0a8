"""The chart names things as the contract does, and sets only variables that the operator reads."""

import re
from typing import Any

import pytest

from chart_objects import Objects, Render, of_kind
from headgate.api import contract
from headgate.settings import PREFIX, Settings

OWN: dict[str, Any] = {
    "prometheus": {"url": "http://metrics.example:9090"},
    "operator": {"watchNamespaces": ["one"]},
    "imagePullSecrets": [{"name": "registry"}],
    "userSignals": {"enabled": True},
}


def container(objects: Objects) -> dict[str, Any]:
    (operator,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "headgate"]
    found: dict[str, Any] = operator["spec"]["template"]["spec"]["containers"][0]
    return found


def scrape_configuration(render: Render) -> str:
    (text,) = [
        text
        for each in of_kind(render(), "ConfigMap")
        for text in each.get("data", {}).values()
        if "scrape_configs" in text
    ]
    return str(text)


@pytest.mark.parametrize("values", [None, OWN], ids=["embedded Prometheus", "everything set"])
def test_the_operator_reads_each_variable_that_the_chart_sets(render: Render, values: dict[str, Any] | None) -> None:
    names = {each["name"] for each in container(render(values))["env"]}
    fields = {PREFIX + name.upper() for name in Settings.model_fields}
    assert {name for name in names if name.startswith(PREFIX)} <= fields
    assert len(names) > 5


def test_queries_of_users_are_asked_only_where_that_is_said(render: Render) -> None:
    assert "HEADGATE_USER_SIGNALS" not in {each["name"] for each in container(render())["env"]}
    assert {"name": "HEADGATE_USER_SIGNALS", "value": "true"} in container(render(OWN))["env"]


def test_the_operator_listens_where_the_chart_says(render: Render) -> None:
    (port,) = container(render())["ports"]
    assert port == {"name": contract.METRICS_PORT_NAME, "containerPort": Settings.model_fields["port"].default}


def test_prometheus_scrapes_the_ports_and_pods_of_the_contract(render: Render) -> None:
    text = scrape_configuration(render)
    assert f"label: {contract.COMPONENT_LABEL}\n" in text
    (names,) = re.findall(r"container_port_name\]\n\s*regex: (\S+)\n", text)
    for name in (contract.METRICS_PORT_NAME, contract.AGENT_METRICS_PORT_NAME):
        assert re.fullmatch(names, name)
    assert not re.fullmatch(names, contract.HTTP_PORT_NAME)


def test_the_operator_may_write_the_resources_of_the_contract(render: Render) -> None:
    rules = [rule for each in of_kind(render(), "ClusterRole") for rule in each["rules"]]
    ours = [rule for rule in rules if contract.GROUP in rule["apiGroups"]]
    resources = {name for rule in ours for name in rule["resources"]}
    assert {contract.DEPLOYMENTS, f"{contract.DEPLOYMENTS}/status"} <= resources
