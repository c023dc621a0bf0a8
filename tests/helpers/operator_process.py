"""The operator as a process of its own, with an API server and a Prometheus to work at."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ports import free_port
from real_apiserver import kubeconfig


class Operator:
    """Started anew by `start`, with other settings if need be."""

    def __init__(self, folder: Path, url: str, token: str, python: str, prometheus: str) -> None:
        self._environment = kubeconfig(folder / "kubeconfig", url, token)
        self._prometheus = prometheus
        self._log, self._python = folder / "operator.log", python
        self.start()

    def start(self, **settings: str | None) -> None:
        """As a new process; a setting that is None is not set."""
        self.port = free_port()
        own = {
            "HEADGATE_SERVING_IMAGE": "serving",
            "HEADGATE_ENVOY_IMAGE": "envoy",
            "HEADGATE_PROMETHEUS_URL": self._prometheus,
            "HEADGATE_PORT": str(self.port),
            "HEADGATE_LEASE_NAME": "headgate",
            "HEADGATE_NETWORK_POLICIES": '{"scrapers": []}',
            "POD_NAME": "a",
            "POD_NAMESPACE": "headgate-system",
        }
        environment = {name: value for name, value in (self._environment | own | settings).items() if value is not None}
        with self._log.open("ab") as log:
            command = (self._python, "-m", "headgate")
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()

    def leads(self) -> bool:
        """Whether it leads and knows what there is."""
        assert self.process.poll() is None, self.log[-4000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                told: Any = json.loads(answer.read())
        except (OSError, urllib.error.URLError):
            return False
        return bool(told["well"]) and str(told["detail"]).startswith("leads")

    def stop(self) -> int:
        """End it as Kubernetes does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
