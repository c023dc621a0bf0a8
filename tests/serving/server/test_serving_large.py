"""Large requests and answers in pieces: the same as at once, in little memory, and others pass in between."""

import asyncio
import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import serving_models as models
from headgate_serving import turns as turns_module
from headgate_serving.codec import large
from headgate_serving.codec import rest_codec as protocol
from headgate_serving.codec.accounting import MOST_TEXT, MOST_TEXTS, Texts
from headgate_serving.codec.compression import compressing, decompressing
from headgate_serving.codec.rest_codec import InferRequest, decode, decode_in_pieces, encode, encode_in_pieces
from headgate_serving.errors import BodyTooLarge, MalformedRequest, Overloaded
from headgate_serving.runtime.model import Model, load_model
from headgate_serving.turns import Turns, at_once
from patience import until

TYPES = {"FP32": TensorProto.FLOAT, "INT8": TensorProto.INT8, "BYTES": TensorProto.STRING, "BOOL": TensorProto.BOOL}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("echo")
    return {name: load_model(models.identity(folder / f"{name}.onnx", kind)) for name, kind in TYPES.items()}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_PIECE", 16)
    monkeypatch.setattr(large, "_LONG", 12)  # longer than a shape


def room(_size: int) -> bool:
    return True


def noting(sizes: list[int], there_is: bool) -> Callable[[int], bool]:
    """Room for everything or for nothing; it notes how much is asked for."""

    def room_for(size: int) -> bool:
        sizes.append(size)
        return there_is

    return room_for


def outcome(read: Any) -> str | list[Any]:
    """What came of it: the tensor, or that it is malformed."""
    try:
        request: InferRequest = read()
    except MalformedRequest:
        return "malformed"
    tensor = request.inputs["IN"]
    return [request.id, tensor.shape, str(tensor.dtype), repr(tensor.tolist())]


def both(text: bytes, model: Model) -> list[str | list[Any]]:
    return [
        outcome(lambda: at_once(decode_in_pieces(text, None, model, room))),
        outcome(lambda: decode(text, None, model)),
    ]


VALUES = {
    "FP32": st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.none()),
    "INT8": st.integers(-128, 127),
    "BYTES": st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from('\\",[]{}')),
    "BOOL": st.booleans(),
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    datatype = draw(st.sampled_from(list(VALUES)))
    rows = draw(st.integers(1, 12))
    flat = draw(st.lists(VALUES[datatype], min_size=2 * rows, max_size=2 * rows))
    data: list[Any] = flat
    if draw(st.booleans()):
        data = [flat[at : at + 2] for at in range(0, len(flat), 2)]
    item = {"name": "IN", "datatype": datatype, "shape": [rows, 2], "data": data, "parameters": {}}
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
    text = json.dumps({"id": "a[\\", "inputs": [item]}, separators=separators, ensure_ascii=draw(st.booleans()))
    return datatype, text.encode()


QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("data", ["1,2,3,4,5,6,7,8,]", f"1,2,3,4,5,6,7,,{28 * ' '}8]", ",1,2,3,4,5,6,7,8]"])
@pytest.mark.usefixtures("small_pieces")
def test_a_comma_without_a_value_is_refused_wherever_the_text_is_cut(echo: dict[str, Model], data: str) -> None:
    for blanks in range(40):
        text = f'{{"inputs":[{{"name":"IN","datatype":"FP32","shape":[4,2],"data":[{" " * blanks}{data}}}]}}'
        assert both(text.encode(), echo["FP32"]) == ["malformed", "malformed"]


@QUICK
@given(bodies())
def test_in_pieces_it_is_the_same(echo: dict[str, Model], small_pieces: None, body: tuple[str, bytes]) -> None:
    in_pieces, whole = both(body[1], echo[body[0]])
    assert in_pieces == whole
    assert whole != "malformed"


@QUICK
@given(bodies(), st.data())
def test_what_is_wrong_is_wrong_in_pieces_too(
    echo: dict[str, Model], small_pieces: None, body: tuple[str, bytes], data: st.DataObject
) -> None:
    datatype, text = body
    at = data.draw(st.integers(0, len(text) - 1))
    to = data.draw(st.integers(at, min(len(text), at + 3)))
    text = (
        text[:at]
        + data.draw(st.sampled_from([b"", b",", b"[", b"]", b"[]", b'"', b"\\", b"1", b" ", b"{}"]))
        + text[to:]
    )
    in_pieces, whole = both(text, echo[datatype])
    assert in_pieces == whole


NESTED = {
    "too deep": "[[[1],[2]],[[3],[4]]]",
    "not deep enough": "[[1,2],3,4]",
    "brackets after the value": "[1[],2,[3,4]]",
    "another length": "[[1,2,3],[4]]",
    "an empty one": "[[1,2],[],[3,4]]",
    "too many": "[[1,2],[3,4],[5,6]]",
    "too few": "[[1,2]]",
    "an object": '[[1,2],[{"a":[1,2]},4]]',
    "closed twice": "[[1,2]],[3,4]]",
}


@pytest.mark.parametrize("name", NESTED)
def test_lists_that_are_not_the_shape(echo: dict[str, Model], small_pieces: None, name: str) -> None:
    text = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[2,2],"data":%b}]}' % NESTED[name].encode()
    assert both(text, echo["FP32"]) == ["malformed", "malformed"]


def test_lists_without_values(echo: dict[str, Model], small_pieces: None, tmp_path: Path) -> None:
    model = load_model(models.one_of(tmp_path / "free.onnx", TensorProto.FLOAT, ["n", "m"]))
    text = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[4,0],"data":[[],[],[],[]]}]}'
    in_pieces, whole = both(text, model)
    assert in_pieces == whole
    assert whole != "malformed"


def large_body(values: int = 1 << 20) -> bytes:
    item = {"name": "IN", "datatype": "FP32", "shape": [values // 2, 2], "data": [1.5, -2.25] * (values // 2)}
    return orjson.dumps({"inputs": [item]})


def test_what_is_read_in_pieces_takes_little_memory(echo: dict[str, Model]) -> None:
    body = large_body()
    tracemalloc.start()
    try:
        request = at_once(decode_in_pieces(body, None, echo["FP32"], room))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tensor = request.inputs["IN"]
    assert tensor.tolist()[-1] == [1.5, -2.25]
    assert peak < tensor.nbytes + (8 << 20)  # at once it is 14 times the tensor


def test_tensors_count_before_there_are_any(echo: dict[str, Model]) -> None:
    asked: list[int] = []
    with pytest.raises(Overloaded):
        at_once(decode_in_pieces(large_body(), None, echo["FP32"], noting(asked, False)))
    assert asked == [4 << 20]


def test_a_shape_that_promises_more_than_came_takes_no_memory(echo: dict[str, Model]) -> None:
    body = large_body().replace(b'"shape":[524288,2]', b'"shape":[1000000000,2]')
    with pytest.raises(MalformedRequest, match="needs 2000000000 values"):
        at_once(decode_in_pieces(body, None, echo["FP32"], room))


def test_a_client_cannot_say_which_values_an_input_gets(tmp_path: Path) -> None:
    """Text as the placeholder of a long array was, and may be: two inputs would share it, and one show old memory."""
    inputs = [(name, TensorProto.FLOAT, ["n"]) for name in "ab"]
    add = helper.make_node("Add", ["a", "b"], ["OUT"])
    model = load_model(models.save(tmp_path / "two.onnx", [add], inputs, [("OUT", TensorProto.FLOAT, ["n"])]))
    first = b'{"name":"a","datatype":"FP32","shape":[1000],"data":[%b]}' % b",".join([b"1.5"] * 1000)
    for text in (rb'"\u00000"', b'"0"', b'"%b0"' % (b"0" * 32)):
        second = b'{"name":"b","datatype":"FP32","shape":[1000],"data":%b}' % text
        with pytest.raises(MalformedRequest, match="input 'b': 'data' has to be a list"):
            at_once(decode_in_pieces(b'{"inputs":[%b,%b]}' % (first, second), None, model, room))


def test_the_values_of_one_input_are_no_other_input_s(echo: dict[str, Model]) -> None:
    array = large.LongArray(memoryview(b"[1,2]"), room, Texts())
    spec = echo["FP32"].inputs[0]
    array.tensor(spec, (2,))
    with pytest.raises(MalformedRequest, match="have the same 'data'"):
        array.tensor(spec, (2,))


@pytest.mark.parametrize("beside", [b'"parameters":{"a":[%b]}', b'"outputs":[{"name":%b}]'])
def test_other_json_is_not_read_at_length(echo: dict[str, Model], beside: bytes) -> None:
    body = b"{%b}" % (beside % b",".join([b"[]"] * (1 << 20)))
    with pytest.raises(BodyTooLarge):
        at_once(decode_in_pieces(body, None, echo["FP32"], room))


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_a_large_answer_is_the_same_in_pieces(
    echo: dict[str, Model], datatype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LARGE", 8)
    monkeypatch.setattr(protocol, "_VALUES", 3)
    values = np.arange(10, dtype=np.float32) if datatype == "FP32" else np.array([*'a"\\,[]xyz', "ä"], object)
    results = {"OUT": values.reshape(5, 2)}
    model = echo[datatype]
    request = InferRequest("7", {}, ("OUT",), frozenset(), 5)
    told = ("m", "1", request, results, model.output_by_name)
    assert at_once(encode_in_pieces(*told)) == encode(*told)


def pauses(work: Generator[None, None, Any]) -> int:
    """How often others have their turn until it is done."""
    return sum(1 for _ in work)


def binary(datatype: str, rows: int, raw: bytes) -> tuple[bytes, bytes]:
    """A body of two columns with a binary tensor, and the length of its JSON."""
    parameters = {"binary_data_size": len(raw)}
    header = orjson.dumps(
        {"inputs": [{"name": "IN", "datatype": datatype, "shape": [rows, 2], "parameters": parameters}]}
    )
    return header + raw, b"%d" % len(header)


RAW = {
    "BYTES": b"\4\0\0\0text\0\0\0\0" * 50_000,
    "long BYTES": ((200_000).to_bytes(4, "little") + b"x" * 200_000) * 10,
    "BOOL": b"\1\0" * 500_000,
    "BF16": b"\x80\x3f\0\0" * 250_000,
}


@pytest.mark.parametrize("name", RAW)
def test_binary_tensors_that_are_no_views_are_read_in_pieces(tmp_path: Path, name: str) -> None:
    datatype, raw = name.removeprefix("long "), RAW[name]
    kind = {**TYPES, "BF16": TensorProto.BFLOAT16}[datatype]
    model = load_model(
        models.save(
            tmp_path / "m.onnx",
            [helper.make_node("Identity", ["IN"], ["OUT"])],
            [("IN", kind, ["n", 2])],
            [("OUT", kind, ["n", 2])],
        )
    )
    values = {"BYTES": 100_000, "long BYTES": 10, "BOOL": 1_000_000, "BF16": 500_000}[name]
    body, length = binary(datatype, values // 2, raw)
    held: list[int] = []
    in_pieces = at_once(decode_in_pieces(body, length, model, noting(held, True)))
    assert in_pieces.inputs["IN"].tolist() == decode(body, length, model).inputs["IN"].tolist()
    assert pauses(decode_in_pieces(body, length, model, room)) >= 8
    tensor = in_pieces.inputs["IN"]
    texts = sum(map(sys.getsizeof, tensor.reshape(-1))) if tensor.dtype == object else 0
    assert sum(held) == tensor.nbytes + 5 * texts


@pytest.mark.parametrize(("rows", "raw"), [(1, b"\4\0\0\0text" * 3), (2, b"\4\0\0\0text" * 3), (9, b"abc"), (1, b"\0")])
def test_binary_text_that_is_wrong_is_wrong_in_pieces_too(echo: dict[str, Model], rows: int, raw: bytes) -> None:
    body, length = binary("BYTES", rows, raw)
    for read in (
        lambda: decode(body, length, echo["BYTES"]),
        lambda: pauses(decode_in_pieces(body, length, echo["BYTES"], room)),
    ):
        with pytest.raises(MalformedRequest):
            read()


WITHOUT_COMMA = {
    "brackets": b"[" * (1 << 20) + b"]" * (1 << 20),
    "pairs of them": b"[" + b"[]" * (1 << 20) + b"]",
    "blanks": b"[1" + b" " * (2 << 20) + b"]",
    "digits": b"[" + b"1" * (2 << 20) + b"]",
    "brackets beside text": b"[" + b'""[[[[]]]]' * (200 << 10) + b"]",
}


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
@pytest.mark.parametrize("name", WITHOUT_COMMA)
def test_much_without_a_comma_is_not_read_at_length(echo: dict[str, Model], name: str, datatype: str) -> None:
    data = WITHOUT_COMMA[name]
    body = b'{"inputs":[{"name":"IN","datatype":"%b","shape":[1,2],"data":%b}]}' % (datatype.encode(), data)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest, match=r"without a comma|the shape is"):
            at_once(decode_in_pieces(body, None, echo[datatype], room))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 << 20


@pytest.mark.parametrize("letter", ["x", "ä", "\\n", "\U0001f600", ",[]{}", '\\"', "\\\\"])
def test_a_long_text_is_read_while_others_have_their_turn(echo: dict[str, Model], letter: str) -> None:
    text = letter * (2 << 20)
    body = b'{"inputs":[{"name":"IN","datatype":"BYTES","shape":[1,2],"data":["%b","b"]}]}' % text.encode()
    held: list[int] = []
    tensor = at_once(decode_in_pieces(body, None, echo["BYTES"], noting(held, True))).inputs["IN"]
    assert tensor.tolist() == decode(body, None, echo["BYTES"]).inputs["IN"].tolist()
    assert pauses(decode_in_pieces(body, None, echo["BYTES"], room)) >= 2 * len(text.encode()) // (64 << 10)
    assert sum(held) == tensor.nbytes + 5 * sum(map(sys.getsizeof, tensor[0])), "it is there five times"
    assert max(held) >= sys.getsizeof(tensor[0, 0]), "counted before it was there"


@pytest.mark.parametrize("how", ["JSON", "binary"])
@pytest.mark.parametrize(("count", "size"), [(MOST_TEXTS + 2, 1), (10, MOST_TEXT // 9), (2, MOST_TEXT + 100)])
def test_there_is_a_most_of_text(echo: dict[str, Model], how: str, count: int, size: int) -> None:
    """ONNX Runtime makes text of its own of it at once, in which nobody else has a turn."""
    if how == "binary":
        body, length = binary("BYTES", count // 2, (size.to_bytes(4, "little") + b"x" * size) * count)
    else:
        data = b",".join([b'"%b"' % (b"x" * size)] * count)
        body = b'{"inputs":[{"name":"IN","datatype":"BYTES","shape":[%d,2],"data":[%b]}]}' % (count // 2, data)
    with pytest.raises(BodyTooLarge):
        at_once(decode_in_pieces(body, length if how == "binary" else None, echo["BYTES"], room))


def test_much_text_is_written_in_pieces(echo: dict[str, Model]) -> None:
    values = np.array(["text", ""] * 40_000, object).reshape(-1, 2)
    for outputs in (frozenset(), frozenset({"OUT"})):
        told = ("m", "1", InferRequest("7", {}, ("OUT",), outputs, 5), {"OUT": values}, echo["BYTES"].output_by_name)
        assert at_once(encode_in_pieces(*told)) == encode(*told)
        assert pauses(encode_in_pieces(*told)) >= 5


def test_codings_pause() -> None:
    plain = bytes(4 << 20)
    packed = gzip.compress(plain)
    sizes = list(decompressing(packed, "gzip", len(plain)))
    assert sum(sizes) == len(plain)
    assert len(sizes) > 10
    assert len(list(compressing(plain, "gzip"))) > 10


@pytest.mark.parametrize(("seconds", "first"), [(-1.0, "abab"), (60.0, "aaab")])
async def test_work_takes_turns(monkeypatch: pytest.MonkeyPatch, seconds: float, first: str) -> None:
    """One is worked on for a while, so that what it needs is at hand, before the next has its turn."""
    monkeypatch.setattr(turns_module, "_SLICE", seconds)
    done: list[str] = []

    def work(name: str) -> Iterator[None]:
        for _ in range(3):
            done.append(name)
            yield

    def more() -> Generator[None, None, None]:
        yield
        turns.add(work("c"))

    turns = Turns()
    for one in (work("a"), work("b"), more()):
        turns.add(one)
    await until(lambda: len(done) == 9)
    assert "".join(done[:4]) == first
    turns.add(work("d"))
    await until(lambda: done[-3:] == ["d"] * 3)


async def test_who_fails_in_its_turn_does_not_keep_others_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def fails() -> Iterator[None]:
        yield
        raise ValueError("in a piece")

    def work() -> Iterator[None]:
        for _ in range(3):
            done.append("piece")
            yield

    turns = Turns()
    turns.add(fails())
    turns.add(work())
    await until(lambda: len(done) == 3)
    assert "the others go on" in caplog.text
    turns.add(work())
    await until(lambda: len(done) == 6)


async def test_after_a_long_piece_others_have_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a connection to its answer there are more than one."""
    monkeypatch.setattr(turns_module, "_LONG", -1.0)
    loop, at, seen = asyncio.get_running_loop(), 0, list[int]()

    def turn() -> None:
        nonlocal at
        at += 1
        if len(seen) < 3:
            loop.call_soon(turn)

    def work() -> Iterator[None]:
        for _ in range(3):
            seen.append(at)
            yield

    turn()
    Turns().add(work())
    await until(lambda: len(seen) == 3)
    assert min(np.diff(seen)) > 3
