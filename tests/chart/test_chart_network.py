"""Who reaches the operator and the embedded Prometheus, and what the operator is told of the network."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_objects import CHART, NAMESPACE, Objects, Render, of_kind
from headgate.settings import read_settings
from network_policies import Pod, pod_of, reaches

OWN: dict[str, Any] = {"prometheus": {"url": "http://metrics.example:9090"}}
EMBEDDED: dict[str, Any] = {"prometheus": {"embedded": {"enabled": True}}}
SCRAPER = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
    "podSelector": {"matchLabels": {"app": "prometheus"}},
}
SCRAPERS_POD = Pod("monitoring", {"app": "prometheus"})
STRANGER = Pod("tenant", {"app": "prometheus"})
Helm = Callable[..., subprocess.CompletedProcess[str]]


def deployed(objects: Objects, name: str) -> Pod:
    (found,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == name]
    return pod_of(found)


def told(objects: Objects) -> dict[str, str]:
    (operator,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "headgate"]
    variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] for each in variables if "value" in each}


def test_the_embedded_prometheus_alone_reads_the_operators_metrics_and_the_operator_alone_asks_it(
    render: Render,
) -> None:
    objects = render(EMBEDDED)
    operator, prometheus = deployed(objects, "headgate"), deployed(objects, "headgate-prometheus")
    assert reaches(objects, prometheus, operator, 8080)
    assert reaches(objects, operator, prometheus, 9090)
    for stranger in (STRANGER, Pod(NAMESPACE), Pod("tenant", operator.labels), Pod("tenant", prometheus.labels)):
        assert not reaches(objects, stranger, operator, 8080)
        assert not reaches(objects, stranger, prometheus, 9090)


def test_dashboards_that_are_named_ask_the_embedded_prometheus(render: Render) -> None:
    objects = render({**EMBEDDED, "networkPolicies": {"prometheusFrom": [SCRAPER]}})
    prometheus = deployed(objects, "headgate-prometheus")
    assert reaches(objects, SCRAPERS_POD, prometheus, 9090)
    assert reaches(objects, deployed(objects, "headgate"), prometheus, 9090)
    assert not reaches(objects, STRANGER, prometheus, 9090)


def test_an_own_prometheus_that_is_named_reads_alone_and_one_that_is_not_leaves_metrics_open(render: Render) -> None:
    named, unnamed = render({**OWN, "networkPolicies": {"scrapers": [SCRAPER]}}), render(OWN)
    assert reaches(named, SCRAPERS_POD, deployed(named, "headgate"), 8080)
    assert not reaches(named, STRANGER, deployed(named, "headgate"), 8080)
    assert reaches(unnamed, STRANGER, deployed(unnamed, "headgate"), 8080)


@pytest.mark.parametrize("values", [OWN, EMBEDDED], ids=["own Prometheus", "embedded Prometheus"])
def test_they_can_be_switched_off(render: Render, values: dict[str, Any]) -> None:
    objects = render({**values, "networkPolicies": {"enabled": False}})
    assert of_kind(objects, "NetworkPolicy") == []
    assert read_settings(told(objects)).defaults.network is None


def test_the_operator_is_told_who_scrapes(render: Render) -> None:
    def scrapers(values: dict[str, Any]) -> tuple[Any, ...]:
        network = read_settings(told(render(values))).defaults.network
        assert network
        return network.scrapers

    assert scrapers({**EMBEDDED, "networkPolicies": {"scrapers": [SCRAPER]}}) == (SCRAPER,)
    assert scrapers(OWN) == ()
    (embedded,) = scrapers(EMBEDDED)
    assert embedded["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    assert embedded["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "prometheus"


@pytest.mark.parametrize("peer", [{}, {"podSelectors": {}}, {"ipBlock": {}}])
def test_peers_that_are_none_are_refused(helm: Helm, tmp_path: Path, peer: dict[str, Any]) -> None:
    place = tmp_path / "values.yaml"
    place.write_text(json.dumps({**OWN, "networkPolicies": {"scrapers": [peer]}}))
    assert helm("template", "headgate", CHART, f"--values={place}").returncode != 0


@pytest.mark.parametrize(("more", "said"), [({}, True), ({"networkPolicies": {"scrapers": [SCRAPER]}}, False)])
def test_the_notes_say_where_metrics_are_open(helm: Helm, tmp_path: Path, more: dict[str, Any], said: bool) -> None:
    place = tmp_path / "values.yaml"
    place.write_text(yaml.safe_dump({**OWN, **more}))
    done = helm("install", "headgate", CHART, f"--values={place}", "--dry-run=client")
    assert ("networkPolicies.scrapers" in done.stdout.rpartition("NOTES:")[2]) is said, done.stderr
