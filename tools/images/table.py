"""Which images there are and what goes into each: the one place to add one.

An image's tag is the hash of all its inputs, so a changed source is a changed reference, and an unchanged one is
never built, pushed or loaded again.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo import artifacts
from tools.setup import cache, tools

HERE = Path(__file__).resolve().parent
REPOSITORY = cache.REPOSITORY

# Bookworm, because its Python is the oldest that the project supports.
SUITE = "bookworm"
BASE_PACKAGES = ("ca-certificates", "locales", "python3", "python3-pip", "python3-venv")


@dataclass(frozen=True)
class Image:
    """One image: a Containerfile, the folder that it copies from, and everything whose change must rebuild it."""

    name: str
    containerfile: Path
    inputs: tuple[Path | str, ...]
    # The image that is given to the Containerfile as BASE.
    base: str = ""
    # The folder to copy from; `tool` names one that is built first, `base` is the distribution.
    context: Path | None = None
    tool: str = ""
    # Makes the folder to copy from, where that is neither a part of the repository nor a tool.
    stage: Callable[[], Path] | None = None

    @functools.cached_property
    def key(self) -> str:
        """Hash of the inputs, those of the image below included."""
        below = BY_NAME[self.base].key if self.base else ""
        return cache.digest(self.containerfile, below, platform.machine(), *self.inputs)

    @property
    def reference(self) -> str:
        """What manifests call it."""
        return f"localhost/headgate-{self.name}:{self.key}"


def _tool_key(name: str) -> str:
    return next(tool.key for tool in tools.TOOLS if tool.name == name)


def _product(name: str) -> Image:
    """An image of the product: its Containerfile is the one that users build too."""
    sources = ("pyproject.toml", "README.md", "operator/headgate", "serving/headgate_serving", "cli/headgate_cli")
    requirements = (f"requirements/{name}.txt", "requirements/build.txt")
    return Image(
        name,
        REPOSITORY / name / "Containerfile",
        tuple(REPOSITORY / path for path in (*requirements, *sources)),
        base="base",
        context=REPOSITORY,
    )


def _demo() -> Image:
    """The demo's image, on top of the serving image: models, rows, and what the demo runs in pods."""
    sources: list[Path | str] = [artifacts.HERE / name for name in (*artifacts.IN_PODS, artifacts.FIRST)]
    inputs = (artifacts.key(), *sources)
    return Image("demo", artifacts.HERE / "Containerfile", inputs, base="serving", stage=artifacts.stage)


IMAGES = (
    Image("pause", HERE / "pause.Containerfile", (_tool_key("pause"),), tool="pause"),
    Image("base", HERE / "base.Containerfile", (SUITE, *BASE_PACKAGES)),
    Image("envoy", HERE / "envoy.Containerfile", (HERE / "envoy.txt",), base="base", context=HERE),
    Image("prometheus", HERE / "prometheus.Containerfile", (_tool_key("prometheus"),), tool="prometheus"),
    _product("operator"),
    _product("serving"),
    _demo(),
)
BY_NAME = {image.name: image for image in IMAGES}


def names() -> list[str]:
    """All images, each after the one that it is built on."""
    return list(BY_NAME)


def references() -> dict[str, str]:
    """Name -> reference of every image, whether it has been built or not."""
    return {image.name: image.reference for image in IMAGES}
