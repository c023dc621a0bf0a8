"""Requests that are good, nearly good, or nothing of the kind, for `fuzz.py` and the tests. One seed, one request.

The model is `save_model`'s: each input comes back as an output, so a good request's answer is known.
"""

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

INFER = b"/v2/models/fuzz/infer"
MAX_BODY = 2 << 20

_NUMPY: dict[str, Any] = {
    "FP32": np.float32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "FP16": np.float16,
    "UINT8": np.uint8,
}
_WIDTHS = {"FP32": 4, "INT64": 1, "BOOL": 1, "FP16": 2, "UINT8": 3, "BYTES": 1}
"""The model's inputs, each named after its type, and their columns."""

_SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 255, 256, -129, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1),
    *(
        0.5,
        -0.0,
        1e-320,
        65504.0,
        65520.0,
        3.5e38,
        1.7e308,
        math.nan,
        math.inf,
        "",
        "x",
        "\0",
        "1",
        "ü",
        "\ud800",
        "FP32",
    ),
)
_NAMES = ("name", "data", "shape", "parameters", "inputs", "outputs", "binary_data_size", "x", "", "timeout")
_LENGTHS = (b"0", b"00", b"1", b"-1", b"+5", b" 5", b"5 5", b"0x10", b"1e3", b"", b"a", b"\xff", b"9" * 18, b"9" * 30)


@dataclass(frozen=True)
class Attempt:
    """What is sent, in pieces, and what has to come back.

    `due` answers have to come; where the bytes are no valid HTTP there may be fewer, and the client says that it sends
    no more. `echo` are the values by output, if the request is good. `pause` lies between the pieces, in seconds.
    """

    what: str
    pieces: tuple[bytes, ...]
    due: int = 1
    echo: dict[str, list[Any]] | None = None
    bodiless: bool = False
    pause: float = 0.0

    @property
    def raw(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


@dataclass(frozen=True)
class _Body:
    """A request as the protocol sees it."""

    head: Any
    tail: bytes = b""
    binary: bool = False

    def encoded(self, text: bytes | None = None) -> tuple[bytes, list[bytes]]:
        """The body, and the header that says where its JSON ends."""
        head = json.dumps(self.head).encode("utf-8", "surrogatepass") if text is None else text
        return head + self.tail, [b"inference-header-content-length: %d" % len(head)] if self.binary else []


def attempt(random: Random) -> Attempt:
    """The next one."""
    make = random.choices(list(_FAMILIES), list(_FAMILIES.values()))[0]
    return make(random)


def slow(random: Random) -> Attempt:
    """A good request that takes its time, or far too much of it."""
    raw = _whole(random).raw
    count = random.choice((20, 100, 500))
    return Attempt("slow", _cut(random, raw, count), pause=random.choice((0.01, 0.1)))


def save_model(folder: Path) -> None:
    """A model with an input of each kind, that says what it is told."""
    import onnx
    from onnx import TensorProto, helper

    types = {"FP32": "FLOAT", "FP16": "FLOAT16", "BYTES": "STRING"}
    kinds = {name: getattr(TensorProto, types.get(name, name)) for name in _WIDTHS}
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_OUT"]) for name in _WIDTHS],
        "fuzz",
        [helper.make_tensor_value_info(name, kinds[name], ["n", width]) for name, width in _WIDTHS.items()],
        [helper.make_tensor_value_info(f"{name}_OUT", kinds[name], ["n", width]) for name, width in _WIDTHS.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )


def _values(random: Random, name: str, count: int) -> list[Any]:
    if name == "BYTES":
        return ["".join(random.choices('abcü€\n"', k=random.randrange(4))) for _ in range(count)]
    if name == "BOOL":
        return [random.random() < 0.5 for _ in range(count)]
    if name.startswith("FP"):
        return [random.randrange(-2000, 2000) / 8 for _ in range(count)]
    return [random.randrange(0, 200) for _ in range(count)]


def _good(random: Random, *, binary: bool | None = None) -> tuple[_Body, dict[str, list[Any]]]:
    """A request without fault, and what has to come back."""
    rows = random.choice((1, 1, 1, 2, 7))
    inputs, tail, echo = [], b"", {}
    in_binary = False
    for name, width in _WIDTHS.items():
        values = echo[f"{name}_OUT"] = _values(random, name, rows * width)
        item: dict[str, Any] = {"name": name, "datatype": name, "shape": [rows, width]}
        if random.random() < 0.5 if binary is None else binary:
            raw = _raw(name, values)
            tail += raw
            item["parameters"] = {"binary_data_size": len(raw)}
            in_binary = True
        else:
            item["data"] = (
                values if random.random() < 0.5 else [values[at : at + width] for at in range(0, len(values), width)]
            )
        inputs.append(item)
    head: dict[str, Any] = {"id": "4", "inputs": inputs}
    if random.random() < 0.2:
        head["parameters"] = {"timeout": 10_000_000}
    return _Body(head, tail, in_binary), echo


def _raw(name: str, values: list[Any]) -> bytes:
    if name != "BYTES":
        return np.array(values, _NUMPY[name]).tobytes()
    texts = [value.encode() for value in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _post(body: bytes, *headers: bytes, path: bytes = INFER, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return (
        b"\r\n".join([b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % length, *headers, b"", b""])
        + body
    )


def _chunked(random: Random, body: bytes, *headers: bytes) -> bytes:
    chunks, at = [], 0
    while at < len(body):
        size = random.choice((1, 2, 10, 1000, 100_000))
        chunks.append(b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]))
        at += size
    head = b"\r\n".join([b"POST %b HTTP/1.1" % INFER, b"host: x", b"transfer-encoding: chunked", *headers, b"", b""])
    return head + b"".join(chunks) + b"0\r\n\r\n"


def _cut(random: Random, raw: bytes, pieces: int) -> tuple[bytes, ...]:
    at = sorted(random.randrange(len(raw) + 1) for _ in range(pieces - 1))
    return tuple(raw[start:end] for start, end in zip([0, *at], [*at, len(raw)], strict=True))


def _whole(random: Random) -> Attempt:
    body, echo = _good(random)
    raw, headers = body.encoded()
    sent = _post(raw, *headers) if random.random() < 0.7 else _chunked(random, raw, *headers)
    return Attempt("good", _cut(random, sent, random.choice((1, 1, 1, 3))), echo=echo)


def _json(random: Random) -> Attempt:
    """Members replaced, left out, named otherwise, or there twice."""
    body, _ = _good(random)
    head = body.head
    for _ in range(random.choice((1, 1, 2, 4))):
        head = _mutated(random, head)
    raw, headers = replace(body, head=head).encoded()
    return Attempt("JSON", (_post(raw, *headers),))


def _text(random: Random) -> Attempt:
    """The JSON's text damaged, or nested deeply."""
    body, _ = _good(random)
    text = bytearray(json.dumps(body.head).encode())
    at = random.randrange(len(text))
    match random.randrange(5):
        case 0:
            text[at] = random.randrange(256)
        case 1:
            del text[at : at + random.choice((1, 2, 50))]
        case 2:
            text[at:at] = bytes(random.randrange(256) for _ in range(random.choice((1, 4))))
        case 3:
            depth = random.choice((10, 64, 500, 1023, 1024, 1025, 5000, 1_000_000))
            opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
            text[at:at] = (
                opening * min(depth, MAX_BODY // 8) + b"1" + closing * random.choice((0, min(depth, MAX_BODY // 8)))
            )
        case _:
            depth = random.choice((3, 60, 500, 900, 1000, 100_000, 1_000_000))
            where = random.choice(
                (b'"data": ', b'"shape": ', b'"inputs": ', b'"id": ', b'"timeout": ', b'"name": ', b'"x": ')
            )
            text = bytearray(
                b'{"inputs": [{"name": "FP32", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}], '
            )
            text = bytearray(text[:-2] + b", " + where + b"[" * depth + b"]" * depth + b"}")
    raw, headers = body.encoded(bytes(text))
    return Attempt("text", (_post(raw[:MAX_BODY], *headers),))


def _binary(random: Random) -> Attempt:
    """Lies about lengths, types and shapes; bytes that are missing or too many."""
    body, _ = _good(random, binary=True)
    items = body.head["inputs"]
    item = random.choice(items)
    tail, length = body.tail, None
    match random.randrange(8):
        case 0:
            item["parameters"]["binary_data_size"] = random.choice(
                (0, 1, -1, 2**31, 2**63, 2**64 - 1, 1.5, "8", True, None)
            )
        case 1:
            item["shape"] = random.choice(
                ([2**62, 4], [2**64 - 1, 2**64 - 1], [0, 4], [-1, 4], [1, 4, 1], [], [1.0, 4], 5)
            )
        case 2:
            item["datatype"] = random.choice((*_WIDTHS, "BF16", "FP64", "fp32", "", None, 5))
        case 3:
            tail = tail[: random.randrange(len(tail))]
        case 4:
            tail += bytes(random.choice((1, 100, 10_000)))
        case 5:
            damaged = bytearray(tail)
            for _ in range(random.choice((1, 5, 50))):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
            tail = bytes(damaged)
        case 6:
            random.shuffle(items)
        case _:
            length = random.choice(_LENGTHS)
    raw, headers = _Body(body.head, tail, True).encoded()
    if length is None and random.random() < 0.2:
        length = b"%d" % random.randrange(len(raw) + 2)
    if length is not None:
        headers = [b"inference-header-content-length: " + length]
    return Attempt("binary", (_post(raw, *headers),))


def _encoded(random: Random) -> Attempt:
    """Compressed bodies: good, damaged, named wrongly, or bombs."""
    body, echo = _good(random)
    raw, headers = body.encoded()
    name = random.choice((b"gzip", b"deflate", b"GZIP"))
    pack: Callable[[bytes], bytes] = gzip.compress if name.lower() == b"gzip" else zlib.compress
    good: dict[str, list[Any]] | None = None
    match random.randrange(5):
        case 0:
            packed, good = pack(raw), echo
        case 1:
            packed = pack(raw)[: random.randrange(len(raw) // 2)]
        case 2:
            damaged = bytearray(pack(raw))
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
            packed = bytes(damaged)
        case 3:
            unit = random.choice((b"\0", b"[", b'{"inputs": ['))
            packed = _bomb(name.lower(), unit, random.choice((MAX_BODY // 20, MAX_BODY, 8 * MAX_BODY)))
        case _:
            packed = raw if random.random() < 0.5 else pack(raw)
            name = random.choice((b"br", b"gzip, gzip", b"", b"identity", b"\xfe", b"deflate", b"gzip"))
    accepts = [b"accept-encoding: gzip"] if random.random() < 0.3 and good is None else []
    return Attempt("compressed", (_post(packed, b"content-encoding: " + name, *headers, *accepts),), echo=good)


@cache
def _bomb(encoding: bytes, unit: bytes, count: int) -> bytes:
    return (gzip.compress if encoding == b"gzip" else zlib.compress)(unit * count, 1)


def _http(random: Random) -> Attempt:
    """What is wrong with lines, lengths, chunks and headers; the client ends it, as nobody else knows where it ends."""
    body, _ = _good(random)
    raw, headers = body.encoded()
    good = _post(raw, *headers)
    match random.randrange(9):
        case 0:
            sent = good[: random.randrange(len(good))]
        case 1:
            sent = _post(raw, *headers, length=len(raw) + random.choice((1, -1, 1000, -len(raw), MAX_BODY, 2**40)))
        case 2:
            sent = _post(
                raw,
                *headers,
                random.choice((b"content-length: 5", b"transfer-encoding: chunked", b"transfer-encoding: x")),
            )
        case 3:
            sent = _chunked(random, raw, *headers)
            sent = sent[: random.randrange(len(sent))]
        case 4:
            damaged = bytearray(_chunked(random, raw, *headers))
            for _ in range(random.choice((1, 5))):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
            sent = bytes(damaged)
        case 5:
            sent = _post(
                raw,
                *headers,
                *(b"x-%d: %b" % (at, b"y" * random.choice((1, 1000))) for at in range(random.choice((10, 250, 1000)))),
            )
        case 6:
            damaged = bytearray(good)
            damaged[random.randrange(good.index(b"\r\n\r\n"))] = random.randrange(256)
            sent = bytes(damaged)
        case 7:
            sent = random.choice(
                (
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    b"\x16\x03\x01\x02\x00",
                    b"\r\n" * 1000,
                    b"A" * 500_000,
                    b"\0" * 70,
                )
            )
        case _:
            sent = bytes(random.randrange(256) for _ in range(random.choice((1, 20, 500))))
    return Attempt("HTTP", _cut(random, sent, random.choice((1, 2))), due=0)


def _large(random: Random) -> Attempt:
    """More than the server takes, or just as much."""
    size = MAX_BODY + random.choice((-1, 0, 1, 1_000_000))
    body = random.choice((b" ", b"[", b'"', b"1,"))
    body = (body * size)[:size]
    if random.random() < 0.3:
        text = b'{"inputs": [{"name": "FP32", "datatype": "FP32", "shape": [%d, 4], "data": ["%b"%b]}]}'
        body = text % (random.choice((1, 30_000)), b"x" * 100_000, b",1" * 100_000)
    sent = _post(body) if random.random() < 0.5 else _chunked(random, body[: MAX_BODY // 4])
    return Attempt("large", (sent,))


def _elsewhere(random: Random) -> Attempt:
    """Other methods and places."""
    method = random.choice((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"))
    path = random.choice(
        (b"/", b"/v2", b"/v2/models/fuzz", INFER, b"/v2/health/ready", b"/v2/models/fuzz/stats", b"/v2/models//infer")
    )
    if random.random() < 0.3:
        path += random.choice(
            (b"/", b"?a=b", b"%2e", b"%", b"/%00", b"/../..", b"%ff", b"\xc3\xbc", b"/x" * 3000, b"#")
        )
    headers = [
        b"connection: " + random.choice((b"keep-alive", b"close", b"Upgrade\r\nupgrade: h2c", b"x"))
    ] * random.randrange(2)
    sent = b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), b"host: x", *headers, b"content-length: 0", b"", b""])
    return Attempt("elsewhere", (sent,), bodiless=method == b"HEAD")


def _pipelined(random: Random) -> Attempt:
    """Several at once."""
    parts = [random.choice((_whole, _json, _binary, _encoded))(random) for _ in range(random.randrange(2, 9))]
    parts = [part for part in parts if part.due]
    return Attempt("pipelined", (b"".join(part.raw for part in parts),), due=len(parts))


_FAMILIES: dict[Callable[[Random], Attempt], float] = {
    _whole: 10,
    _json: 30,
    _text: 15,
    _binary: 15,
    _encoded: 8,
    _http: 10,
    _elsewhere: 6,
    _pipelined: 5,
    _large: 0.5,
}


def _mutated(random: Random, value: Any) -> Any:
    """The same JSON, but for one member of it."""
    value = json.loads(json.dumps(value))
    places = list(_places(value))
    if not places:
        return _anything(random, 3)
    holder, key = random.choice(places)
    match random.randrange(5):
        case 0 | 1:
            holder[key] = _anything(random, 3)
        case 2:
            del holder[key]
        case 3 if isinstance(holder, dict):
            holder[random.choice(_NAMES)] = holder.pop(key)
        case 3:
            holder.insert(key, holder[key])
        case _:
            other, at = random.choice(places)
            holder[key] = json.loads(json.dumps(other[at]))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _anything(random: Random, depth: int) -> Any:
    if depth == 0 or random.random() < 0.6:
        return "x" * 70_000 if random.random() < 0.01 else random.choice(_SCALARS)
    inner = [_anything(random, depth - 1) for _ in range(random.randrange(5))]
    if random.random() < 0.7:
        return inner
    return {random.choice(("name", "data", "binary_data_size", "a")): item for item in inner}
