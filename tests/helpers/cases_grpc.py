"""Inference over gRPC, good and wrong, one at a time and as a stream."""

from tritonclient.grpc import service_pb2 as pb

from cases_rest import ALL, SAID, Y
from conformance_reasons import (
    CLASSIFIES_GRPC,
    IGNORES_MORE,
    IGNORES_THE_SIGN,
    NO_LIMIT_GRPC,
    OWN_ORDER,
    TEXT_IS_BYTES_GRPC,
    VERSIONS_ARE_NUMBERS,
)
from conformance_requests import GRPC_INPUTS, call, message, mixed_call, raw
from conformance_servers import MAX_BODY
from conformance_table import VERSION, Call, Case, Unlike, Wording, called, refused

IN = ("IN", "FP32", [1, 2], [1, 2])
X, AT, TEXT = GRPC_INPUTS


def told(*outputs: object) -> dict[str, object]:
    return called({"model_name": "mixed", "model_version": VERSION, "outputs": list(outputs or ALL)})


def stream(*requests: object, **more: str) -> Call:
    return Call("ModelStreamInfer", list(requests), **more)


def with_parameter(target: str, name: str, **value: object) -> Call:
    """A good call whose request, first input or only output has a parameter."""
    request = message("mixed", GRPC_INPUTS, outputs=["Y"])
    place = {"request": request, "input": request.inputs[0], "output": request.outputs[0]}[target]
    place.parameters[name].CopyFrom(pb.InferParameter(**value))
    return Call("ModelInfer", request)


def both_contents() -> Call:
    request = message("single", [IN])
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    return Call("ModelInfer", request)


def wrong_field(field: str, values: list[object]) -> Call:
    request = message("single", [("IN", "FP32", [1, 2], [])], typed=True)
    getattr(request.inputs[0].contents, field).extend(values)
    return Call("ModelInfer", request)


def raw_parts(*parts: bytes) -> Call:
    request = message("mixed", GRPC_INPUTS)
    del request.raw_input_contents[:]
    request.raw_input_contents.extend(parts)
    return Call("ModelInfer", request)


GOOD = message("single", [IN], id="1")
UNKNOWN = message("single", [("Z", "FP32", [1, 2], [1, 2])], id="2")
SAID_PAIR = {
    "model_name": "single",
    "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
}
NO_ROWS = {"name": "OUT", "datatype": "FP32", "shape": [0, 2], "data": []}

INFER = [
    Case("all outputs, raw", "mixed", mixed_call(), told()),
    Case("typed contents", "mixed", mixed_call(typed=True), told()),
    Case("without a version", "mixed", mixed_call(model_version=""), told()),
    Case("no rows, raw", "single", call("single", [("IN", "FP32", [0, 2], [])]), called({"outputs": [NO_ROWS]})),
    Case("the id is echoed", "mixed", mixed_call(id="42"), called({"id": "42", "outputs": ALL})),
    Case("no id where none was given", "mixed", mixed_call(), called({"id": "nothing"})),
    Case("one output", "mixed", mixed_call(outputs=["SAID"]), told(SAID)),
    Case("outputs in another order", "mixed", mixed_call(outputs=["SAID", "Y"]), told(SAID, Y), OWN_ORDER),
    Case("an output twice", "mixed", mixed_call(outputs=["Y", "Y"]), told(Y)),
    Case("inputs in another order", "mixed", call("mixed", [TEXT, AT, X]), told()),
    Case("a timeout", "mixed", with_parameter("request", "timeout", int64_param=10_000_000), told(Y)),
    Case("parameters that nobody knows", "mixed", with_parameter("request", "unknown", string_param="x"), told(Y)),
    Case("parameters of an input", "mixed", with_parameter("input", "unknown", bool_param=True), told(Y)),
    Case("binary_data_output", "mixed", with_parameter("request", "binary_data_output", bool_param=True), told(Y)),
    *(
        Case(
            f"{encoding} messages",
            "mixed",
            Call("ModelInfer", message("mixed", GRPC_INPUTS), encoding),
            told(),
        )
        for encoding in ("gzip", "deflate")
    ),
]
STREAM = [
    Case("a stream of one", "single", stream(GOOD), called([SAID_PAIR | {"id": "1"}])),
    Case("a stream of three", "single", stream(GOOD, GOOD, GOOD), called([SAID_PAIR] * 3)),
    Case("a stream of none", "single", stream(), called([])),
    Case("a gzip stream", "single", stream(GOOD, GOOD, compression="gzip"), called([SAID_PAIR] * 2)),
    Case(
        "an error in a stream does not end it",
        "single",
        stream(UNKNOWN, GOOD),
        called([{"error": Wording("no input 'Z'"), "id": "2"}, SAID_PAIR]),
    ),
    Case(
        "an unknown model in a stream",
        "single",
        stream(message("other", [IN], id="3"), GOOD),
        called([{"error": Wording("no model 'other'"), "id": "3"}, SAID_PAIR]),
    ),
]
INVALID: dict[str, tuple[Call, str] | tuple[Call, str, Unlike]] = {
    "no inputs": (call("mixed", []), "'X' is missing"),
    "input is missing": (call("mixed", [X, AT]), "'TEXT' is missing"),
    "input is unknown": (call("single", [("Z", "FP32", [1, 2], [1, 2])]), "no input 'Z'; it has 'IN'"),
    "one input too many": (call("single", [IN, ("Z", "FP32", [1], [1])]), "no input 'Z'"),
    "input is there twice": (call("single", [IN, IN]), "'IN' is there twice"),
    "another datatype": (call("single", [("IN", "FP64", [1, 2], [1, 2])]), "expected datatype FP32, got 'FP64'"),
    "no datatype": (call("single", [("IN", "", [1, 2], raw("FP32", [1, 2]))]), "expected datatype FP32, got ''"),
    "another rank": (call("single", [("IN", "FP32", [2], [1, 2])]), "expected shape [-1, 2]"),
    "another width": (call("single", [("IN", "FP32", [2, 1], [1, 2])]), "got [2, 1]"),
    "no shape": (call("single", [("IN", "FP32", [], [1, 2])]), "got []"),
    "negative shape": (call("single", [("IN", "FP32", [-1, 2], [1, 2])]), "got [-1, 2]"),
    "a shape that overflows": (call("single", [("IN", "FP32", [1 << 62, 2], [1, 2])]), "takes"),
    "too few bytes": (call("single", [("IN", "FP32", [1, 2], [1])]), "takes 8 bytes, got 4"),
    "too many bytes": (call("single", [("IN", "FP32", [1, 2], [1, 2, 3])]), "takes 8 bytes, got 12"),
    "too few values": (call("single", [("IN", "FP32", [1, 2], [1])], typed=True), "needs 2 values, got 1"),
    "too many values": (call("single", [("IN", "FP32", [1, 2], [1, 2, 3])], typed=True), "needs 2 values, got 3"),
    "no contents": (call("single", [("IN", "FP32", [1, 2], [])], typed=True), "needs 2 values, got 0"),
    "contents of another type": (wrong_field("int_contents", [1, 2]), "FP32 is sent as fp32_contents"),
    "contents of two types": (both_contents(), "has both contents and raw_input_contents"),
    "raw contents for one of three": (raw_parts(raw("FP32", [1] * 8)), "3 inputs, but 1 raw_input_contents"),
    "raw contents for four of three": (
        raw_parts(raw("FP32", [1] * 8), raw("INT64", [1]), raw("BYTES", "ab"), b""),
        "3 inputs, but 4 raw_input_contents",
        IGNORES_MORE,
    ),
    "text that is cut off": (mixed_call(("TEXT", "BYTES", [2, 1], raw("BYTES", "ab")[:-1])), "cut off"),
    "text that is no UTF-8": (mixed_call(("TEXT", "BYTES", [2, 1], [b"\xff", b""])), "UTF-8", TEXT_IS_BYTES_GRPC),
    "output is unknown": (mixed_call(outputs=["Q"]), "no output 'Q'"),
    "classification": (with_parameter("output", "classification", int64_param=2), "not supported", CLASSIFIES_GRPC),
    "shared memory": (with_parameter("input", "shared_memory_region", string_param="r"), "not supported"),
    "a negative timeout": (with_parameter("request", "timeout", int64_param=-1), "'timeout'", IGNORES_THE_SIGN),
    "a timeout that is text": (with_parameter("request", "timeout", string_param="1s"), "'timeout'"),
}
WRONG = [
    *(
        Case(name, ask.request.model_name, ask, refused("INVALID_ARGUMENT", said), *unlike)
        for name, (ask, said, *unlike) in INVALID.items()
    ),
    Case("unknown model", "mixed", call("other", [IN]), refused("NOT_FOUND", "no model 'other'")),
    Case("no model", "mixed", call("", [IN]), refused("NOT_FOUND", "no model ''")),
    Case("unknown version", "mixed", mixed_call(model_version="8"), refused("NOT_FOUND", "no version '8'")),
    Case(
        "a version that is no number",
        "mixed",
        mixed_call(model_version="x"),
        refused("NOT_FOUND", "no version 'x'"),
        VERSIONS_ARE_NUMBERS,
    ),
    Case(
        "an index out of range inside of the model",
        "mixed",
        mixed_call(("AT", "INT64", [1], [99])),
        refused("INTERNAL", "ONNX Runtime"),
    ),
    Case(
        "a message that is too large",
        "single",
        call("single", [("IN", "FP32", [MAX_BODY // 4, 2], bytes(MAX_BODY * 2))]),
        refused("RESOURCE_EXHAUSTED", "bytes"),
        NO_LIMIT_GRPC,
    ),
]
CASES = [*INFER, *STREAM, *WRONG]
