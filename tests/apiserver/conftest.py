"""A real API server with the chart installed, and the operator as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import real_apiserver
import told_series
from chart_objects import CHART
from operator_process import Operator
from real_apiserver import ACCOUNT, ROUTER, Cluster
from tools.setup import tools


@contextmanager
def _installed(folder: Path, chosen: Any) -> Iterator[Cluster]:
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(chosen))
    helm = (str(tools.ensure("helm") / "helm"), "template", "headgate", str(CHART), "--namespace=headgate-system")
    rendered = subprocess.run((*helm, f"--values={values}"), check=True, capture_output=True, text=True).stdout
    objects: list[dict[str, Any]] = [each for each in yaml.safe_load_all(rendered) if each]
    with real_apiserver.running(folder, ACCOUNT, ROUTER) as found:
        real_apiserver.install(found, objects, "headgate-system", "models")
        yield found


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> real_apiserver.Installed:
    """Starts one with what the module's VALUES render."""
    values = getattr(request.module, "VALUES", {})
    return lambda: _installed(tmp_path_factory.mktemp("apiserver"), values)


@pytest.fixture(scope="module")
def cluster(installed: real_apiserver.Installed) -> Iterator[Cluster]:
    """The module's own."""
    with installed() as found:
        yield found


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path) -> Iterator[Operator]:
    """The operator, with the rights of its ServiceAccount."""
    with told_series.answering() as prometheus:
        found = Operator(tmp_path, cluster.url, cluster.tokens[ACCOUNT], sys.executable, prometheus)
        yield found
        found.stop()
