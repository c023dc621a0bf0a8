"""Large requests in JSON, in pieces: neither all of their values are Python's objects at the same time, nor does the
event loop wait until all of them are read.

`rest_codec.py` asks for the request without its long arrays, checks it, and then has each of them read into its tensor.
An array is cut where there is a comma between two values; each piece, with the brackets that are open there, is JSON
by itself, and the same code reads it that reads small requests.
"""

import math
import secrets
import sys
from collections.abc import Generator
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..errors import BodyTooLarge, MalformedRequest
from .accounting import MOST_TEXT, Hold, Texts, take
from .conversion import converted
from .tensor import Tensor, TensorSpec

LARGE = 256 << 10
"""Bytes of JSON from which on it is read in pieces."""

_PIECE = 64 << 10
_CLOSE = 4 << 10  # bytes that are looked through at a time where lists begin and end between numbers
_LONG = 1 << 10  # bytes from which on an array is taken out
_MOST_BESIDE = 2 << 20  # bytes of JSON that are read at once, beside the long arrays
_LEVEL = 4  # {"inputs": [{"data": [
_DEEPEST = 64
_BESIDE_TEXT = 64 << 10  # bytes without a comma that are outside of text: no number is so long
_WHILE_READ = 5  # bytes of memory for a byte of a long text: its copy, and a character of up to four bytes
_COMMA, _OPEN, _QUOTE = ord(","), ord("["), ord('"')
_STEP = np.zeros(256, np.int64)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1
_STRUCTURAL = _STEP != 0
_STRUCTURAL[_COMMA] = True

Codes = NDArray[np.uint8]
Places = NDArray[np.int64]


class LongArray:
    """The values of one tensor, as they stand in the request: `text` begins and ends with a bracket."""

    def __init__(self, text: memoryview, hold: Hold, texts: Texts) -> None:
        self._text = text
        self._texts = texts
        self._hold = hold
        self._spec: TensorSpec | None = None
        self._shape: tuple[int, ...] = ()
        self._values: Tensor = np.empty(0)

    def tensor(self, spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
        """The tensor, in which there is nothing before `fill`; Overloaded if there is no room for it.

        MalformedRequest where so few bytes can't hold so many values, or another input has these already: of two
        tensors only one would be filled, and the other would show what was in memory before.
        """
        if self._spec is not None:
            raise MalformedRequest("data", f"inputs {self._spec.name!r} and {spec.name!r} have the same 'data'")
        count = math.prod(shape)
        if count > len(self._text) // 2:
            raise MalformedRequest(
                "shape",
                f"input {spec.name!r}: shape {list(shape)} needs {count} values, got {len(self._text)} bytes of them",
            )
        dtype = spec.datatype.dtype
        if spec.datatype.kind == "O":
            self._texts.expect(count)
        take(self._hold, count * dtype.itemsize)
        self._spec, self._shape, self._values = spec, shape, np.empty(count, dtype)
        return self._values.reshape(shape)

    def without_values(self) -> Any:
        """All lists of it, for a shape in which there is nothing but lists; BodyTooLarge if that are too many."""
        if len(self._text) > 2 * _MOST_BESIDE:
            raise BodyTooLarge(f"the data of an empty tensor has more than {2 * _MOST_BESIDE} bytes")
        return parsed(bytes(self._text))

    def fill(self) -> Generator[None, None, None]:
        """Read the values, a piece at a time; MalformedRequest if they are not what the shape says."""
        if self._spec is None:  # nobody has asked for it
            return
        text, values, done = self._text, self._values, 0
        nested = bytes(text[1 : 1 + _PIECE]).lstrip()[:1] == b"["
        rank = len(self._shape) if nested else 1
        at, depth = 1, 1
        while at < len(text):
            end, codes = yield from self._piece(at, flat=rank == 1)
            expected = self._expect(end - at)
            if codes is None:
                piece, after = b"".join((b"[", text[at:end], b"]")), depth
                more = parsed(piece)
                if not more:  # two commas, or one behind the last value, just where the text was cut
                    raise MalformedRequest("json", "the request is no valid JSON: a comma without a value behind it")
            else:
                depths = depth + np.cumsum(_STEP[codes])
                after = int(depths[-1]) if len(depths) else depth
                if max(depth, after) > _DEEPEST:
                    raise self._not_so_nested()
                piece = b"".join((b"[" * depth, text[at:end], b"]" * after))
                more = self._flat(piece, rank)
                self._check_nesting(depths[codes == _COMMA], rank, done, len(more), last=end + 1 >= len(text))
            if done + len(more) > len(values):
                raise self._another_number(done + len(more), rank)
            values[done : done + len(more)] = self._converted(more, piece)
            self._hold(-expected)
            at, done, depth = end + 1, done + len(more), after
            yield
        if done != len(values):
            raise self._another_number(done, rank)

    def _check_nesting(self, commas: Places, rank: int, done: int, more: int, *, last: bool) -> None:
        """MalformedRequest unless there is a comma between each two of so many more values, as deep as it has to be."""
        if len(commas) + last != more:
            raise self._another_number(done + more, rank)
        if rank > 1 and not np.array_equal(commas, self._depths(done, len(commas))):
            raise self._not_so_nested()

    def _piece(self, at: int, *, flat: bool) -> Generator[None, None, tuple[int, Codes | None]]:
        """Where the last comma within reach is, or the end, and the brackets and commas until there, with it.

        None in their place where there is nothing but numbers and commas, and no need to know where: in a `flat` list.

        A text may be as long as it likes, and others have their turn until its end is found. MalformedRequest where
        there is much else without a comma, for all that is between two of them is read at once.
        """
        found, outside, within = list[Codes](), 0, False
        while True:
            block = _block(self._text, at, _PIECE)
            if last := at + len(block) == len(self._text):
                block = block[:-1]
            if flat and not found and _is_flat(block) and (last or b"," in block):
                return at + (len(block) if last else block.rfind(b",")), None
            places, codes, beside, within = _marks(block, within=within)
            commas = np.flatnonzero(codes == _COMMA)
            if last or len(commas):
                found.append(codes if last else codes[: commas[-1] + 1])
                return at + (len(block) if last else int(places[commas[-1]])), np.concatenate(found)
            outside += beside
            if outside > _BESIDE_TEXT:
                raise self._no_value_is_so_long()
            found.append(codes)
            at += len(block)
            yield

    def _flat(self, piece: bytes, rank: int) -> list[Any]:
        level: list[Any] = parsed(piece)
        for _ in range(rank - 1):
            if set(map(type, level)) != {list}:
                raise self._not_so_nested()
            level = list(chain.from_iterable(level))
        return level

    def _depths(self, done: int, count: int) -> Places:
        """How deep each comma has to stand: less deep by one for each list that ends before it."""
        values = np.arange(done + 1, done + count + 1)
        depths = np.full(count, len(self._shape))
        size = 1
        for dim in reversed(self._shape[1:]):
            size *= dim
            depths -= values % size == 0
        return depths

    def _expect(self, size: int) -> int:
        """Bytes of memory that count while a text of that size is read; 0 for what has many values in little."""
        if size > MOST_TEXT:
            raise BodyTooLarge(f"a text of {size} bytes; one of {MOST_TEXT} bytes is the longest that is taken")
        expected = _WHILE_READ * size if size > _PIECE else 0
        take(self._hold, expected)
        return expected

    def _converted(self, more: list[Any], piece: bytes) -> Tensor:
        assert self._spec
        if self._spec.datatype.kind == "O":
            take(self._hold, self._texts.came(sum(map(sys.getsizeof, more))))
        strict = b"true" in piece or b"false" in piece
        return converted(more, self._spec.name, self._spec.datatype, strict=strict)

    def _another_number(self, got: int, rank: int) -> MalformedRequest:
        if rank > 1:
            return self._not_so_nested()
        assert self._spec
        count = len(self._values)
        said = f"got {got}" if got <= count else "got more"
        return MalformedRequest(
            "shape", f"input {self._spec.name!r}: shape {list(self._shape)} needs {count} values, {said}"
        )

    def _no_value_is_so_long(self) -> MalformedRequest:
        assert self._spec
        return MalformedRequest(
            "data", f"input {self._spec.name!r}: more than {_BESIDE_TEXT} bytes of 'data' are without a comma or a text"
        )

    def _not_so_nested(self) -> MalformedRequest:
        assert self._spec
        shape = list(self._shape)
        return MalformedRequest(
            "shape", f"input {self._spec.name!r}: the shape is {shape}, but 'data' is not nested so"
        )


def parsed(text: bytes) -> Any:
    """JSON; MalformedRequest if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest("json", f"the request is no valid JSON: {error}") from error


def without_long_arrays(
    text: memoryview, hold: Hold, texts: Texts
) -> Generator[None, None, tuple[Any, list[LongArray]]]:
    """The request, with a LongArray as the `data` of each input that has much of it; BodyTooLarge for other JSON."""
    kept, spans = bytearray(), list[tuple[int, int]]()
    mark = secrets.token_hex(16)  # stands for an array; a client that could guess it would choose whose values it gets
    done = 0
    for begin, end in (yield from _arrays(text)):
        kept += text[done:begin]
        kept += orjson.dumps(f"{mark}{len(spans)}")
        spans.append((begin, end))
        done = end
    kept += text[done:]
    request = parsed(bytes(kept))
    arrays = [LongArray(text[begin:end], hold, texts) for begin, end in spans]
    inputs = request.get("inputs") if type(request) is dict else None
    for item in inputs if type(inputs) is list else ():
        if type(item) is dict and (place := _place(item.get("data"), mark)) is not None:
            item["data"] = arrays[place]
    return request, arrays


def _place(data: Any, mark: str) -> int | None:
    """Which array stands here; nobody else can have written the mark."""
    return int(data.removeprefix(mark)) if type(data) is str and data.startswith(mark) else None


def _arrays(text: memoryview) -> Generator[None, None, list[tuple[int, int]]]:
    """Where the long arrays of the inputs begin and end."""
    found, taken = list[tuple[int, int]](), 0
    at, depth, within, begin = 0, 0, False, -1
    size, was_flat = _CLOSE, False
    while at < len(text):
        block = _block(text, at, size)
        flat = not within and _is_flat(block)
        if was_flat and not flat and len(block) > _CLOSE:  # where the numbers end is near
            size, was_flat = _CLOSE, False
            continue
        size, was_flat = min(2 * size, _PIECE), flat
        if not flat:
            places, codes, _, within = _marks(block, within=within)
            brackets = codes != _COMMA
            places, codes = places[brackets], codes[brackets]
            depths = depth + np.cumsum(_STEP[codes])
            edges = ((codes == _OPEN) & (depths == _LEVEL)) | ((codes == ord("]")) & (depths == _LEVEL - 1))
            for place, code in zip((at + places[edges]).tolist(), codes[edges].tolist(), strict=True):
                if code == _OPEN:
                    begin = place
                elif begin >= 0:
                    if place + 1 - begin >= _LONG:
                        found.append((begin, place + 1))
                        taken += place + 1 - begin
                    begin = -1
            depth = int(depths[-1]) if len(depths) else depth
        at += len(block)
        if (at if begin < 0 else begin) - taken > _MOST_BESIDE:
            raise BodyTooLarge(f"the JSON has more than {_MOST_BESIDE} bytes beside the values of its tensors")
        yield
    return found


def _block(text: memoryview, at: int, size: int) -> bytes:
    """What is read next; what is escaped comes with the backslash before it."""
    block = bytes(text[at : at + size])
    rest = len(block) - len(block.rstrip(b"\\"))
    return block[:-1] if rest % 2 and at + len(block) < len(text) else block


def _is_flat(block: bytes) -> bool:
    """Whether no list, object or text begins or ends there."""
    return not any(mark in block for mark in (b"]", b"[", b'"', b"{", b"}"))


def _marks(block: bytes, *, within: bool) -> tuple[Places, Codes, int, bool]:
    """Where the brackets and commas outside of texts are, and which they are.

    And how many bytes are outside of texts, and whether a text goes on at the end.
    """
    if b"\\" in block:
        block = block.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    codes: Codes = np.frombuffer(block, np.uint8)
    marks = codes == _COMMA if _is_flat(block) else _STRUCTURAL[codes]
    outside = len(block)
    if within or b'"' in block:
        inside = np.logical_xor.accumulate(codes == _QUOTE) ^ within
        marks &= ~inside
        outside -= int(np.count_nonzero(inside))
        within = bool(inside[-1])
    places = np.flatnonzero(marks)
    return places, codes[places], outside, within
