"""Engines: what serves a revision in its pods. `engine.Engine` says what one is.

To add one: a module here, a line in `ENGINES`, its name in `api.spec.Runtime.engine`, and the rules of its fields.
"""

from headgate.core.engines.custom import Custom
from headgate.core.engines.engine import Engine
from headgate.core.engines.onnxruntime import OnnxRuntime

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (OnnxRuntime(), Custom())}


def engine_of(name: str) -> Engine:
    """The engine that a revision names."""
    return ENGINES[name]
