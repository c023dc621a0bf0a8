"""What tests and the demo see of a cluster: `Cluster`, the embedded one or one that the user has.

With CLUSTER=existing nothing is started and nothing is entered: KUBECONFIG is used, and only if KUBE_CONTEXT
names its current context. A test run must never end up in a cluster that happened to be selected.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools import images
from tools.setup import cache, progress, tools

from . import containerd, ending, instance, network
from .errors import CommandFailed, NotAllowed
from .layout import NODE, Layout, default_name

# RFC 6901: a slash inside a key of a JSON patch.
GPU_KEY = "nvidia.com~1gpu"


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster, up and reachable. `layout` is None for a cluster of the user's own."""

    kubeconfig: Path
    layout: Layout | None = None

    @staticmethod
    def ensure(name: str | None = None) -> Cluster:
        """The embedded cluster of this name (by default the checkout's own), started if it is not up."""
        if os.environ.get("CLUSTER") == "existing":
            return Cluster(_allowed_kubeconfig())
        layout = Layout(name or default_name())
        instance.up(layout)
        return Cluster(layout.kubeconfig, layout)

    @property
    def embedded(self) -> bool:
        """Whether it is ours, with a network that only `run` and `enter` reach."""
        return self.layout is not None

    def down(self) -> None:
        """Take an embedded cluster down. One of the user's own stays."""
        if self.layout:
            ending.down(self.layout)

    def enter(self) -> None:
        """Move this thread, and what it starts from now on, into the cluster's network.

        Afterwards Service and pod addresses can be connected to, and nothing else but the cluster.
        """
        if self.layout:
            network.enter(self.layout)

    @contextlib.contextmanager
    def without(self, component: str) -> Iterator[None]:
        """One of the embedded cluster's own processes, such as kube-apiserver, has crashed."""
        if not self.layout:
            raise NotAllowed("Nothing of a cluster of your own is ended.")
        with instance.without(self.layout, component):
            yield

    def path_env(self) -> dict[str, str]:
        """Environment for programs that talk to the cluster: KUBECONFIG, and kubectl and helm on PATH."""
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{_programs()}:{os.environ.get('PATH', '')}"}

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        capture: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside the cluster's network; raise CommandFailed with its output if it fails."""
        command = [str(part) for part in argv]
        done = subprocess.run(
            self.layout.enter(*command) if self.layout else command,
            check=False,
            capture_output=capture,
            text=True,
            input=input,
            env={**os.environ, **self.path_env(), **(env or {})},
            timeout=timeout,
        )
        if check and done.returncode != 0:
            said = f": {(done.stderr or done.stdout).strip()}" if capture else ""
            raise CommandFailed(f"{shlex.join(command)} ended with exit status {done.returncode}{said}")
        return done

    def kubectl(self, *arguments: str | Path, input: str | None = None, check: bool = True) -> str:
        """Run kubectl; return what it printed."""
        return self.run(["kubectl", *arguments], input=input, check=check).stdout

    def get(self, *arguments: str) -> Any:
        """`kubectl get … --output=json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply objects on the server's side. As JSON: kubectl reads some scalars of PyYAML's otherwise."""
        objects = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("apply", "--server-side", "--filename=-", input=json.dumps(objects))

    def load_images(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Build images of the table and bring them onto the nodes; return name -> reference."""
        built = [images.build(name) for name in names or images.names()]
        if self.layout:
            _load_embedded(self.layout, built)
        else:
            _load_existing(built)
        return {image.name: image.reference for image in built}

    def set_gpus(self, count: int) -> None:
        """Let the embedded node offer GPUs. They can be scheduled on, counted and run out of, not computed with."""
        if not self.layout:
            raise NotAllowed("The GPUs of a cluster of your own are not changed.")
        patch = [
            {"op": "add", "path": f"/status/{kind}/{GPU_KEY}", "value": str(count)}
            for kind in ("capacity", "allocatable")
        ]
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", f"--patch={json.dumps(patch)}")


def _load_embedded(layout: Layout, built: Sequence[images.Built]) -> None:
    with cache.lock(f"load-{layout.name}"):
        there = containerd.references(layout)
        for image in built:
            if image.reference not in there:
                progress.say(f"  loading {image.reference}")
                containerd.load(layout, image)


def _load_existing(built: Sequence[images.Built]) -> None:
    loader = os.environ.get("IMAGE_LOADER")
    if not loader:
        raise NotAllowed(
            "Set IMAGE_LOADER to the command that brings an image archive onto your cluster's nodes, "
            'for example IMAGE_LOADER="kind load image-archive". The archive is added as its last argument.'
        )
    for image in built:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / f"{image.name}.tar"
            image.write(archive)
            argv = [*shlex.split(loader), str(archive)]
            if subprocess.run(argv, check=False).returncode != 0:
                raise CommandFailed(f"{shlex.join(argv)} failed")


def _programs() -> Path:
    """A folder with kubectl, helm and promtool."""
    found = {
        "kubectl": _kubectl_script(),
        "helm": tools.ensure("helm") / "helm",
        "promtool": tools.ensure("prometheus") / "promtool",
    }

    def make(folder: Path) -> None:
        folder.mkdir()
        for name, target in found.items():
            (folder / name).symlink_to(target)

    return cache.once("bin", "programs", cache.digest(*map(str, found.values())), make)


def _kubectl_script() -> Path:
    kube = tools.ensure("kube") / "kube"

    def make(path: Path) -> None:
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(str(kube))} kubectl "$@"\n')
        path.chmod(0o755)

    return cache.once("bin", "kubectl", cache.digest(str(kube)), make)


def _allowed_kubeconfig() -> Path:
    """The user's kubeconfig, if KUBE_CONTEXT names the context that it selects."""
    path = os.environ.get("KUBECONFIG")
    if not path:
        raise NotAllowed("CLUSTER=existing needs KUBECONFIG.")
    selected = (yaml.safe_load(Path(path).read_text()) or {}).get("current-context")
    named = os.environ.get("KUBE_CONTEXT")
    if not named or named != selected:
        raise NotAllowed(
            f"The current context of {path} is {selected!r}, and KUBE_CONTEXT is {named!r}. "
            f"The tests create and delete objects there: if that is what you want, set KUBE_CONTEXT={selected}."
        )
    return Path(path)
