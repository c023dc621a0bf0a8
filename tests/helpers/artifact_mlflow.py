"""MLflow's own tracking server as a process, and what its own client logs there."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifact_places import process_that_serves
from ports import free_ports
from tools.setup import mlflow

# Run by the server's own Python: a run with the folder, versions of a model, a logged model.
_LOG = """
import json, sys
import mlflow
from mlflow import MlflowClient

folder, *elsewhere = sys.argv[1:]
client = MlflowClient()
run = client.create_run("0").info.run_id
client.log_artifacts(run, folder, "model")
client.create_registered_model("fraud")
client.create_model_version("fraud", f"runs:/{run}/model", run)
for place in elsewhere:
    client.create_model_version("fraud", place)
client.set_registered_model_alias("fraud", "champion", 1)
model = client.create_logged_model("0", name="fraud")
client.log_model_artifacts(model.model_id, folder)
print(json.dumps({"run": run, "model": model.model_id}))
"""


class Mlflow:
    """A running server. `log` is what a training job does."""

    def __init__(self, url: str, python: Path) -> None:
        self.url, self._python = url, python

    def log(self, folder: Path, *elsewhere: str) -> dict[str, str]:
        """Log a folder, and register it as `fraud` version 1; the next ones are at these URIs. Ids by kind."""
        done = subprocess.run(
            [self._python, "-c", _LOG, folder, *elsewhere],
            env={**_environ(), "MLFLOW_TRACKING_URI": self.url},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        ids: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return ids


@contextmanager
def running_mlflow(folder: Path) -> Iterator[Mlflow]:
    python = mlflow.ensure()
    (port,) = free_ports(1)
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command: list[str | Path] = [
        python,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *places,
    ]
    url = f"http://127.0.0.1:{port}"
    with process_that_serves(command, f"{url}/health", folder / "log", env=_environ(), cwd=folder):
        yield Mlflow(url, python)


def _environ() -> dict[str, str]:
    """Ours without credentials and settings; the server runs no jobs, for which it would need more packages."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    return {**ours, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
