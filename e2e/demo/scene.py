"""Sets the scene on a cluster: images, Headgate by its chart, the artifact server, the clients, and each version.

`story.py` calls it. Every manifest is a file in `manifests/` with a few placeholders; filled in, it lies in
`build/demo/`, so that everything that is applied can be read and applied again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template

from tools.cluster import Cluster
from tools.setup import cache

from .screen import Screen
from .watch import DEMO, MODEL, SYSTEM

MANIFESTS = Path(__file__).resolve().parent / "manifests"
BUILD = cache.REPOSITORY / "build" / "demo"
CHART = Path("charts") / "headgate"
IMAGES = ("operator", "serving", "envoy", "prometheus", "demo")
LOAD_SECONDS = 1200


@dataclass(frozen=True)
class Scene:
    """A cluster with what the story needs; `images` and `digests` by name and version."""

    cluster: Cluster
    screen: Screen
    images: dict[str, str]
    digests: dict[str, str]

    def clear(self) -> None:
        """Take away what an earlier run left."""
        if self.cluster.run(["kubectl", "get", "namespace", DEMO], check=False).returncode == 0:
            self._run("kubectl", "delete", "namespace", DEMO, "--timeout=120s")

    def install(self) -> None:
        """Headgate with its Prometheus, and the artifact server."""
        self._run("kubectl", "apply", "--filename", self._filled("namespaces.yaml"))
        values = self._filled("values.yaml", **{f"{name.upper()}_IMAGE": ref for name, ref in self.images.items()})
        where = ("--namespace", SYSTEM, "--values", values)
        self._run("helm", "upgrade", "--install", "headgate", CHART, *where, "--wait", "--timeout", "3m")
        self._run("kubectl", "apply", "--filename", self._filled("artifacts.yaml", DEMO_IMAGE=self.images["demo"]))
        self._run("kubectl", "rollout", "status", "deployment/artifacts", f"--namespace={DEMO}", "--timeout=90s")

    def apply(self, version: str) -> None:
        """The ModelDeployment, with this version."""
        model = {"VERSION": version, "DIGEST": self.digests[version]}
        manifest = self._filled("census.yaml", to=f"census-{version}.yaml", **model)
        self._run("kubectl", "apply", "--filename", manifest)

    def start_clients(self) -> None:
        """The load generator; it stops by itself."""
        filled = self._filled("load.yaml", DEMO_IMAGE=self.images["demo"], LOAD_SECONDS=str(LOAD_SECONDS))
        self._run("kubectl", "apply", "--filename", filled)
        self._run("kubectl", "wait", "pod/load", "--for=condition=Ready", f"--namespace={DEMO}", "--timeout=60s")

    def diagnose(self) -> Path:
        """Write down what somebody who looks for a fault would ask first; return the folder."""
        folder = BUILD / "diagnosis"
        folder.mkdir(parents=True, exist_ok=True)
        questions = {
            "modeldeployment.yaml": ("get", "modeldeployment", MODEL, "-n", DEMO, "-o", "yaml"),
            "modelrevisions.yaml": ("get", "modelrevisions", "-n", DEMO, "-o", "yaml"),
            "pods.txt": ("get", "pods", "-A", "-o", "wide"),
            "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            "operator.txt": (
                "logs",
                "-n",
                SYSTEM,
                "-l",
                "headgate.dev/component=operator",
                "--tail=-1",
                "--prefix",
            ),
            "load.txt": ("logs", "-n", DEMO, "pod/load", "--tail=200"),
            "runtimes.txt": ("logs", "-n", DEMO, "-l", "headgate.dev/component=runtime", "--tail=100", "--prefix"),
            "routers.txt": (
                *("logs", "-n", DEMO, "-l", "headgate.dev/component=router"),
                *("--all-containers", "--tail=200", "--prefix"),
            ),
        }
        for name, arguments in questions.items():
            done = self.cluster.run(["kubectl", *arguments], check=False)
            (folder / name).write_text(done.stdout + done.stderr, encoding="utf-8")
        return folder

    def _run(self, *argv: str | Path) -> None:
        self.screen.command(" ".join(str(part).removeprefix(f"{cache.REPOSITORY}/") for part in argv))
        self.cluster.run([cache.REPOSITORY / part if part == CHART else part for part in argv])

    def _filled(self, name: str, *, to: str = "", **values: str) -> Path:
        place = BUILD / "manifests" / (to or name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(Template((MANIFESTS / name).read_text()).substitute(values))
        return place
