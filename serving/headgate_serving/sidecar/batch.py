"""How exchanges go from a router's agent to the monitor in a pod: one body of HTTP for several of them.

A line of JSON that says of each exchange its protocol, the headers that it takes to understand it, and the sizes of its
two bodies; then the bodies, one behind the other.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from headgate_serving.codec.http_message import Message

PATH = "/samples"
MOST_BYTES = 4 << 20
"""Of a batch; one that is larger is refused."""

_HEADERS = ("content-encoding", "grpc-encoding", "inference-header-content-length")


class Sample(NamedTuple):
    """A request that was answered well, and its answer."""

    request: Message
    answer: Message
    is_grpc: bool


def packed(samples: Iterable[Sample]) -> bytes:
    """The body that holds them."""
    samples = list(samples)
    head = [
        {
            "grpc": sample.is_grpc,
            "request": _described(sample.request),
            "answer": _described(sample.answer),
        }
        for sample in samples
    ]
    bodies = (piece for sample in samples for half in (sample.request, sample.answer) for piece in half.pieces)
    return b"".join([orjson.dumps(head), b"\n", *bodies])


def unpacked(body: bytes) -> list[Sample]:
    """What is in it; ValueError where it can't be read."""
    head, newline, _ = body.partition(b"\n")
    if not newline:
        raise ValueError("no line of JSON at its beginning")
    try:
        samples, end = list[Sample](), len(head) + 1
        for each in orjson.loads(head):
            halves = dict[str, Message]()
            for half in ("request", "answer"):
                begin, end = end, end + max(0, each[half]["size"])
                headers = {str(name): str(value) for name, value in each[half]["headers"].items()}
                halves[half] = Message(headers, [body[begin:end]], end - begin)
            samples.append(Sample(halves["request"], halves["answer"], bool(each["grpc"])))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not the description of a batch: {error!r}") from error
    if end != len(body):
        raise ValueError(f"{len(body)} bytes, and {end} are described")
    return samples


def in_batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """As many together as a batch may hold."""
    batch, size = list[Sample](), 0
    for sample in samples:
        more = sample.request.size + sample.answer.size
        if batch and size + more > MOST_BYTES // 2:
            yield batch
            batch, size = [], 0
        batch.append(sample)
        size += more
    if batch:
        yield batch


def _described(half: Message) -> dict[str, object]:
    headers = {name: value for name in _HEADERS if (value := half.header(name))}
    return {"headers": headers, "size": half.size}
