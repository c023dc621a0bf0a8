"""The one model that this process serves, as both protocols see it. `worker.py` puts it in when it is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from ..errors import NotReady
from ..runtime.model import Model
from ..runtime.runner import Runner
from ..runtime.telemetry import Telemetry
from ..turns import Turns

EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True)
class Serving:
    """A loaded model; `about` is shown in its metadata."""

    model: Model
    runner: Runner
    about: dict[str, Any]


class Service:
    """What is said of server and model, and whether it takes requests."""

    def __init__(self, name: str, version: str | None, telemetry: Telemetry) -> None:
        self.name = name
        self.version = version
        self.telemetry = telemetry
        self.served = f"this server has the model {name!r}" + (f" in version {version!r}" if version else "")
        self.draining = False
        self.changed: Callable[[], None] = lambda: None
        self.turns = Turns()
        self._serving: Serving | None = None

    @property
    def serving(self) -> Serving:
        """What is served; NotReady while it is loading."""
        if self._serving is None:
            raise NotReady("the model is still loading")
        return self._serving

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self._serving is not None and not self.draining

    def serve(self, serving: Serving) -> None:
        """Take requests from now on."""
        self._serving = serving
        self.telemetry.ready = True
        self.changed()

    def drain(self) -> None:
        """Say not ready and ask clients to go elsewhere, but still answer."""
        self.draining = True
        self.telemetry.ready = False
        self.changed()

    def not_served(self, name: str, version: str) -> str:
        """Why a model (in a version, if that is not empty) is not to be had here; empty if it is."""
        if name != self.name:
            return f"there is no model {name[:200]!r}; {self.served}"
        if version and version != self.version:
            return f"there is no version {version[:200]!r} of model {name!r}; {self.served}"
        return ""

    def about_server(self) -> dict[str, Any]:
        """As in the protocol's server metadata."""
        return {"name": "headgate", "version": version_of("headgate"), "extensions": EXTENSIONS}

    def about_model(self, serving: Serving) -> dict[str, Any]:
        """As in the protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [self.version] if self.version else [],
            "platform": PLATFORM,
            "inputs": [spec.metadata() for spec in (*serving.model.inputs, *serving.model.optional)],
            "outputs": [spec.metadata() for spec in serving.model.outputs],
            "headgate": serving.about,
        }

    def config(self, serving: Serving) -> dict[str, Any]:
        """As Triton describes a model, for clients that ask before they send."""
        return {
            "name": self.name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "max_batch_size": 0,
            "input": [spec.config() for spec in (*serving.model.inputs, *serving.model.optional)],
            "output": [spec.config() for spec in serving.model.outputs],
        }

    def index(self) -> list[dict[str, str]]:
        """The one model and its state, as in Triton's model repository extension."""
        reason = "" if self.ready else "draining" if self._serving else "loading"
        state = "READY" if self.ready else "UNAVAILABLE"
        return [{"name": self.name, "version": self.version or "", "state": state, "reason": reason}]

    def statistics(self) -> dict[str, Any]:
        """As in Triton's statistics extension; times in nanoseconds."""
        return {"model_stats": [{"name": self.name, "version": self.version or "", **self.telemetry.statistics()}]}
