"""What Triton answers instead, and why ours does not, where that holds for several entries of the table."""

from conformance_table import Unlike, Wording

_SOME_ERROR = {"error": Wording("")}


def _error(status: int | str) -> dict[str, object]:
    return {"status": status, "body": _SOME_ERROR}


BLAMES_ITSELF = Unlike(
    _error(500),
    "Triton answers what it cannot parse as a failure of its own. Here whatever a client sent wrong is a 4xx, for a "
    "version of a model is judged by its 5xx.",
)
OVERFLOWS = Unlike(
    {"status": 200},
    "Triton lets a number that does not fit overflow and goes on with another one, or with infinity.",
)
NESTING_IS_IGNORED = Unlike(
    {"status": 200},
    "Triton takes the values in their order, however they are nested. Data that is nested otherwise than its shape is "
    "most often transposed.",
)
HALF_NOT_IN_JSON = Unlike(_error(400), "Triton takes FP16 and BF16 as bytes only.")
BACKEND_WITHOUT_BF16 = Unlike(
    _error(500), "The Python backend of the wheel, which runs ONNX Runtime there, cannot give BF16 to numpy."
)
BACKEND_WITHOUT_BF16_GRPC = Unlike(_error("INTERNAL"), BACKEND_WITHOUT_BF16.because)
NULL_IS_NO_VALUE = Unlike(
    _error(500), "Here null stands for a missing value: NaN, or the empty text. Rows from tables are full of them."
)
TEXT_IS_BYTES = Unlike(
    _error(500), "ONNX's strings are UTF-8; for Triton BYTES are any bytes, so that it is the backend that fails."
)
TEXT_IS_BYTES_GRPC = Unlike(_error("INTERNAL"), TEXT_IS_BYTES.because)
CLASSIFIES = Unlike({"status": 200}, "Triton has the classification extension. Here it is refused and not announced.")
CLASSIFIES_GRPC = Unlike({"status": "OK"}, CLASSIFIES.because)
NO_LIMIT = Unlike(
    _error(500),
    "This release of Triton has no limit and parses all of it. Here `--max-body` bounds a body, also one that was "
    "compressed.",
)
NO_LIMIT_GRPC = Unlike({"status": "OK"}, NO_LIMIT.because)
NO_END_NEEDED = Unlike(
    {"status": 200}, "Triton takes a compressed body whose end, with the checksum, is missing. It may be damaged."
)
NOT_IMPLEMENTED = Unlike(_error(501), "415 is HTTP's status for a content encoding that is not understood.")
LOOKS_FOR_THE_MEMORY = Unlike(_error(404), "Triton has shared memory, but no such region. Here it is refused as such.")
NO_EMPTY_ID = Unlike({"status": 200, "body": {"id": "nothing"}}, "An id is echoed, also an empty one.")
NO_DEFAULT = Unlike(
    {"status": 200, "body": {"outputs": [{"name": "Y"}, {"name": "PICK", "parameters": "nothing"}]}},
    "For Triton `binary_data_output` holds only where no outputs are named; here for all that do not say otherwise.",
)
COMPRESSES_ALL = Unlike(
    {"status": 200, "headers": {"content-encoding": "gzip"}},
    "Triton compresses every answer. Here one that fits into a packet is not: it would take longer.",
)
ONE_SHAPE_OF_TEXT = Unlike(
    _error(400), "Triton takes a raw body of text only where the model's shape is [1], not where it can be that."
)
STATUS_ALONE = Unlike({"status": 200, "body": b""}, "Triton's status alone says it. The protocol has a body.")
NO_HEAD = Unlike({"status": 405}, "HEAD is taken wherever GET is; some load balancers probe with it.")
NOT_READY_YET = Unlike(_error(400), "For Triton an unknown model is not ready; 404 says what is wrong.")
IS_400 = Unlike(_error(400), "404, as for every other question about an unknown model.")
IS_INVALID = Unlike(_error("INVALID_ARGUMENT"), "NOT_FOUND, as for every other question about an unknown model.")
VERSIONS_ARE_NUMBERS = Unlike(_error("INVALID_ARGUMENT"), "Triton's versions are numbers; here they are any text.")
NOT_ITS_NAME = Unlike({"body": {"name": "triton"}}, "Each says its own name, and announces the extensions that it has.")
NOT_FOUND = Unlike(_error(404), "A slash at the end, and escapes in a path, mean what they mean everywhere.")
NOTHING_MONITORED = Unlike(
    {"status": 200, "body": {"headgate": "nothing"}},
    "The metadata says more: digest, device, batching, monitoring. Clients pass over members that they do not know.",
)
NO_ALLOW = Unlike({"status": 405, "headers": {"allow": "nothing"}}, "RFC 9110 wants a 405 to say what is allowed.")
LOADS = Unlike(
    _error(503), "Triton has the call, but refuses it in this mode. Here a process has one model as long as it lives."
)
LOADS_GRPC = Unlike(_error("UNAVAILABLE"), LOADS.because)
HAS_EXTENSION = Unlike({"status": 200}, "An extension that is not announced here: shared memory, tracing, logging.")
HAS_EXTENSION_GRPC = Unlike({"status": "OK"}, HAS_EXTENSION.because)
IGNORES_MORE = Unlike({"status": "OK"}, "Triton passes over contents that belong to no input.")
IGNORES_THE_SIGN = Unlike({"status": "OK"}, "A negative time is a mistake; over REST it is one for Triton too.")
OWN_ORDER = Unlike(
    {"body": {"outputs": [{"name": "Y"}, {"name": "SAID"}]}},
    "Outputs come in the order in which they are asked for; with Triton, in the model's.",
)
TELLS_THE_DOUBLE = Unlike(
    {"status": 200, "body": {"outputs": [{"data": [0.10000000149011612, 16777216.0]}]}},
    "Triton writes a float as the double that it is. Here it is the shortest text that gives the same FP32 again.",
)
