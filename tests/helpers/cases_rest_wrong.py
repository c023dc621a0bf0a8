"""Requests over REST that are wrong, and what is said of them."""

import gzip
import zlib

import orjson

from conformance_reasons import (
    BLAMES_ITSELF,
    CLASSIFIES,
    LOOKS_FOR_THE_MEMORY,
    NESTING_IS_IGNORED,
    NO_END_NEEDED,
    NO_LIMIT,
    NOT_IMPLEMENTED,
    OVERFLOWS,
)
from conformance_requests import AT, TEXT, X, announced, asked, binary, encoded, infer, mixed, raw, tensor
from conformance_servers import MAX_BODY
from conformance_table import Case, Rest, Unlike, refused

GZIPPED = gzip.compress(encoded(asked()))
X_HEADER = {"inputs": [announced("IN", "FP32", [1, 2], 8)]}
X_BYTES = raw("FP32", [1, 2])


def without(one: dict[str, object], member: str) -> dict[str, object]:
    return {key: value for key, value in one.items() if key != member}


WRONG: dict[str, tuple[Rest, str] | tuple[Rest, str, Unlike]] = {
    "no JSON": (infer("mixed", b'{"inputs": ['), "valid JSON", BLAMES_ITSELF),
    "an empty body": (infer("mixed", b""), "valid JSON"),
    "not UTF-8": (infer("mixed", b'{"id": "\xff"}'), "valid JSON", BLAMES_ITSELF),
    "a list": (infer("mixed", []), "JSON object", BLAMES_ITSELF),
    "no inputs": (infer("mixed", {}), "'inputs'", BLAMES_ITSELF),
    "inputs are empty": (infer("mixed", {"inputs": []}), "'X' is missing"),
    "inputs is an object": (infer("mixed", {"inputs": {}}), "'inputs'", BLAMES_ITSELF),
    "an input is a number": (infer("mixed", {"inputs": [5]}), "'name'"),
    "an input has no name": (mixed(X=without(X, "name")), "'name'", BLAMES_ITSELF),
    "id is a number": (mixed(id=5), "'id'", BLAMES_ITSELF),
    "parameters is a list": (mixed(parameters=[1]), "'parameters'", BLAMES_ITSELF),
    "input is missing": (infer("mixed", {"inputs": [X, AT]}), "'TEXT' is missing"),
    "input is unknown": (
        infer("mixed", {"inputs": [tensor("Z", "FP32", [1], [1])]}),
        "no input 'Z'; it has 'X', 'AT', 'TEXT'",
    ),
    "one input too many": (infer("mixed", {"inputs": [X, AT, TEXT, tensor("Z", "FP32", [1], [1])]}), "no input 'Z'"),
    "input is there twice": (infer("mixed", {"inputs": [X, X]}), "'X' is there twice"),
    "another datatype": (mixed(X=X | {"datatype": "FP64"}), "'X': expected datatype FP32, got 'FP64'"),
    "a datatype that is none": (mixed(X=X | {"datatype": "FLOAT"}), "expected datatype FP32, got 'FLOAT'"),
    "no datatype": (mixed(X=without(X, "datatype")), "expected datatype FP32, got None", BLAMES_ITSELF),
    "no shape": (mixed(X=without(X, "shape")), "got None", BLAMES_ITSELF),
    "another rank": (
        mixed(X=X | {"shape": [8]}),
        "'X': expected shape [-1, 4] (-1 stands for any length), got [8]",
    ),
    "another width": (mixed(X=X | {"shape": [4, 2]}), "got [4, 2]"),
    "negative shape": (mixed(X=X | {"shape": [-1, 4]}), "got [-1, 4]", BLAMES_ITSELF),
    "shape with a boolean": (mixed(AT=AT | {"shape": [True]}), "got [True]", BLAMES_ITSELF),
    "shape with a fraction": (mixed(AT=AT | {"shape": [1.5]}), "got [1.5]", BLAMES_ITSELF),
    "shape is text": (mixed(AT=AT | {"shape": "1"}), "got '1'", BLAMES_ITSELF),
    "huge shape": (mixed(AT=AT | {"shape": [2**63]}), "needs 9223372036854775808 values, got 1", BLAMES_ITSELF),
    "a shape that overflows": (mixed(AT=AT | {"shape": [2**64 + 1]}), "expected shape", BLAMES_ITSELF),
    "too little data": (mixed(X=X | {"data": [1.0]}), "needs 8 values, got 1", BLAMES_ITSELF),
    "too much data": (mixed(X=X | {"data": [1.0] * 9}), "needs 8 values, got 9", BLAMES_ITSELF),
    "nested otherwise": (
        mixed(X=X | {"data": [[1, 2]] * 4}),
        "shape is [2, 4], but 'data' is nested as [4, 2]",
        NESTING_IS_IGNORED,
    ),
    "ragged": (mixed(X=X | {"data": [[1, 2, 3, 4], [5]]}), "differ in length", BLAMES_ITSELF),
    "no data": (mixed(X=without(X, "data")), "'data' has to be a list, got None"),
    "data is a number": (mixed(X=X | {"data": 5}), "'data' has to be a list, got 5", BLAMES_ITSELF),
    "data is empty": (mixed(X=X | {"data": []}), "needs 8 values, got 0", BLAMES_ITSELF),
    "text for numbers": (
        mixed(X=X | {"data": ["1"] * 8}),
        "FP32 takes numbers (null for a missing one), got '1'",
        BLAMES_ITSELF,
    ),
    "text among numbers": (mixed(X=X | {"data": [1] * 7 + ["1"]}), "got '1'", BLAMES_ITSELF),
    "boolean among numbers": (mixed(X=X | {"data": [1] * 7 + [True]}), "got True", BLAMES_ITSELF),
    "object among numbers": (mixed(X=X | {"data": [1] * 7 + [{}]}), "got {}", BLAMES_ITSELF),
    "number too large": (mixed(X=X | {"data": [1e300] * 8}), "does not fit into FP32", OVERFLOWS),
    "fraction for an integer": (
        mixed(AT=AT | {"data": [0.5]}),
        "'AT': INT64 takes whole numbers, got 0.5",
        BLAMES_ITSELF,
    ),
    "null for an integer": (mixed(AT=AT | {"data": [None]}), "got None", BLAMES_ITSELF),
    "integer too large": (mixed(AT=AT | {"data": [2**63]}), "does not fit into INT64", BLAMES_ITSELF),
    "number for text": (mixed(TEXT=TEXT | {"data": ["a", 5]}), "BYTES takes strings", BLAMES_ITSELF),
    "list for text": (mixed(TEXT=TEXT | {"data": ["a", ["b", "c"]]}), "BYTES takes strings"),
    "ragged text": (mixed(TEXT=TEXT | {"data": [["a"], ["b", "c"]]}), "differ in length"),
    "output is unknown": (mixed(outputs=[{"name": "Q"}]), "no output 'Q'; it has 'Y', 'PICK', 'SAID'"),
    "output has no name": (mixed(outputs=[{}]), "no output None", BLAMES_ITSELF),
    "outputs is text": (mixed(outputs="Y"), "'outputs'", BLAMES_ITSELF),
    "classification": (
        mixed(outputs=[{"name": "Y", "parameters": {"classification": 2}}]),
        "not supported",
        CLASSIFIES,
    ),
    "shared memory": (mixed(X=X | {"parameters": {"shared_memory_region": "r"}}), "not supported"),
    "shared memory for an output": (
        mixed(outputs=[{"name": "Y", "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}]),
        "not supported",
        LOOKS_FOR_THE_MEMORY,
    ),
    "a timeout that is text": (
        mixed(parameters={"timeout": "1s"}),
        "'timeout' has to be whole microseconds",
        BLAMES_ITSELF,
    ),
    "a negative timeout": (mixed(parameters={"timeout": -1}), "'timeout' has to be whole microseconds", BLAMES_ITSELF),
    "binary size without bytes": (
        mixed(AT={"name": "AT", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}),
        "8 bytes are announced, 0 are there",
    ),
    "binary size is text": (
        binary("single", {"inputs": [announced("IN", "FP32", [1, 2], 8) | {"parameters": {"binary_data_size": "8"}}]}),
        "binary_data_size is '8'",
        BLAMES_ITSELF,
    ),
    "binary size is negative": (
        binary("single", {"inputs": [announced("IN", "FP32", [1, 2], -8)]}, X_BYTES),
        "binary_data_size is -8",
        BLAMES_ITSELF,
    ),
    "binary size does not fit the shape": (
        binary("single", {"inputs": [announced("IN", "FP32", [2, 2], 8)]}, X_BYTES),
        "takes 16 bytes, got 8",
    ),
    "bytes are cut off": (binary("single", X_HEADER, X_BYTES[:4]), "8 bytes are announced, 4 are there"),
    "bytes are left over": (binary("single", X_HEADER, X_BYTES, b"more"), "12 bytes follow the JSON"),
    "bytes behind JSON without a header length": (
        infer("single", encoded(X_HEADER) + X_BYTES),
        "valid JSON",
    ),
    "data and bytes": (
        binary("single", {"inputs": [announced("IN", "FP32", [1, 2], 8, data=[1, 2])]}, X_BYTES),
        "both 'data' and 'binary_data_size'",
    ),
    "header length is larger than the body": (binary("single", X_HEADER, X_BYTES, length="999"), "Length is '999'"),
    "header length is no number": (binary("single", X_HEADER, X_BYTES, length="x"), "Length is 'x'"),
    "header length is negative": (binary("single", X_HEADER, X_BYTES, length="-1"), "Length is '-1'"),
    "header length is too short": (binary("single", X_HEADER, X_BYTES, length="5"), "valid JSON", BLAMES_ITSELF),
    "header length is too long": (
        binary("single", X_HEADER, X_BYTES, length=str(len(encoded(X_HEADER)) + 4)),
        "valid JSON",
    ),
    "a raw body for a model with three inputs": (
        infer("mixed", X_BYTES, Inference_Header_Content_Length="0"),
        "the model has 3 inputs",
    ),
    "a raw body that is half a row": (
        infer("single", X_BYTES[:4], Inference_Header_Content_Length="0"),
        "4 raw bytes do not say which shape",
    ),
    "a raw body that is half a number": (
        infer("single", X_BYTES + b"ab", Inference_Header_Content_Length="0"),
        "takes 8 bytes, got 10",
    ),
    "gzip that is none": (infer("mixed", asked(), Content_Encoding="gzip"), "the body is no gzip"),
    "gzip that is cut off": (infer("mixed", GZIPPED[:-9], Content_Encoding="gzip"), "cut off", NO_END_NEEDED),
    "deflate that is none": (infer("mixed", b"\xff" * 20, Content_Encoding="deflate"), "the body is no deflate"),
    "deflate that is cut off": (
        infer("mixed", zlib.compress(encoded(asked()))[:-5], Content_Encoding="deflate"),
        "cut off",
        NO_END_NEEDED,
    ),
    "nested a thousand deep": (infer("mixed", b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}"), "valid JSON"),
    "data nested a hundred deep": (
        mixed(AT=AT | {"data": orjson.loads(b"[" * 100 + b"1" + b"]" * 100)}),
        "'AT'",
        NESTING_IS_IGNORED,
    ),
}
CASES = [
    *(
        Case(name, ask.path.split("/")[3], ask, refused(400, said), *unlike)
        for name, (ask, said, *unlike) in WRONG.items()
    ),
    Case(
        "an encoding that nobody knows",
        "mixed",
        infer("mixed", b"x", Content_Encoding="br"),
        refused(415, "'br'"),
        NOT_IMPLEMENTED,
    ),
    Case(
        "an index out of range inside of the model",
        "mixed",
        mixed(AT=AT | {"data": [99]}),
        refused(500, "ONNX Runtime"),
    ),
    Case(
        "a body that is too large",
        "mixed",
        infer("mixed", b" " * (MAX_BODY + 1)),
        refused(413, "100000 bytes"),
        NO_LIMIT,
    ),
    Case(
        "a gzip body that is too large inside",
        "mixed",
        infer("mixed", gzip.compress(b" " * (MAX_BODY + 1)), Content_Encoding="gzip"),
        refused(413, "100000 bytes"),
        NO_LIMIT,
    ),
]
