"""What every story stands on: the cluster, its images, and a web server with models, good ones and broken ones."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

from demo import artifacts
from demo.api import Api
from headgate_serving.artifact.digest import FileEntry, Manifest
from tools.cluster import Cluster

from .manifests import HARDENED, pod, service

OURS = {"app.kubernetes.io/part-of": "headgate-stories"}
FOLDER = "/opt/demo/artifacts"
BROKEN = "no-onnx"
NOT_A_MODEL = "This was meant to be a model, and is a letter.\n"


@dataclass(frozen=True)
class Artifact:
    """A model as a user asks for it."""

    version: str
    uri: str
    digest: str


@dataclass(frozen=True)
class World:
    """The cluster, and how to read it; images by name, digests of the demo's artifacts by version."""

    cluster: Cluster
    images: dict[str, str]
    digests: dict[str, str]
    api: Api = field(repr=False)
    place: str

    @staticmethod
    def on(cluster: Cluster) -> World:
        """With all images loaded, and the web server up."""
        world = World.at(cluster, new_namespace(cluster, "artifacts"))
        world._serve_artifacts()
        return world

    @staticmethod
    def at(cluster: Cluster, place: str) -> World:
        """With the web server that another process has started in a namespace."""
        return World(cluster, cluster.load_images(), artifacts.build().digests, Api(cluster.kubeconfig), place)

    def artifact(self, folder: str, version: str = "") -> Artifact:
        """One of the demo's models, by its own name or as another version."""
        return Artifact(version or folder, self._uri(folder), self.digests[folder])

    def with_wrong_digest(self) -> Artifact:
        """A good model, and the digest of another."""
        return Artifact("swapped", self._uri("v2"), self.digests["v1"])

    def missing(self) -> Artifact:
        """A folder that the web server does not have."""
        return Artifact("missing", self._uri("v9"), self.digests["v2"])

    def not_onnx(self) -> Artifact:
        """An artifact in order but for its model."""
        return Artifact("letter", self._uri(BROKEN), _broken_manifest().digest)

    def _uri(self, folder: str) -> str:
        return f"http://artifacts.{self.place}.svc/{folder}"

    def _serve_artifacts(self) -> None:
        self.cluster.apply(*_server(self.place, self.images["demo"]))
        where = f"--namespace={self.place}"
        self.cluster.kubectl("wait", "--for=condition=Ready", "pod/artifacts", where, "--timeout=60s")


def restricted(namespace: str, **labels: str) -> dict[str, Any]:
    """A namespace that refuses pods which are not "restricted", as a careful company's would."""
    labels |= {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}


def new_namespace(cluster: Cluster, words: str) -> str:
    """One that no earlier run had: deleting one takes a while, and Prometheus remembers what it counted there."""
    name = f"{words[:40].rstrip('-')}-{secrets.token_hex(2)}"
    cluster.apply(restricted(name, **OURS))
    return name


def delete_namespace(cluster: Cluster, name: str) -> None:
    """Without waiting for its end."""
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def clear(cluster: Cluster) -> None:
    """Take away what a run left that was ended half-way."""
    (label,) = (f"{key}={value}" for key, value in OURS.items())
    cluster.kubectl("delete", "namespace", f"--selector={label}", "--wait=false")


def _broken_manifest() -> Manifest:
    content = NOT_A_MODEL.encode()
    return Manifest({"model.onnx": FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))})


def _server(place: str, image: str) -> list[dict[str, Any]]:
    files = {"model.onnx": NOT_A_MODEL, "manifest.json": _broken_manifest().to_json()}
    broken = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": BROKEN, "namespace": place},
        "data": files,
    }
    server = pod("artifacts", place, image, ["python3", "-m", "demo.files", FOLDER], HARDENED)
    server["spec"]["volumes"] = [{"name": "broken", "configMap": {"name": BROKEN}}]
    server["spec"]["containers"][0] |= {
        "volumeMounts": [{"name": "broken", "mountPath": f"{FOLDER}/{BROKEN}"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    return [broken, server, service("artifacts", place)]
