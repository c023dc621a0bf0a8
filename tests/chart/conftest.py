"""`helm` as the project builds it, and what it makes of the chart."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_objects import CHART, NAMESPACE, Objects, Render
from tools.setup import tools


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    program = tools.ensure("helm") / "helm"

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> Render:
    """All objects of the chart under some values; the embedded Prometheus is on unless they say otherwise."""

    def objects(values: dict[str, Any] | None = None, release: str = "headgate") -> Objects:
        place = tmp_path_factory.mktemp("values") / "values.yaml"
        place.write_text(yaml.safe_dump(values or {"prometheus": {"embedded": {"enabled": True}}}))
        done = helm("template", release, CHART, f"--namespace={NAMESPACE}", f"--values={place}")
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return objects
