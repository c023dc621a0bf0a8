"""What the operator last published for routers that can't reach the API server, from a file that is mounted.

The agent reads it only where it has nothing else: neither the API server, nor what an agent before it left.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate_serving.router.errors import PublishedUnreadable


@dataclass(frozen=True, slots=True)
class Published:
    """The objects as the API server would have given them."""

    deployment: Mapping[str, Any]
    slices: tuple[Mapping[str, Any], ...]


def read_published(path: Path) -> Published | None:
    """None where nothing was published. Raises PublishedUnreadable."""
    try:
        state = json.loads(path.read_text())
        return Published(dict(state["modelDeployment"]), tuple(map(dict, state["endpointSlices"])))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishedUnreadable(f"{path} can't be read: {error!r}") from error
