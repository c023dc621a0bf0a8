"""Whose series a user's query reads, and what may be told of its answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.user_queries import Answer, answer_of, number_of, numbers_of, reads_others

SECRET = "secret_of_another_tenant"
OWN = {"namespace": "models"}


def selector(*matchers: tuple[str, str, str], kind: str = "vectorSelector") -> dict[str, Any]:
    return {"type": kind, "name": "x", "matchers": [{"name": n, "type": t, "value": v} for n, t, v in matchers]}


def tree(data: Any) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


MINE = selector(("namespace", "=", "models"))


@pytest.mark.parametrize(
    "data",
    [
        MINE,
        selector(("namespace", "=~", ".*"), ("namespace", "=", "models"), kind="matrixSelector"),
        {"type": "aggregation", "op": "sum", "expr": {"type": "parenExpr", "expr": MINE}, "param": None},
        {"type": "call", "func": {"name": "rate"}, "args": [selector(("namespace", "=", "models"))]},
        {"type": "binaryExpr", "lhs": MINE, "rhs": {"type": "numberLiteral", "val": "1"}, "matching": None},
    ],
)
def test_a_query_for_the_own_namespace_may_be_asked(data: Any) -> None:
    assert reads_others(200, tree(data), OWN) == ""


@pytest.mark.parametrize(
    "other",
    [
        selector(),
        selector(("namespace", "=", "others")),
        selector(("namespace", "=~", "models")),
        selector(("namespace", "!=", "others")),
        selector(("headgate_namespace", "=", "models"), kind="matrixSelector"),
        {"type": "selectorOfANewKind", "matchers": []},
        {"type": "call", "func": {"name": "info"}, "args": [MINE]},
    ],
)
def test_no_part_of_it_may_be_for_others(other: Any) -> None:
    for data in (
        other,
        {"type": "binaryExpr", "lhs": MINE, "rhs": other},
        {"type": "call", "func": {"name": "label_replace"}, "args": [{"type": "subquery", "expr": other}]},
        {"type": "aggregation", "expr": MINE, "param": other},
    ):
        assert reads_others(200, tree(data), OWN)


def test_the_clusters_label_has_to_be_there_too() -> None:
    wanted = {"cluster": "a", "namespace": "models"}
    assert reads_others(200, tree(MINE), wanted) == 'each of its selectors has to have cluster="a": x has not'
    assert reads_others(200, tree(selector(("namespace", "=", "models"), ("cluster", "=", "a"))), wanted) == ""


def test_what_the_parser_says_is_told() -> None:
    body = json.dumps({"status": "error", "errorType": "bad_data", "error": "1:5: parse error: unclosed"}).encode()
    assert reads_others(400, body, OWN) == "it is no PromQL: 1:5: parse error: unclosed"


@pytest.mark.parametrize("body", [b"404 page not found", b"", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_where_nobody_parses_nothing_is_asked(body: bytes) -> None:
    assert "nobody knows whose series it reads" in reads_others(404, body, OWN)


def vector(*series: tuple[dict[str, str], str]) -> bytes:
    result = [{"metric": labels, "value": [1.0, value]} for labels, value in series]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def number(*series: tuple[dict[str, str], str]) -> float | str:
    return number_of(answer_of(200, vector(*series)), "fraud-a", "models")


A, B = {"headgate_revision": "fraud-a"}, {"headgate_revision": "fraud-b"}


def test_each_revision_has_its_number() -> None:
    answer = answer_of(200, vector((A, "3"), (B, "4.5"), ({}, "9")))
    assert numbers_of(answer, "models") == {"fraud-a": 3, "fraud-b": 4.5}
    assert number_of(answer, "fraud-b", "models") == 4.5


@pytest.mark.parametrize("label", ["namespace", "headgate_namespace"])
def test_the_revision_of_another_namespace_is_another_one(label: str) -> None:
    assert number((A, "3"), (A | {label: "others"}, "4")) == 3
    assert number((A | {label: "models"}, "3")) == 3
    assert isinstance(number((A | {label: "others"}, "4")), str)


@pytest.mark.parametrize(
    ("series", "told"),
    [
        ([], "it has no series with headgate_revision=fraud-a"),
        ([(B, "1")], "it has no series with headgate_revision=fraud-a"),
        ([(A, "1"), (A | {"pod": "x"}, "1")], "it has 2 series"),
        ([(A, "NaN")], "is nan"),
        ([(A, "+Inf")], "is inf"),
    ],
)
def test_what_is_no_number_of_the_revision_is_told(series: list[Any], told: str) -> None:
    found = number(*series)
    assert isinstance(found, str)
    assert told in found


SECRETS = {
    "execution": {"status": "error", "errorType": "execution", "error": f"duplicate series {SECRET}"},
    "bad data when it is run": {"status": "error", "errorType": "bad_data", "error": SECRET},
    "a warning": {**json.loads(vector((A, "1"))), "warnings": [SECRET]},
    "a matrix": {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {"a": SECRET}}]}},
    "a string": {"status": "success", "data": {"resultType": "string", "result": [1, SECRET]}},
    "a scalar": {"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}},
    "histograms": {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {"a": SECRET}}]}},
    "no number": json.loads(vector((A, SECRET))),
    "a page": SECRET,
}


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_of_an_answer_is_told_but_numbers(name: str) -> None:
    answer = answer_of(422, json.dumps(SECRETS[name]).encode())
    assert answer.trouble
    assert SECRET not in answer.trouble
    assert number_of(answer, "fraud-a", "models") == answer.trouble


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.sampled_from(["success", "error", "vector", "vectorSelector", "call", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "result", "resultType", "metric", "value", "type", "matchers", "func"]),
            inner,
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_any_json_is_an_answer_or_is_told(body: Any) -> None:
    told = json.dumps(body).encode()
    assert isinstance(answer_of(200, told), Answer)
    assert isinstance(reads_others(200, told, OWN), str)
    success = json.dumps({"status": "success", "data": body}).encode()
    assert isinstance(reads_others(200, success, OWN), str)
    assert isinstance(answer_of(200, success), Answer)
