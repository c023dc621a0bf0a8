"""Building an image of the table: from the cache, or with buildah into an image archive in the cache.

buildah keeps its layers in the cache too, so a change of the source alone does not install dependencies again.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tools.setup import cache, packages, progress, tools
from tools.setup.errors import BuildFailed, Missing

from .archive import Built, store
from .table import BASE_PACKAGES, BY_NAME, HERE, SUITE, Image

CERTIFICATES = Path("/etc/ssl/certs")


def build(name: str) -> Built:
    """Build an image of the table unless the cache has it."""
    if name not in BY_NAME:
        raise BuildFailed(f"There is no image {name!r}; there are {', '.join(BY_NAME)}.")
    image = BY_NAME[name]
    # Once: the source may be edited while an image is built from it.
    key, reference = image.key, image.reference
    folder = cache.once("images", name, key, lambda place: _build(image, reference, place))
    return Built(name, reference, folder)


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
    # Not as an OCI archive, whose layers buildah insists on compressing: they are read back on this machine.
    packed = place.with_suffix(".tar")
    push = [*_buildah(), "push", f"--signature-policy={_policy()}", reference, f"docker-archive:{packed}:{reference}"]
    progress.run(f"packing image {image.name}", push, log=log)
    store(packed, place)
    packed.unlink()
    _forget_old(image)


def _forget_old(image: Image) -> None:
    """Remove from buildah's storage what the cache has forgotten."""
    listing = [*_buildah(), "images", "--format={{.Name}}:{{.Tag}}", f"localhost/headgate-{image.name}"]
    done = subprocess.run(listing, check=False, capture_output=True, text=True)
    for reference in done.stdout.split():
        entry = cache.root() / "images" / f"{image.name}-{reference.rpartition(':')[2]}"
        if reference != image.reference and not entry.exists():
            subprocess.run([*_buildah(), "rmi", reference], check=False, capture_output=True)


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
    with tempfile.TemporaryDirectory(dir=cache.root()) as folder:
        archive = Path(folder) / "image.tar"
        built.write(archive)
        pull = [*_buildah(), "pull", f"--signature-policy={_policy()}", "--quiet", f"oci-archive:{archive}"]
        progress.run(f"unpacking image {built.name}", pull, log=log)
    identity = log.read_text().split()[-1]
    subprocess.run([*_buildah(), "tag", identity, built.reference], check=True)


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
