"""Good requests for inference over REST: what may be asked in which form."""

import gzip
import zlib

from conformance_reasons import COMPRESSES_ALL, NO_DEFAULT, NO_EMPTY_ID, ONE_SHAPE_OF_TEXT, OWN_ORDER
from conformance_requests import AT, TEXT, X, announced, asked, binary, encoded, infer, mixed, post, raw, tensor
from conformance_table import Case, answered, output

Y = output("Y", [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 16.0], "FP32", [2, 4])
PICK = output("PICK", [5.0, 6.0, 7.5, 8.0], "FP32", [1, 4])
SAID = output("SAID", ["a", "ü"], "BYTES", [2, 1])
ALL = [Y, PICK, SAID]
BINARY = {"parameters": {"binary_data": True}}
FLAT = [1, 2, 3, 4, 5, 6, 7.5, 8]
JSON_BODY = encoded(asked())
X_BYTES, AT_BYTES, TEXT_BYTES = raw("FP32", FLAT), raw("INT64", [1]), raw("BYTES", ["a", "ü"])
IN_BYTES = {
    "inputs": [
        announced("X", "FP32", [2, 4], len(X_BYTES)),
        announced("AT", "INT64", [1], len(AT_BYTES)),
        announced("TEXT", "BYTES", [2, 1], len(TEXT_BYTES)),
    ]
}
PARTS = (X_BYTES, AT_BYTES, TEXT_BYTES)
LONG = {"inputs": [tensor("IN", "FP32", [400, 2], [1.5] * 800)]}
PAIR = {"inputs": [tensor("IN", "FP32", [1, 2], [1, 2])]}
RAW_PAIR = raw("FP32", [1, 2, 3, 4])
SAID_PAIR = [output("OUT", [1.0, 2.0], "FP32", [1, 2])]


def everything(*outputs: object) -> dict[str, object]:
    return answered({"model_name": "mixed", "model_version": "7", "outputs": list(outputs or ALL)})


CASES = [
    Case("all outputs", "mixed", mixed(), everything()),
    Case("no id where none was given", "mixed", mixed(), answered({"id": "nothing"})),
    Case("the id is echoed", "mixed", mixed(id="42"), answered({"id": "42", "outputs": ALL})),
    Case("an empty id", "mixed", mixed(id=""), answered({"id": ""}), NO_EMPTY_ID),
    Case("an id that is no ASCII", "mixed", mixed(id='ü"\\'), answered({"id": 'ü"\\'})),
    Case("a version", "mixed", post("/v2/models/mixed/versions/7/infer", asked()), everything()),
    Case("flat data", "mixed", mixed(X=X | {"data": FLAT}), everything()),
    Case("members that nobody knows", "mixed", mixed(nonsense={"a": [1]}, parameters={"unknown": 1}), everything()),
    Case("parameters of an input", "mixed", mixed(X=X | {"parameters": {"unknown": "x"}}), everything()),
    Case("parameters that are empty", "mixed", mixed(parameters={}), everything()),
    Case("inputs in another order", "mixed", infer("mixed", {"inputs": [TEXT, AT, X]}), everything()),
    Case("a timeout", "mixed", mixed(parameters={"timeout": 10_000_000}), everything()),
    Case("a timeout of 0 is none", "mixed", mixed(parameters={"timeout": 0}), everything()),
    Case("one output", "mixed", mixed(outputs=[{"name": "SAID"}]), everything(SAID)),
    Case(
        "outputs in another order",
        "mixed",
        mixed(outputs=[{"name": "SAID"}, {"name": "Y"}]),
        everything(SAID, Y),
        OWN_ORDER,
    ),
    Case("no outputs are all", "mixed", mixed(outputs=[]), everything()),
    Case("an output twice", "mixed", mixed(outputs=[{"name": "Y"}, {"name": "Y"}]), everything(Y)),
    Case("bytes for all inputs", "mixed", binary("mixed", IN_BYTES, *PARTS), everything()),
    Case(
        "bytes for one input, JSON for the others",
        "mixed",
        binary("mixed", asked(X=announced("X", "FP32", [2, 4], len(X_BYTES))), X_BYTES),
        everything(),
    ),
    Case(
        "one output as bytes",
        "mixed",
        mixed(outputs=[{"name": "Y", **BINARY}, {"name": "SAID"}]),
        everything(Y | {"parameters": {"binary_data_size": 32}}, SAID | {"parameters": "nothing"}),
    ),
    Case(
        "text as bytes",
        "mixed",
        mixed(outputs=[{"name": "SAID", **BINARY}]),
        everything(SAID | {"parameters": {"binary_data_size": 11}}),
    ),
    Case(
        "all outputs as bytes",
        "mixed",
        mixed(parameters={"binary_data_output": True}),
        everything(*(one | {"parameters": {}} for one in ALL)),
    ),
    Case(
        "all as bytes but one",
        "mixed",
        mixed(
            parameters={"binary_data_output": True},
            outputs=[{"name": "Y", "parameters": {"binary_data": False}}, {"name": "PICK"}],
        ),
        everything(Y | {"parameters": "nothing"}, PICK | {"parameters": {"binary_data_size": 16}}),
        NO_DEFAULT,
    ),
    Case("JSON says what it is", "mixed", mixed(), answered(headers={"content-type": "application/json"})),
    Case(
        "bytes say what they are",
        "mixed",
        mixed(outputs=[{"name": "Y", **BINARY}]),
        answered(headers={"content-type": "application/octet-stream"}),
    ),
    Case(
        "a header length without bytes",
        "mixed",
        infer("mixed", asked(), Inference_Header_Content_Length=str(len(JSON_BODY))),
        everything(),
    ),
    Case("a gzip request", "mixed", infer("mixed", gzip.compress(JSON_BODY), Content_Encoding="gzip"), everything()),
    Case(
        "a deflate request", "mixed", infer("mixed", zlib.compress(JSON_BODY), Content_Encoding="deflate"), everything()
    ),
    Case("an identity request", "mixed", infer("mixed", asked(), Content_Encoding="identity"), everything()),
    Case(
        "a gzip request with bytes",
        "mixed",
        infer(
            "mixed",
            gzip.compress(encoded(IN_BYTES) + b"".join(PARTS)),
            Content_Encoding="gzip",
            Inference_Header_Content_Length=str(len(encoded(IN_BYTES))),
        ),
        everything(),
    ),
    *(
        Case(
            f"a {encoding} answer",
            "single",
            infer("single", LONG, Accept_Encoding=encoding),
            answered({"outputs": [output("OUT", [1.5] * 800)]}, headers={"content-encoding": encoding}),
        )
        for encoding in ("gzip", "deflate")
    ),
    Case(
        "an answer in an encoding that nobody knows",
        "single",
        infer("single", LONG, Accept_Encoding="br"),
        answered({"outputs": [output("OUT", [1.5] * 800)]}, headers={"content-encoding": "nothing"}),
    ),
    Case(
        "a gzip answer with bytes",
        "single",
        infer("single", LONG | {"parameters": {"binary_data_output": True}}, Accept_Encoding="gzip"),
        answered({"outputs": [output("OUT", [1.5] * 800)]}, headers={"content-encoding": "gzip"}),
    ),
    Case(
        "a small answer is not worth it",
        "single",
        infer("single", PAIR, Accept_Encoding="gzip"),
        answered({"outputs": SAID_PAIR}, headers={"content-encoding": "nothing"}),
        COMPRESSES_ALL,
    ),
    Case("one input, one output", "single", infer("single", PAIR), answered({"outputs": SAID_PAIR})),
    Case(
        "a raw body",
        "single",
        infer("single", RAW_PAIR[:8], Inference_Header_Content_Length="0"),
        answered({"outputs": [output("OUT", [1.0, 2.0], "FP32", [1, 2])]}),
    ),
    Case(
        "an empty raw body",
        "single",
        infer("single", b"", Inference_Header_Content_Length="0"),
        answered({"outputs": [{"shape": [0, 2], "parameters": {"binary_data_size": 0}}]}),
    ),
    Case(
        "no rows",
        "single",
        infer("single", {"inputs": [tensor("IN", "FP32", [0, 2], [])]}),
        answered({"outputs": [output("OUT", [], "FP32", [0, 2])]}),
    ),
    Case(
        "a raw body of two rows",
        "single",
        infer("single", RAW_PAIR, Inference_Header_Content_Length="0"),
        answered({"outputs": [output("OUT", [1.0, 2.0, 3.0, 4.0], "FP32", [2, 2])]}),
    ),
    Case(
        "a raw body is answered in bytes",
        "single",
        infer("single", RAW_PAIR[:8], Inference_Header_Content_Length="0"),
        answered({"outputs": [{"parameters": {"binary_data_size": 8}}]}),
    ),
    Case(
        "a raw body of text is one element",
        "words",
        infer("words", "größer".encode(), Inference_Header_Content_Length="0"),
        answered({"outputs": [output("SAID", ["größer"], "BYTES", [1])]}),
        ONE_SHAPE_OF_TEXT,
    ),
    Case(
        "JSON with blanks",
        "single",
        infer("single", b" \n" + encoded(PAIR) + b"\n "),
        answered({"outputs": SAID_PAIR}),
    ),
    Case(
        "another content type",
        "single",
        infer("single", PAIR, Content_Type="text/plain"),
        answered({"outputs": SAID_PAIR}),
    ),
]
