"""What the images are made of and whom they run as: nothing without a hash, and nobody as root."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chart_objects import CHART, Objects, Render, of_kind
from headgate.settings import read_settings
from manifests_of import children, serving

REPOSITORY = CHART.parents[1]
CONTAINERFILES = [
    *(REPOSITORY / part / "Containerfile" for part in ("operator", "serving")),
    *sorted((REPOSITORY / "tools" / "images").glob("*.Containerfile")),
]
ONLY_BUILT_UPON = {"base.Containerfile"}
BY_DIGEST = "registry.example/team/{}@sha256:" + "0123456789abcdef" * 4
EMBEDDED: dict[str, Any] = {"prometheus": {"embedded": {"enabled": True}}}
CUSTOM = {"engine": "custom", "image": "registry.example/own:1"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Each instruction and its arguments, on one line."""
    lines = (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word, rest) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def pods(objects: Objects) -> Iterator[dict[str, Any]]:
    for each in of_kind(objects, "Deployment"):
        yield each["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_image_runs_as_root(path: Path) -> None:
    steps = instructions(path)
    last_stage = max(number for number, (word, _) in enumerate(steps) if word == "FROM")
    users = [rest for word, rest in steps[last_stage:] if word == "USER"]
    if path.name in ONLY_BUILT_UPON:
        assert users == []
    else:
        user, _, group = users[-1].partition(":")
        assert int(user) > 0
        assert int(group) > 0


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_image_installs_a_package_without_a_hash(path: Path) -> None:
    runs = [command for word, rest in instructions(path) if word == "RUN" for command in rest.split("&&")]
    for command in runs:
        if re.search(r"\bpip3? install\b", command):
            assert "--require-hashes" in command or "--no-index" in command, command


@pytest.mark.parametrize("name", ["operator", "serving", "serving-cuda", "build"])
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


@pytest.mark.parametrize("engine", [{}, CUSTOM], ids=["onnxruntime", "custom"])
def test_no_pod_runs_as_root(render: Render, engine: dict[str, Any]) -> None:
    made = [*children(serving(runtime=engine)).values()]
    found = [*pods(render(EMBEDDED)), *pods(made)]
    assert len(found) == 4
    for pod in found:
        shared = pod["securityContext"]
        assert shared["runAsNonRoot"] is True
        for container in containers(pod):
            own = {**shared, **container["securityContext"]}
            assert min(own["runAsUser"], own["runAsGroup"]) > 0, container["name"]
            assert own["capabilities"] == {"drop": ["ALL"]}, container["name"]


def test_every_image_may_be_named_by_digest(render: Render) -> None:
    images = {name: BY_DIGEST.format(name) for name in ("operator", "serving", "envoy")}
    embedded = {"enabled": True, "image": BY_DIGEST.format("prometheus")}
    objects = render({"images": images, "prometheus": {"embedded": embedded}})
    started = {container["image"] for pod in pods(objects) for container in containers(pod)}
    assert started == {images["operator"], embedded["image"]}
    (operator,) = (pod for pod in pods(objects) if pod["containers"][0]["name"] == "operator")
    told = {each["name"]: each["value"] for each in operator["containers"][0]["env"] if "value" in each}
    defaults = read_settings(told).defaults
    assert (defaults.serving_image, defaults.envoy_image) == (images["serving"], images["envoy"])
