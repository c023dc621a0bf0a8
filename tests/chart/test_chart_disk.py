"""No pod of the chart fills the disk of its node."""

from typing import Any

import pytest

from chart_objects import Objects, Render, of_kind

EMBEDDED: dict[str, Any] = {"prometheus": {"embedded": {"enabled": True}}}
CLAIMED: dict[str, Any] = {"prometheus": {"embedded": {"enabled": True, "storage": {"size": "50Gi"}}}}


def volumes(objects: Objects) -> dict[str, dict[str, Any]]:
    pods = [each["spec"]["template"]["spec"] for each in of_kind(objects, "Deployment")]
    return {volume["name"]: volume for pod in pods for volume in pod["volumes"]}


def arguments(objects: Objects) -> list[str]:
    (found,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "headgate-prometheus"]
    args: list[str] = found["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


@pytest.mark.parametrize("values", [EMBEDDED, CLAIMED], ids=["no claim", "a claim"])
def test_every_empty_volume_has_a_limit(render: Render, values: dict[str, Any]) -> None:
    found = [volume["emptyDir"] for volume in volumes(render(values)).values() if "emptyDir" in volume]
    assert found
    assert all("sizeLimit" in each for each in found)


def test_prometheus_forgets_before_its_volume_is_full(render: Render) -> None:
    assert volumes(render(EMBEDDED))["data"]["emptyDir"] == {"sizeLimit": "6Gi"}
    assert "--storage.tsdb.retention.size=4GB" in arguments(render(EMBEDDED))
    assert not [each for each in arguments(render(CLAIMED)) if "retention.size" in each]
