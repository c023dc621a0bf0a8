"""Each datatype in each form, with its extreme values; what does not fit; what JSON can't say."""

import math
from typing import Any

from conformance_reasons import (
    BACKEND_WITHOUT_BF16,
    BACKEND_WITHOUT_BF16_GRPC,
    BLAMES_ITSELF,
    HALF_NOT_IN_JSON,
    NULL_IS_NO_VALUE,
    OVERFLOWS,
    TELLS_THE_DOUBLE,
    TEXT_IS_BYTES,
)
from conformance_requests import CONTENTS, announced, binary, call, infer, raw, tensor
from conformance_servers import TYPES
from conformance_table import Call, Case, Rest, answered, called, output, refused

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    **{f"UINT{bits}": [0, (1 << bits) - 1] for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": [-1 << (bits - 1), (1 << (bits - 1)) - 1] for bits in (8, 16, 32, 64)},
    "FP16": [0.5, -65504.0],
    "FP32": [1.5, -16777216.0],
    "FP64": [0.1, -1.7976931348623157e308],
    "BYTES": ["", "größer"],
}
ZEROS: dict[str, bytes] = {name: raw(name, ["", ""] if name == "BYTES" else [0, 0]) for name in TYPES}


def in_json(datatype: str, data: list[Any], **more: Any) -> Rest:
    """One input of the model `types` in JSON, and of its answer the output that belongs to it."""
    others = [name for name in TYPES if name != datatype]
    header = {
        "inputs": [
            tensor(f"IN_{datatype}", datatype, [1, 2], data),
            *(announced(f"IN_{name}", name, [1, 2], len(ZEROS[name])) for name in others),
        ],
        "outputs": [{"name": f"OUT_{datatype}", **more}],
    }
    return binary("types", header, *(ZEROS[name] for name in others))


def in_bytes(datatype: str, data: bytes) -> Rest:
    """The same as bytes, in both directions."""
    parts = ZEROS | {datatype: data}
    header = {
        "inputs": [announced(f"IN_{name}", name, [1, 2], len(part)) for name, part in parts.items()],
        "outputs": [{"name": f"OUT_{datatype}", "parameters": {"binary_data": True}}],
    }
    return binary("types", header, *parts.values())


def in_message(datatype: str, data: list[Any]) -> Call:
    """The same over gRPC, raw."""
    parts = {**ZEROS, datatype: raw(datatype, data)}
    inputs = [(f"IN_{name}", name, [1, 2], part) for name, part in parts.items()]
    return call("types", inputs, outputs=[f"OUT_{datatype}"])


def told(datatype: str, data: list[Any]) -> list[Any]:
    return [output(f"OUT_{datatype}", data, datatype, [1, 2])]


def typed(datatype: str) -> list[tuple[str, str, list[int], Any]]:
    """All inputs that have a field of their own in InferTensorContents, with one of them not zero."""
    zeros: dict[str, list[Any]] = {"BOOL": [False, False], "BYTES": ["", ""]}
    return [
        (f"IN_{name}", name, [1, 2], VALUES[name] if name == datatype else zeros.get(name, [0, 0]))
        for name in TYPES
        if name in CONTENTS
    ]


HALF = [1.5, -3.0]
TOO_LARGE = {
    **{f"UINT{bits}": 1 << bits for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": 1 << (bits - 1) for bits in (8, 16, 32, 64)},
    "FP16": 65536.0,
    "FP32": 1e39,
}
TOO_LARGE_FOR_TRITON = {"UINT64": BLAMES_ITSELF, "INT64": BLAMES_ITSELF, "FP16": None}


def half(*parts: bytes) -> Rest:
    header = {"inputs": [announced("IN", "BF16", [1, 2], 4)]}
    return binary("half", header | {"parameters": {"binary_data_output": True}}, *parts)


CASES = [
    *(
        Case(
            f"{name} in JSON",
            "types",
            in_json(name, values),
            answered({"outputs": told(name, values)}),
            HALF_NOT_IN_JSON if name == "FP16" else None,
        )
        for name, values in VALUES.items()
    ),
    *(
        Case(
            f"{name} as bytes",
            "types",
            in_bytes(name, raw(name, values)),
            answered({"outputs": told(name, values)}),
        )
        for name, values in VALUES.items()
    ),
    *(
        Case(f"{name} raw", "types", in_message(name, values), called({"outputs": told(name, values)}))
        for name, values in VALUES.items()
    ),
    Case(
        "BF16 in JSON",
        "half",
        infer("half", {"inputs": [tensor("IN", "BF16", [1, 2], HALF)]}),
        answered({"outputs": [output("OUT", HALF, "BF16", [1, 2])]}),
        HALF_NOT_IN_JSON,
    ),
    Case(
        "BF16 as bytes",
        "half",
        half(raw("BF16", HALF)),
        answered({"outputs": [output("OUT", HALF, "BF16", [1, 2])]}),
        BACKEND_WITHOUT_BF16,
    ),
    Case(
        "BF16 in JSON is rounded to the nearest",
        "half",
        infer("half", {"inputs": [tensor("IN", "BF16", [1, 2], [1.0039, 1.00391])]}),
        answered({"outputs": [output("OUT", [1.0, 1.0078125])]}),
        HALF_NOT_IN_JSON,
    ),
    Case(
        "BF16 raw",
        "half",
        call("half", [("IN", "BF16", [1, 2], HALF)]),
        called({"outputs": [output("OUT", HALF, "BF16", [1, 2])]}),
        BACKEND_WITHOUT_BF16_GRPC,
    ),
    *(
        Case(
            f"{name} in JSON, too large",
            "types",
            in_json(name, [0, value]),
            refused(400, name),
            TOO_LARGE_FOR_TRITON.get(name, OVERFLOWS),
        )
        for name, value in TOO_LARGE.items()
    ),
    *(
        Case(
            f"{name} in JSON, negative",
            "types",
            in_json(name, [0, -1]),
            refused(400, f"does not fit into {name}"),
            BLAMES_ITSELF,
        )
        for name in ("UINT8", "UINT64")
    ),
    Case(
        "INT32 in JSON, a fraction", "types", in_json("INT32", [0, 0.5]), refused(400, "whole numbers"), BLAMES_ITSELF
    ),
    Case(
        "INT32 in JSON, a fraction that is zero",
        "types",
        in_json("INT32", [0, 1.0]),
        refused(400, "whole numbers"),
        BLAMES_ITSELF,
    ),
    Case("BOOL in JSON, a number", "types", in_json("BOOL", [True, 1]), refused(400, "true or false"), BLAMES_ITSELF),
    Case("INT8 in JSON, a boolean", "types", in_json("INT8", [0, True]), refused(400, "whole numbers"), BLAMES_ITSELF),
    Case("FP64 in JSON, text", "types", in_json("FP64", [0, "1"]), refused(400, "takes numbers"), BLAMES_ITSELF),
    Case("BYTES in JSON, a number", "types", in_json("BYTES", ["", 1]), refused(400, "takes strings"), BLAMES_ITSELF),
    Case(
        "FP32 in JSON, whole numbers",
        "types",
        in_json("FP32", [1, 2]),
        answered({"outputs": told("FP32", [1.0, 2.0])}),
    ),
    Case(
        "FP32 in JSON, nested",
        "types",
        in_json("FP32", [[1.0, 2.0]]),
        answered({"outputs": told("FP32", [1.0, 2.0])}),
    ),
    Case(
        "FP32 in JSON, the shortest number",
        "types",
        in_json("FP32", [0.1, 16777217]),
        answered({"outputs": told("FP32", [0.1, 16777216.0])}),
        TELLS_THE_DOUBLE,
    ),
    Case(
        "FP64 in JSON, null",
        "types",
        in_json("FP64", [None, 1.0]),
        answered({"outputs": told("FP64", [None, 1.0])}),
        NULL_IS_NO_VALUE,
    ),
    Case(
        "BYTES in JSON, null",
        "types",
        in_json("BYTES", [None, "a"]),
        answered({"outputs": told("BYTES", ["", "a"])}),
        NULL_IS_NO_VALUE,
    ),
    Case(
        "NaN as bytes",
        "types",
        in_bytes("FP32", raw("FP32", [math.nan, math.inf])),
        answered({"outputs": told("FP32", [math.nan, math.inf])}),
    ),
    Case(
        "BOOL as bytes, another number than 1",
        "types",
        in_bytes("BOOL", b"\x02\x00"),
        answered({"outputs": told("BOOL", [True, False])}),
    ),
    Case(
        "BYTES as bytes, no UTF-8",
        "types",
        in_bytes("BYTES", raw("BYTES", [b"\xff", b""])),
        refused(400, "UTF-8"),
        TEXT_IS_BYTES,
    ),
    Case(
        "BYTES as bytes, cut off", "types", in_bytes("BYTES", raw("BYTES", ["a", "bc"])[:-1]), refused(400, "cut off")
    ),
    Case("BYTES as bytes, too few", "types", in_bytes("BYTES", raw("BYTES", ["a"])), refused(400, "got 1")),
    Case("BYTES as bytes, too many", "types", in_bytes("BYTES", raw("BYTES", "abc")), refused(400, "got 5 bytes more")),
    Case("FP32 as bytes, too few", "types", in_bytes("FP32", raw("FP32", [1])), refused(400, "takes 8 bytes, got 4")),
    Case("FP32 as bytes, too many", "types", in_bytes("FP32", raw("FP32", [1] * 3)), refused(400, "got 12")),
]
