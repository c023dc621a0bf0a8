"""A model as the runtime has it after its start, for tests that need no server."""

from pathlib import Path

from headgate_serving.server.model import Model
from headgate_serving.server.settings import read_settings
from headgate_serving.server.tryout import Tried, TryOut
from patience import PATIENCE


def start_of(path: Path, *options: str, budget: float = PATIENCE) -> Tried:
    """What the start finds out, in all the time that it likes."""
    return TryOut(read_settings(["--model", str(path), *options], {}), budget=budget).start()


def tried(path: Path) -> Model:
    """The model, tried out."""
    return start_of(path).model
