"""An engine with a process of its own, and a monitor beside it."""

from collections.abc import Sequence
from typing import ClassVar

from headgate.core.engines.engine import INFERENCE_PORTS, Engine, Manifest
from headgate.core.model import Observation, RevisionView


class Echo(Engine):
    name: ClassVar = "echo"
    counts_itself: ClassVar = False
    writes: ClassVar = ("/var/cache",)

    def process(self, o: Observation, view: RevisionView) -> Manifest:
        return {"command": ["echo-server"], "args": ["--model", o.name], "ports": [*INFERENCE_PORTS]}

    def fetcher_arguments(self) -> Sequence[str]:
        return ["--any-model"]
