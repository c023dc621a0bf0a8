"""What makes two answers agree: any form of either protocol, and every kind of output."""

import gzip
import json
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from headgate.api.policy import Agreement, ComparedOutput
from headgate_serving.codec.datatypes import BY_NAME
from headgate_serving.codec.http_message import Message
from headgate_serving.codec.lengths import Lengths
from headgate_serving.codec.lenient import Tensor, Unreadable, outputs_of
from headgate_serving.router.mirror.bounds import ByteBudget, RateLimiter
from headgate_serving.router.mirror.comparison import agree, compared, few_labels_alike, is_fit
from headgate_serving.router.mirror.exchange import Exchange, ProcessingRequest, Unusable

NAN, INF = float("nan"), float("inf")


def numbers(*values: Any, kind: Any = np.float32, shape: Any = None) -> Any:
    array = np.array(values, kind)
    return Tensor(shape or array.shape, array.reshape(-1))


def text(*values: Any) -> Any:
    return Tensor((len(values),), np.array([value.encode() for value in values], object))


def message(body: Any, **headers: Any) -> Any:
    return Message({name.replace("_", "-"): value for name, value in headers.items()}, [body], len(body))


def rest(*outputs: Any) -> Any:
    return json.dumps({"outputs": list(outputs)}).encode()


@pytest.mark.parametrize(
    ("stable", "candidate", "same"),
    [
        (numbers(1, 2, kind=np.int64), numbers(1, 2, kind=np.int64), True),
        (numbers(1, 2, kind=np.int64), numbers(1, 3, kind=np.int64), False),
        (numbers(1, 2, kind=np.int64), numbers(1, 2, kind=np.int32), True),
        (numbers(1, 2, kind=np.int64), numbers(1.001, 2), True),
        (numbers(True, False, kind=bool), numbers(True, True, kind=bool), False),
        (numbers(1, 2, kind=np.int64), numbers(1, 2, kind=np.int64, shape=(2, 1)), False),
        (text("a", "é"), text("a", "é"), True),
        (text("a"), text("b"), False),
        (text("1"), numbers(1, kind=np.int64), False),
        (numbers(0.5), text("0.5"), False),
        (numbers(0.5), numbers(0.5 + 0.01 / 2), True),
        (numbers(0.5), numbers(0.5 + 0.01 * 2), False),
        (numbers(5000), numbers(5000 * (1 + 0.01 / 2)), True),
        (numbers(5000), numbers(5000 * (1 + 0.01 * 2)), False),
        (numbers(NAN, 1), numbers(NAN, 1), True),
        (numbers(NAN), numbers(0), False),
        (numbers(INF, -INF), numbers(INF, -INF), True),
        (numbers(INF), numbers(-INF), False),
        (numbers(INF), numbers(1e30), False),
        (numbers(), numbers(), True),
        (numbers(1, 1, 1, 1), numbers(1, 1, 1, 9), False),
    ],
)
def test_two_outputs_agree_or_do_not(stable: Any, candidate: Any, same: Any) -> None:
    assert agree({"y": stable}, {"y": candidate}, Agreement()) is same


def test_classes_count_and_scores_only_where_there_are_no_classes_or_the_user_says_so() -> None:
    stable = {"label": numbers(1, kind=np.int64), "score": numbers(0.9)}
    moved = {"label": numbers(1, kind=np.int64), "score": numbers(0.6)}
    assert compared(stable, Agreement()) == {"label": 0.01}
    assert agree(stable, moved, Agreement())
    assert not agree({"score": stable["score"]}, moved, Agreement())
    assert not agree(stable, moved, Agreement(outputs=(ComparedOutput("score", 0.1),)))
    assert agree(stable, moved, Agreement(outputs=(ComparedOutput("score", 0.5),)))
    assert not agree(stable, {"score": moved["score"]}, Agreement())
    assert compared(stable, Agreement(outputs=(ComparedOutput("other", 0.1),))) == {}


datatypes = [name for name, datatype in BY_NAME.items() if datatype.kind in "biuf" and name != "BF16"]


@given(st.sampled_from(datatypes).flatmap(lambda name: np_st.arrays(BY_NAME[name].dtype, st.integers(0, 20))))
def test_an_answer_is_the_same_in_every_form(values: Any) -> None:
    name = np_to_triton_dtype(values.dtype)
    described = {"name": "y", "datatype": name, "shape": list(values.shape)}
    listed = [None if v != v or abs(v) == INF else v for v in values.tolist()]  # noqa: PLR0124 - NaN
    head = rest(described | {"parameters": {"binary_data_size": values.nbytes}})
    answer = service_pb2.ModelInferResponse(raw_output_contents=[values.tobytes()])
    answer.outputs.add(**described)
    packed = answer.SerializeToString()
    forms = [
        outputs_of(message(head + values.tobytes(), inference_header_content_length=str(len(head))), is_grpc=False),
        outputs_of(message(b"\0" + len(packed).to_bytes(4) + packed), is_grpc=True),
    ]
    if values.dtype.kind != "f" or np.isfinite(values).all():
        forms.append(outputs_of(message(rest(described | {"data": listed})), is_grpc=False))
    for one in forms:
        assert all(agree(one, other, Agreement()) for other in forms)
        np.testing.assert_array_equal(one["y"].values, values)


def test_what_json_can_not_say_and_compressed_bodies_and_text() -> None:
    y = {"name": "y", "datatype": "FP32", "shape": [2], "data": [None, 1]}
    zipped = message(gzip.compress(rest(y)), content_encoding="gzip")
    assert agree(outputs_of(zipped, is_grpc=False), {"y": numbers(NAN, 1)}, Agreement())
    words = np.array([b"a", b"\xff"], object)
    answer = service_pb2.ModelInferResponse(raw_output_contents=[serialize_byte_tensor(words).item()])
    answer.outputs.add(name="y", datatype="BYTES", shape=[2])
    packed = gzip.compress(answer.SerializeToString())
    found = outputs_of(message(b"\1" + len(packed).to_bytes(4) + packed, grpc_encoding="gzip"), is_grpc=True)
    assert found["y"].values.tolist() == [b"a", b"\xff"]
    listed = {"name": "y", "datatype": "BYTES", "shape": [2, 1], "data": [["a"], ["b"]]}
    assert outputs_of(message(rest(listed)), is_grpc=False)["y"].values.tolist() == [b"a", b"b"]
    bits = np.array([1.5, -2], ml_dtypes.bfloat16).tobytes()
    answer = service_pb2.ModelInferResponse(raw_output_contents=[bits])
    answer.outputs.add(name="y", datatype="BF16", shape=[2])
    packed = answer.SerializeToString()
    found = outputs_of(message(b"\0" + len(packed).to_bytes(4) + packed), is_grpc=True)
    assert found["y"].values.tolist() == [1.5, -2]
    answer = service_pb2.ModelInferResponse()
    answer.outputs.add(name="y", datatype="FP32", shape=[1]).contents.fp32_contents.append(2.5)
    packed = answer.SerializeToString()
    assert outputs_of(message(b"\0" + len(packed).to_bytes(4) + packed), is_grpc=True)["y"].values.tolist() == [2.5]


@pytest.mark.parametrize(
    "answer",
    [
        message(b""),
        message(b"[]"),
        message(b'{"outputs": 5}'),
        message(rest({"name": "y"})),
        message(rest({"name": "y", "datatype": "FP99", "shape": [1], "data": [1]})),
        message(rest({"name": "y", "datatype": "FP32", "shape": [2], "data": [1]})),
        message(rest({"name": "y", "datatype": "FP32", "shape": ["a"], "data": [1]})),
        message(rest({"name": "y", "datatype": "INT8", "shape": [1], "data": [1000]})),
        message(rest({"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}})),
        message(rest(), inference_header_content_length="x"),
        message(b"x", content_encoding="br"),
        message(b"x", content_encoding="gzip"),
        message(gzip.compress(bytes(2 << 20)), content_encoding="gzip"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answer: Any) -> None:
    with pytest.raises(Unreadable):
        outputs_of(answer, is_grpc=False)


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_unreadable(body: Any) -> None:
    framed = b"\0" + len(body).to_bytes(4) + body
    for given_message, is_grpc in ((message(body), False), (message(framed), True), (message(body), True)):
        with suppress(Unreadable):
            outputs_of(given_message, is_grpc=is_grpc)


def test_an_exchange_ends_with_the_answer_and_not_before() -> None:
    exchange = Exchange()
    exchange.add(copied(request_headers={"headers": headers(path="/x"), "end_of_stream": False}))
    exchange.add(copied(request_body={"body": b"ab", "end_of_stream": True}))
    exchange.add(copied(response_headers={"headers": headers(status="200"), "end_of_stream": False}))
    exchange.add(ProcessingRequest())
    assert not exchange.complete
    exchange.add(copied(response_body={"body": b"c", "end_of_stream": True}))
    assert (exchange.complete, exchange.request.body, exchange.answer.body, exchange.size) == (True, b"ab", b"c", 3)


@pytest.mark.parametrize(
    "pieces",
    [
        [{"response_headers": ("503", True)}],
        [{"response_headers": ("429", False)}],
    ],
)
def test_what_is_no_answer_makes_no_pair(pieces: Any) -> None:
    exchange = Exchange()
    with pytest.raises(Unusable, match="unanswered"):
        for piece in pieces:
            for kind, (status, end) in piece.items():
                exchange.add(copied(**{kind: {"headers": headers(status=status), "end_of_stream": end}}))


def test_room_is_taken_and_given_back() -> None:
    budget = ByteBudget(10)
    assert (budget.take(6), budget.take(5), budget.take(4), budget.taken) == (True, False, True, 10)
    budget.give(6)
    assert (budget.take(6), budget.taken) == (True, 10)


def test_the_pace_is_kept_after_what_a_rest_allows_at_once() -> None:
    rate = RateLimiter(10)
    assert [rate.allows(100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [rate.allows(100.25) for _ in range(3)] == [True, True, False]
    assert sum(rate.allows(100.25 + n / 100) for n in range(200)) in (19, 20)
    assert sum(rate.allows(1000.0) for _ in range(50)) == 10


def copied(**parts: Any) -> Any:
    return ProcessingRequest(**parts)


def headers(**pseudo: Any) -> Any:
    return {"headers": [{"key": f":{name}", "raw_value": value.encode()} for name, value in pseudo.items()]}


SCORE = numbers(0.5, 0.25)


@pytest.mark.parametrize(
    ("stable", "candidate", "fit"),
    [
        ({"score": SCORE}, {"score": SCORE}, True),
        ({"score": SCORE}, {"score": numbers(0.9, 0.1)}, True),
        ({"score": SCORE}, {"score": SCORE, "more": text("a")}, True),
        ({"score": SCORE}, {"points": SCORE}, False),
        ({"score": SCORE, "label": text("a", "b")}, {"score": SCORE}, False),
        ({"score": SCORE}, {"score": numbers(0.5, 0.25, shape=(2, 1))}, False),
        ({"score": SCORE}, {"score": numbers(0.5, NAN)}, False),
        ({"score": SCORE}, {"score": numbers(0.5, INF)}, False),
        ({"score": numbers(0.5, NAN)}, {"score": numbers(NAN, NAN)}, True),
        ({"label": text("a")}, {"label": text("a"), "score": numbers(NAN)}, False),
    ],
)
def test_an_answer_is_fit_for_a_client_of_stable(stable: Any, candidate: Any, fit: bool) -> None:
    assert is_fit(stable, candidate, Agreement(), Lengths()) is fit


def test_outputs_may_be_others_where_the_schema_may_change_but_not_nan() -> None:
    allowed = Agreement(same_outputs=False)
    assert is_fit({"score": SCORE}, {"points": numbers(1, 2, 3)}, allowed, Lengths())
    assert not is_fit({"score": SCORE}, {"points": numbers(1, NAN)}, allowed, Lengths())


def boxes(found: int, width: int = 4) -> Any:
    return {"boxes": numbers(*[0.5] * (found * width), shape=(1, found, width))}


def test_a_length_that_varies_in_stables_own_answers_may_be_another() -> None:
    lengths = Lengths()
    lengths.learn(boxes(3))
    assert not is_fit(boxes(3), boxes(2), Agreement(), lengths), "so far it was always 3"
    lengths.learn(boxes(5))
    assert is_fit(boxes(5), boxes(2), Agreement(), lengths)
    assert not is_fit(boxes(5), boxes(5, width=6), Agreement(), lengths), "a box has four numbers"
    assert not is_fit(boxes(5), {"boxes": numbers(1, 2)}, Agreement(), lengths)
    assert is_fit({"found": numbers(1, 2, 3)}, {"found": numbers(1)}, Agreement(), lengths), "the first may be rows"


@pytest.mark.parametrize(
    ("stable", "candidate", "few"),
    [
        (numbers(1, kind=np.int64), numbers(1, kind=np.int64), False),
        (numbers(1, kind=np.int64), numbers(0, kind=np.int64), True),
        (numbers(1, 0, kind=np.int64), numbers(1, 1, kind=np.int64), False),
        (numbers(1, 0, 1, kind=np.int64, shape=(3, 1)), numbers(0, 1, 1, kind=np.int64, shape=(3, 1)), True),
        (numbers(1, 0, 1, kind=np.int64, shape=(3, 1)), numbers(0, 1, 1, kind=np.int64, shape=(3,)), False),
        (text("a", "b", "c"), text("a", "x", "y"), True),
        (text("1"), numbers(1, kind=np.int64), True),
        (numbers(1, 2, kind=np.int64), numbers(3, kind=np.int64), False),
        (numbers(kind=np.int64), numbers(kind=np.int64), False),
        (numbers(0.5), numbers(0.9), False),
        (numbers(1, 2, 3, 4, kind=np.int64, shape=(2, 2)), numbers(9, 9, 9, 9, kind=np.int64, shape=(2, 2)), False),
    ],
)
def test_most_rows_have_another_label(stable: Any, candidate: Any, few: bool) -> None:
    assert few_labels_alike({"y": stable}, {"y": candidate}, Agreement()) is few
