"""What an ONNX file says about itself, read from its protobuf without loading it: opsets, and files with weights.

`fetch.py` sees with it that all external data has come, and `package.py` which files belong to a model;
`onnx_graph.py` reads what goes in and out with it. Field numbers are those of onnx.proto (ONNX 1.19). Tensors are
passed over, so that a model of gigabytes is read in milliseconds.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ArtifactTruncated, ExternalDataMissing, PathOutside
from .digest import MODEL, checked_path

_MAX_DEPTH = 64
_MOST_DIGITS = 19  # of a number in 64 bits; Python refuses to read some thousands of them
_SCALAR = {1: 8, 5: 4}  # wire type → bytes
# message → field → message of what is in it
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA = 13
_OPSET_IMPORT = 8


@dataclass(frozen=True)
class ExternalData:
    """The furthest byte that the model reads of one file beside it."""

    location: str
    end: int


@dataclass(frozen=True)
class OnnxFile:
    """What the model asks for."""

    opsets: Mapping[str, int]
    external: tuple[ExternalData, ...]


class NotOnnx(Exception):
    """The bytes are no protobuf of ONNX."""


class EndsTooEarly(NotOnnx):
    """A part is longer than what is left of it."""


def read_onnx(file: Path) -> OnnxFile:
    """Opset versions by domain ("" is ONNX' own), and external data by location. NotOnnx if it can't be read."""
    return _read_model(view_of(file))


def view_of(file: Path) -> memoryview:
    """The file's bytes, of which only those are read that somebody looks at; NotOnnx if there are none."""
    with file.open("rb") as opened:
        if not file.stat().st_size:
            raise NotOnnx(f"{file} is empty")
        # Not closed by `with`: it ends with its last slice, which a traceback may hold.
        return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


def check_external_data(folder: Path) -> None:
    """ExternalDataMissing, ArtifactTruncated or ArtifactInvalid if the model or its weights are not all in the folder.

    What can't be read as ONNX is let through: ONNX Runtime says best what is wrong with it.
    """
    try:
        external = read_onnx(folder / MODEL).external
    except EndsTooEarly as error:
        if _begins_like_onnx(folder / MODEL):
            raise ArtifactTruncated(f"{MODEL} is only the beginning of a model ({error}); copy it again") from error
        return
    except NotOnnx:
        return
    for data in external:
        check_location(data.location)
        file = folder / data.location
        if not file.is_file():
            raise ExternalDataMissing(
                f"{MODEL} keeps weights in {data.location!r}, which is not in the artifact; put that file beside the "
                "model, and give the folder as URI"
            )
        if file.stat().st_size < data.end:
            raise ArtifactTruncated(
                f"{data.location!r} has {file.stat().st_size} bytes, {MODEL} reads {data.end}; copy the file again"
            )


def _begins_like_onnx(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(1) == b"\x08"  # ir_version, which every exporter writes first


def check_location(location: str) -> str:
    """The location in its plain form (`./a//b` is `a/b`).

    PathOutside if it is not below the model's folder, ArtifactInvalid if the digest of an artifact leaves it out.
    """
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise PathOutside(f"{MODEL} keeps weights in {location!r}, which is not below its folder")
    # Only what is in every manifest: else the weights could change, and the digest would not.
    if any(part.startswith("..") for part in path.parts):
        raise PathOutside(
            f"{MODEL} keeps weights in {location!r}; a name that begins with two dots is the kubelet's own in a "
            "mounted folder, and part of no digest: rename the file, and save the model with the new name"
        )
    return checked_path(str(path))


def _read_model(view: memoryview) -> OnnxFile:
    opsets: dict[str, int] = {}
    external: dict[str, int] = {}
    for field, value in fields(view):
        if field == _OPSET_IMPORT and isinstance(value, memoryview):
            domain, version = _opset(value)
            opsets[domain] = max(version, opsets.get(domain, 0))
    for location, end in _external_data(view, "model", 0):
        external[location] = max(end, external.get(location, 0))
    return OnnxFile(opsets, tuple(ExternalData(*found) for found in sorted(external.items())))


def _external_data(view: memoryview, message: str, depth: int) -> Iterator[tuple[str, int]]:
    """(location, last byte) of every tensor whose bytes are elsewhere."""
    if depth > _MAX_DEPTH:
        raise NotOnnx(f"graphs are nested deeper than {_MAX_DEPTH}")
    entries: dict[str, str] = {}
    for field, value in fields(view):
        if not isinstance(value, memoryview):
            continue
        if message == "tensor" and field == _EXTERNAL_DATA:
            pair = {number: text_of(text) for number, text in fields(value) if isinstance(text, memoryview)}
            entries[pair.get(1, "")] = pair.get(2, "")
        elif inner := _INSIDE[message].get(field):
            yield from _external_data(value, inner, depth + 1)
    if "location" in entries:
        yield entries["location"], _whole_number(entries, "offset") + _whole_number(entries, "length")


def _whole_number(entries: Mapping[str, str], name: str) -> int:
    text = entries.get(name, "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def _opset(view: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field, value in fields(view):
        if field == 1 and isinstance(value, memoryview):
            domain = text_of(value)
        elif field == 2 and isinstance(value, int):
            version = value
    return ("" if domain == "ai.onnx" else domain), version


def text_of(view: memoryview) -> str:
    """NotOnnx if it is none."""
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError as error:
        raise NotOnnx("a name is no text") from error


def fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message; fixed-width numbers are left out."""
    for field, value, _ in parts(view):
        if value is not None:
            yield field, value


def parts(view: memoryview) -> Iterator[tuple[int, int | memoryview | None, memoryview]]:
    """Field numbers, values and all bytes of each field of one message; the value of a fixed-width number is None."""
    at = 0
    while at < len(view):
        start = at
        value: int | memoryview | None = None
        key, at = varint(view, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(view, at)
        elif kind == 2:
            length, at = varint(view, at)
            if length > len(view) - at:
                raise EndsTooEarly(f"a part of {length} bytes is promised, {len(view) - at} are there")
            value = view[at : at + length]
            at += length
        elif kind in _SCALAR:
            at += _SCALAR[kind]
        else:
            raise NotOnnx(f"unknown wire type {kind}")
        if at > len(view):
            raise EndsTooEarly("the file ends within a number")
        yield field, value, view[start:at]


def varint(view: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number there, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise EndsTooEarly("the file ends within a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotOnnx("a number is longer than 64 bits")
