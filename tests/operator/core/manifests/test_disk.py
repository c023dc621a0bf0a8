"""How much of its node's disk a pod may take: no volume is without a limit, and the fetcher knows the artifact's."""

from typing import Any

import pytest

from headgate.api.quantities import quantity, size_bytes
from headgate.core.revisions import revision_name
from headgate_serving.artifact.download import MAX_BYTES
from headgate_serving.artifact.fetch import MAX_PROFILE
from manifests_of import children, container, pod, runtime, serving
from world import World

CUSTOM = {"engine": "custom", "image": "registry.example/own:1"}
SCRATCH = {"resources": {"limits": {"ephemeral-storage": "3Gi"}}}


def of_size(size: str, **runtime: Any) -> World:
    """A version whose artifact may have so many bytes."""
    world = serving()
    world.ask("v2", runtime=runtime)
    world.spec["model"] = {"version": "v2", "uri": "pvc://models/fraud/v2", "maxSize": size}
    world.look()
    return world


def sizes(deployment: dict[str, Any]) -> dict[str, int]:
    """Bytes that each emptyDir on the node's disk may hold."""
    found = {v["name"]: v["emptyDir"] for v in pod(deployment)["volumes"] if "emptyDir" in v}
    return {name: int(quantity(each["sizeLimit"])) for name, each in found.items() if each.get("medium") != "Memory"}


@pytest.mark.parametrize("engine", [{}, CUSTOM], ids=["onnxruntime", "custom"])
def test_no_volume_on_a_nodes_disk_is_without_a_limit(engine: dict[str, Any]) -> None:
    for (kind, _), manifest in children(serving(runtime=engine)).items():
        if kind == "Deployment":
            for volume in pod(manifest)["volumes"]:
                assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), volume["name"]


@pytest.mark.parametrize("size", ["1", "500Mi", "20Gi", "999999999Gi"])
def test_the_artifacts_size_is_the_fetchers_limit_and_fits_into_its_volume(size: str) -> None:
    deployment = runtime(of_size(size), "v2")
    told = {each["name"]: each.get("value") for each in container(deployment, "fetch")["env"]}
    assert told["HEADGATE_MAX_BYTES"] == str(size_bytes(size))
    assert sizes(deployment)["artifact"] >= size_bytes(size) + (100 << 20)
    assert sizes(deployment)["baseline"] > MAX_PROFILE


@pytest.mark.parametrize("engine", [{}, CUSTOM, {**CUSTOM, **SCRATCH}], ids=["onnxruntime", "custom", "with its own"])
def test_a_pod_may_take_what_its_volumes_may_and_asks_for_little(engine: dict[str, Any]) -> None:
    deployment = runtime(of_size("1Gi", **engine), "v2")
    fetch, server = (container(deployment, name)["resources"] for name in ("fetch", "runtime"))
    together = sum(sizes(deployment).values())
    assert together < quantity(fetch["limits"]["ephemeral-storage"]) < together + (2 << 30)
    assert fetch["requests"]["ephemeral-storage"] == "256Mi"
    if "resources" not in engine:
        assert server["requests"]["ephemeral-storage"] == "256Mi"
        assert "ephemeral-storage" not in server.get("limits", {})


def test_a_custom_engine_writes_as_much_as_its_resources_say() -> None:
    assert sizes(runtime(serving(runtime=CUSTOM)))["tmp"] == 1 << 30
    assert sizes(runtime(serving(runtime={**CUSTOM, **SCRATCH})))["tmp"] == 3 << 30


def test_the_default_is_the_fetchers_own_and_makes_no_model_look_new() -> None:
    spec = serving().observe().spec
    assert size_bytes(spec.model.maxSize) == MAX_BYTES
    named = spec.model_copy(update={"model": spec.model.model_copy(update={"maxSize": "20Gi"})})
    larger = spec.model_copy(update={"model": spec.model.model_copy(update={"maxSize": "21Gi"})})
    assert revision_name("fraud", named) == revision_name("fraud", spec) != revision_name("fraud", larger)
