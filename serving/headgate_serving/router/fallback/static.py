"""The answer that asks nobody, in each form of the protocol. Its values are encoded once, when the policy is read.

`rest` and `grpc` call it at the chain's end. It fits any request: of outputs that it doesn't have it says nothing, and
of a request that wants nothing else it ignores the wish, for there has to be an answer.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from headgate.api.policy import StaticAnswer, StaticOutput, Value
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.router.fallback.requests import StaticRequest

MOST_BYTES = 16 << 20
"""What a static answer may be in all: it is made for rows that the client counts."""

_LETTERS = {
    **dict(zip(("BOOL", "INT8", "INT16", "INT32", "INT64"), "?bhiq", strict=True)),
    **dict(zip(("UINT8", "UINT16", "UINT32", "UINT64"), "BHIQ", strict=True)),
    **dict(zip(("FP16", "FP32", "FP64"), "efd", strict=True)),
}
_Response = MESSAGES["inference.ModelInferResponse"]


class TooLarge(Exception):
    """The static answer would be larger than MOST_BYTES."""


@dataclass(frozen=True)
class _Encoded:
    """An output, and its values: all of them, or those of one row."""

    output: StaticOutput
    json: bytes
    """Without the brackets around."""
    raw: bytes

    def shape(self, rows: int) -> list[int]:
        return [rows, *self.output.shape[1:]] if self.output.for_each_row else list(self.output.shape)

    def repeats(self, rows: int) -> int:
        return rows if self.output.for_each_row else 1


class StaticResponder:
    """One static answer, ready to be given."""

    def __init__(self, static: StaticAnswer) -> None:
        self.name = static.name
        self._outputs = [_encoded(output) for output in static.outputs]

    def rest(self, asked: StaticRequest) -> tuple[bytes, int | None]:
        """The body, and the length of its JSON where binary tensors follow it. TooLarge."""
        outputs, binary = list[bytes](), list[bytes]()
        for encoded in self._chosen(asked):
            output, repeats = encoded.output, encoded.repeats(asked.rows)
            described: dict[str, Any] = {
                "name": output.name,
                "datatype": output.datatype,
                "shape": encoded.shape(asked.rows),
            }
            if output.name in asked.binary if asked.outputs else asked.all_binary:
                binary.append(encoded.raw * repeats)
                described["parameters"] = {"binary_data_size": len(binary[-1])}
                outputs.append(orjson.dumps(described))
            else:
                values = b",".join([encoded.json] * repeats)
                outputs.append(orjson.dumps(described)[:-1] + b',"data":[' + values + b"]}")
        head: dict[str, Any] = {"model_name": asked.model, "parameters": {"fallback": self.name}}
        if asked.id:
            head["id"] = asked.id
        json = orjson.dumps(head)[:-1] + b',"outputs":[' + b",".join(outputs) + b"]}"
        return b"".join([json, *binary]), len(json) if binary else None

    def message(self, asked: StaticRequest) -> Any:
        """The ModelInferResponse, with raw contents as the runtime's. TooLarge."""
        response = _Response(model_name=asked.model, id=asked.id)
        response.parameters["fallback"].string_param = self.name
        for encoded in self._chosen(asked):
            output = encoded.output
            response.outputs.add(name=output.name, datatype=output.datatype, shape=encoded.shape(asked.rows))
            response.raw_output_contents.append(encoded.raw * encoded.repeats(asked.rows))
        return response

    def _chosen(self, asked: StaticRequest) -> Sequence[_Encoded]:
        by_name = {encoded.output.name: encoded for encoded in self._outputs}
        chosen = [by_name[name] for name in asked.outputs if name in by_name] or self._outputs
        sizes = (max(len(each.json) + 1, len(each.raw)) * each.repeats(asked.rows) for each in chosen)
        if sum(sizes) > MOST_BYTES:
            raise TooLarge(f"a static answer for {asked.rows} rows has more than {MOST_BYTES >> 20} MiB")
        return chosen


def _encoded(output: StaticOutput) -> _Encoded:
    values: Sequence[Value | bool] = output.values
    if output.datatype == "BOOL":
        values = [value == 1 for value in output.values]
    return _Encoded(output, orjson.dumps(list(values))[1:-1], _raw(output.datatype, values))


def _raw(datatype: str, values: Sequence[Value | bool]) -> bytes:
    """Little-endian, row-major; text as length and bytes."""
    if datatype == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    if datatype == "BF16":
        wide = struct.unpack(f"<{len(values)}I", struct.pack(f"<{len(values)}f", *values))
        # The upper half of a float32, rounded to the nearest, ties to even.
        return b"".join(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).to_bytes(2, "little") for bits in wide)
    return struct.pack(f"<{len(values)}{_LETTERS[datatype]}", *values)
