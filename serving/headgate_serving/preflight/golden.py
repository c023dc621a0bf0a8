"""`samples.json` as a preflight reads it: bounded, and from an artifact that is not trusted."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ..artifact.digest import SAMPLES
from ..codec.http_message import Message
from ..codec.lenient import Tensor, Tensors, Unreadable, outputs_of
from .requests import NoRequest, Request, read_request

MAX_SAMPLES_FILE = 8 << 20
MOST = 32
"""Samples that are asked."""


class SamplesInvalid(Exception):
    """The file is not of its form; the text says where."""


@dataclass(frozen=True)
class Tolerance:
    """|number - sample| <= absolute + relative × |sample|."""

    relative: float = 1e-3
    absolute: float = 1e-5

    def agree(self, found: Tensor, wanted: Tensor) -> bool:
        """Whether two tensors are the same within it."""
        if found.shape != wanted.shape or (found.values.dtype.kind == "O") != (wanted.values.dtype.kind == "O"):
            return False
        if not wanted.is_float:
            return bool(np.array_equal(found.values, wanted.values))
        one, other = found.values.astype(np.float64), wanted.values.astype(np.float64)
        with np.errstate(invalid="ignore"):
            near = np.abs(one - other) <= self.absolute + self.relative * np.abs(other)
        return bool((near | (one == other) | (np.isnan(one) & np.isnan(other))).all())


@dataclass(frozen=True)
class Sample:
    """A request and the model's own answer to it."""

    row: str
    request: Request
    outputs: Tensors


@dataclass(frozen=True)
class Samples:
    """The whole file, or as much of it as is looked at."""

    samples: tuple[Sample, ...] = ()
    tolerance: Tolerance = Tolerance()


def read_samples(folder: Path | None) -> Samples | None:
    """The samples in a folder; None if there is no such file. SamplesInvalid."""
    raw = bounded(folder, SAMPLES, MAX_SAMPLES_FILE)
    if raw is None:
        return None
    try:
        read = orjson.loads(raw)
        if read["format"] != 1:
            raise SamplesInvalid(f"{SAMPLES} has another format than 1")
        tolerance = Tolerance(_tolerated(read, "relative"), _tolerated(read, "absolute"))
        listed = read["samples"]
        return Samples(tuple(_sample(at, item) for at, item in enumerate(listed[:MOST])), tolerance)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SamplesInvalid(f"{SAMPLES} is damaged: {error!r}") from error


def bounded(folder: Path | None, name: str, most: int) -> bytes | None:
    """A file's bytes, None if it is not there; SamplesInvalid if there are too many."""
    if folder is None or not (folder / name).is_file():
        return None
    with (folder / name).open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise SamplesInvalid(f"{name} has more than {most} bytes")
    return raw


def _tolerated(read: Any, which: str) -> float:
    value = float(read["tolerance"][which])
    if not math.isfinite(value) or value < 0:
        raise SamplesInvalid(f"{SAMPLES}: the {which} tolerance is no number from 0")
    return value


def _sample(at: int, item: Any) -> Sample:
    try:
        outputs = outputs_of(Message(pieces=[orjson.dumps(item["response"])]), is_grpc=False)
        return Sample(str(item.get("row", at)), read_request(item["request"]), outputs)
    except (NoRequest, Unreadable) as error:
        raise SamplesInvalid(f"{SAMPLES}: samples[{at}]: {error}") from error
