"""Building an image of the table: from the cache, or with buildah into an image archive in the cache.

buildah keeps its layers in the cache too, so a change of the source alone does not install dependencies again.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from setup import cache, packages, progress, tools
from setup.errors import BuildFailed, Missing

from .table import BASE_PACKAGES, BY_NAME, HERE, SUITE, Image

CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True)
class Built:
    """An image that is there: what manifests call it, and its archive."""

    name: str
    reference: str
    archive: Path


def build(name: str) -> Built:
    """Build an image of the table unless the cache has it."""
    if name not in BY_NAME:
        raise BuildFailed(f"There is no image {name!r}; there are {', '.join(BY_NAME)}.")
    image = BY_NAME[name]
    # Once: the source may be edited while an image is built from it.
    key, reference = image.key, image.reference
    archive = cache.once("images", name, key, lambda place: _build(image, reference, place), suffix=".tar")
    return Built(name, reference, archive)


def _build(image: Image, reference: str, place: Path) -> None:
    log = cache.root() / "logs" / f"image-{image.name}.log"
    argv = [*_buildah(), "build", "--isolation=chroot", "--network=host", "--layers", "--format=oci"]
    # Registries may be behind a proxy whose certificate only the machine knows.
    if CERTIFICATES.exists():
        argv += [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
    if image.base:
        below = build(image.base)
        _into_storage(below)
        argv += [f"--build-arg=BASE={below.reference}", "--pull=never"]
    ignore = image.containerfile.with_name(f"{image.containerfile.name}.dockerignore")
    if ignore.exists():
        argv += [f"--ignorefile={ignore}"]
    argv += [f"--file={image.containerfile}", f"--tag={reference}", str(_context(image))]
    progress.run(f"building image {image.name}", argv, log=log)
    # docker-archive and not oci-archive, whose layers buildah compresses: they are read back on this machine.
    push = [*_buildah(), "push", f"--signature-policy={_policy()}", reference]
    progress.run(f"packing image {image.name}", [*push, f"docker-archive:{place}:{reference}"], log=log)


def _context(image: Image) -> Path:
    if image.tool:
        return tools.ensure(image.tool)
    if image.stage:
        return image.stage()
    return image.context or _distribution()


def _distribution() -> Path:
    """A folder with `base.tar`, the smallest Debian with Python."""

    def make(folder: Path) -> None:
        folder.mkdir()
        program = packages.which("mmdebstrap")
        if program is None:
            raise Missing("mmdebstrap is not installed. `make setup` installs it or says how.")
        slim = [f"--dpkgopt=path-exclude=/usr/share/{path}/*" for path in ("doc", "man", "locale", "info")]
        argv = [str(program), "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", *slim, SUITE]
        log = cache.root() / "logs" / "mmdebstrap.log"
        progress.run(f"Debian {SUITE} for the base image", [*argv, folder / "base.tar"], log=log)

    return cache.once("distribution", SUITE, cache.digest(SUITE, *BASE_PACKAGES), make)


def _into_storage(built: Built) -> None:
    """Bring an image that was built earlier back into buildah's storage, if it has gone from there."""
    there = [*_buildah(), "images", "--quiet", built.reference]
    if subprocess.run(there, check=False, capture_output=True).returncode == 0:
        return
    log = cache.root() / "logs" / f"image-{built.name}.log"
    pull = [*_buildah(), "pull", f"--signature-policy={_policy()}", f"docker-archive:{built.archive}"]
    progress.run(f"unpacking image {built.name}", pull, log=log)


def _buildah() -> list[str]:
    program = packages.which("buildah")
    if program is None:
        raise Missing("buildah is not installed. `make setup` installs it or says how.")
    storage = cache.root() / "buildah"
    return [
        str(program),
        f"--root={storage / 'root'}",
        f"--runroot={storage / 'run'}",
        "--storage-driver=overlay",
    ]


def _policy() -> Path:
    # The system's own may be missing, or forbid images that nobody signed.
    return HERE / "policy.json"
