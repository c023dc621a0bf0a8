"""From a model on a laptop to a finished artifact in a folder: what `headgate package` does before it pushes.

The folder gets `model.onnx` with its external data, `profile.json`, `samples.json`, `card.md` and `evaluation.json` if
they are given, and `manifest.json`. The same inputs give the same bytes, so the same digest.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifact.digest import MODEL, PROFILE, SAMPLES, Manifest, write_manifest
from ..artifact.evaluation import EVALUATION, read_evaluation
from ..artifact.onnx_file import NotOnnx, check_external_data, check_location, read_onnx
from ..errors import ArtifactInvalid, ArtifactNotFound, ExternalDataMissing
from .golden import samples_of
from .reference import Progress, Reference, reference_of

CARD = "card.md"


@dataclass(frozen=True)
class Packaged:
    """A finished artifact."""

    folder: Path
    manifest: Manifest
    reference: Reference


def package(
    model: Path,
    data: Path,
    into: Path,
    *,
    names: Sequence[str] | None,
    label: str | None,
    card: Path | None,
    evaluation: Path | None = None,
    progress: Progress,
) -> Packaged:
    """Make the artifact in the empty folder `into`. HeadgateServingError or OSError says why it can't be made.

    `progress` is told how many rows the model has answered.
    """
    _copy_model(model / MODEL if model.is_dir() else model, into)
    if card:
        shutil.copyfile(card, into / CARD)
    if evaluation:
        (into / EVALUATION).write_bytes(_checked(evaluation))
    reference = reference_of(into, data, names, label, progress)
    (into / PROFILE).write_text(reference.profile.to_json(), encoding="utf-8")
    (into / SAMPLES).write_text(samples_of(into, data, names, label), encoding="utf-8")
    return Packaged(into, write_manifest(into), reference)


def _checked(evaluation: Path) -> bytes:
    """The bytes of a file that is an evaluation; ArtifactInvalid if it is none."""
    raw = evaluation.read_bytes()
    read_evaluation(raw)
    return raw


def _copy_model(model: Path, into: Path) -> None:
    if not model.is_file():
        raise ArtifactNotFound(f"there is no model at {model}")
    try:
        external = read_onnx(model).external
    except NotOnnx as error:
        raise ArtifactInvalid(f"{model} is no ONNX file, or only a part of one: {error}") from error
    shutil.copyfile(model, into / MODEL)
    for one in external:
        location = check_location(one.location)
        if location in (MODEL, PROFILE, SAMPLES, EVALUATION, CARD):
            raise ArtifactInvalid(f"the model keeps weights in {one.location!r}, a name that the artifact needs itself")
        if not (model.parent / location).is_file():
            raise ExternalDataMissing(f"the model keeps weights in {model.parent / location}, which is not there")
        (into / location).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.parent / location, into / location)
    check_external_data(into)
