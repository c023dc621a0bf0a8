"""How an answer says that it is a fallback's, and how a request says which model it is a fallback for.

`rest` and `grpc` write both. An answer has a header (in gRPC initial metadata) and `parameters.fallback`, so that a
client which sees only the body knows too. A model that is asked as a fallback answers by itself or not at all, so
two models that are fallbacks of each other make no loop.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

FALLBACK_FOR_HEADER = "headgate-fallback-for"
"""Of a request to a fallback: the model that could not answer."""

LEFT_HEADER = "x-envoy-expected-rq-timeout-ms"
"""Of a request from Envoy to the agent: the time-out in milliseconds."""

_ENVOYS = "x-envoy-"
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "expect", "host"),
    }
)
_ANSWERS_FORM = frozenset({"accept-encoding", "grpc-accept-encoding", "user-agent", "content-type"})


def passed_on(headers: Iterable[tuple[str, Any]], *kept: str) -> Iterator[tuple[str, Any]]:
    """What of a request's headers the next model gets: all that stable's pods would, but what is between two hops.

    Answers have to come uncompressed, as they are written on.
    """
    left_out = ({FALLBACK_FOR_HEADER} | _HOP_BY_HOP | _ANSWERS_FORM).difference(kept)
    lower = ((name.lower(), value) for name, value in headers)
    return ((name, value) for name, value in lower if name not in left_out and not name.startswith(_ENVOYS))


def marked_json(body: bytes, header_length: str | None, name: str) -> tuple[bytes, int | None]:
    """An answer over REST with `parameters.fallback`, and the new length of its JSON. ValueError if it is none."""
    length = len(body) if header_length is None else int(header_length)
    answer = orjson.loads(body[:length])
    if not isinstance(answer, dict) or not isinstance(answer.get("outputs"), list):
        raise ValueError("no outputs")  # noqa: TRY004 - caught with what JSON raises
    parameters = answer.get("parameters")
    answer["parameters"] = {**(parameters if isinstance(parameters, dict) else {}), "fallback": name}
    json = orjson.dumps(answer)
    return json + body[length:], None if header_length is None else len(json)


def marked_message(response: Any, name: str) -> Any:
    """The same for a ModelInferResponse."""
    response.parameters["fallback"].string_param = name
    return response
