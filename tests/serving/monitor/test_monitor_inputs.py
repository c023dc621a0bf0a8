"""Rows of a file as a model's inputs: the same values as of a request, or a refusal where the server refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto
from pyarrow import parquet

import serving_models as models
from headgate_serving.authoring.reference import Reference, examples_of, reference_of
from headgate_serving.codec.datatypes import BY_NAME
from headgate_serving.codec.rest_codec import decode
from headgate_serving.errors import MalformedRequest, ProfileInvalid
from headgate_serving.runtime.model import Model, load_model

ONNX_TYPES = {
    name: getattr(TensorProto, onnx)
    for name, onnx in {"BOOL": "BOOL", "FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BYTES": "STRING"}.items()
} | {name: getattr(TensorProto, name) for name in BY_NAME if "INT" in name}

COLUMNS = {
    "whole numbers": pa.array([0, 1]),
    "a large byte": pa.array([0, 255]),
    "more than a byte": pa.array([0, 256]),
    "below zero": pa.array([0, -1]),
    "2^31": pa.array([0, 1 << 31]),
    "2^53 + 1": pa.array([0, (1 << 53) + 1]),
    "the largest of 64 bits": pa.array([0, (1 << 64) - 1], pa.uint64()),
    "a fraction": pa.array([0.0, 2.5]),
    "beyond a half": pa.array([0.0, 65520.0]),
    "beyond a float": pa.array([0.0, 1e39]),
    "beyond all whole numbers": pa.array([0.0, 1e20]),
    "text": pa.array(["a", "b"]),
}


def with_values(folder: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), folder / "rows.parquet")
    return folder / "rows.parquet"


def one_input(folder: Path, datatype: str) -> Model:
    return load_model(models.one_of(folder / "model.onnx", ONNX_TYPES[datatype], ["n"]))


def fed(model: Model, data: Path) -> list[Any]:
    rows = examples_of(model, data, None, None, 100)
    return [rows[row]["IN"][0] for row in sorted(rows)]


def sent(model: Model, values: list[Any], datatype: str) -> list[Any]:
    tensor = {"name": "IN", "datatype": datatype, "shape": [len(values)], "data": values}
    return list(decode(json.dumps({"inputs": [tensor]}).encode(), None, model).inputs["IN"])


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("datatype", [name for name in ONNX_TYPES if name not in ("BOOL", "BYTES")])
def test_a_row_is_what_the_server_makes_of_it_or_is_refused(tmp_path: Path, datatype: str, name: str) -> None:
    model, data = one_input(tmp_path, datatype), with_values(tmp_path, IN=COLUMNS[name])
    values = COLUMNS[name].to_pylist()
    if "INT" in datatype:  # a whole number may be stored as a float
        values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    try:
        expected = sent(model, values, datatype)
    except MalformedRequest:
        with pytest.raises(ProfileInvalid, match=r"column 'IN' (is|has) .* input 'IN'"):
            fed(model, data)
        with pytest.raises(ProfileInvalid):
            reference_of(tmp_path / "model.onnx", data, None)
    else:
        assert fed(model, data) == expected


WHOLE = {
    "floats": pa.array([1.0, 3.0]),
    "decimals": pa.array([1, 3], pa.decimal128(20, 2)),
    "text": pa.array(["1", "3"]),
    "a dictionary": pa.array([1, 3]).dictionary_encode(),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("datatype", ["UINT8", "INT64", "FP32"])
def test_how_a_whole_number_is_stored_does_not_matter(tmp_path: Path, datatype: str, name: str) -> None:
    assert fed(one_input(tmp_path, datatype), with_values(tmp_path, IN=WHOLE[name])) == [1, 3]


def test_large_whole_numbers_keep_their_last_digit_however_they_are_stored(tmp_path: Path) -> None:
    large, model = (1 << 53) + 1, one_input(tmp_path, "INT64")
    for stored in (pa.array([large]), pa.array([str(large)]), pa.array([large], pa.decimal128(38, 2))):
        assert fed(model, with_values(tmp_path, IN=stored)) == [large]


@pytest.mark.parametrize(
    ("values", "expected"),
    [(pa.array([True, False]), [True, False]), (pa.array([1, 0]), [True, False]), (pa.array([0, 2]), None)],
)
def test_only_what_is_true_or_false_is_a_boolean(tmp_path: Path, values: Any, expected: list[bool] | None) -> None:
    model, data = one_input(tmp_path, "BOOL"), with_values(tmp_path, IN=values)
    if expected is not None:
        assert fed(model, data) == expected
        return
    with pytest.raises(ProfileInvalid, match="has 2 in row 1, which is no BOOL"):
        fed(model, data)


def test_the_first_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    one_input(tmp_path, "UINT8")
    data = with_values(tmp_path, IN=[7] * 50 + [300, 400])
    with pytest.raises(ProfileInvalid, match="column 'IN' has 300 in row 50, which is no UINT8: the server refuses it"):
        reference_of(tmp_path / "model.onnx", data, None)


def test_text_of_a_csv_is_text_as_it_stands_there(tmp_path: Path) -> None:
    rows = ["007", "1.50", "TRUE", "2026-01-02", "NA", "é"]
    for number in range(1, len(rows) + 1):  # pyarrow guesses another type for each
        (tmp_path / "rows.csv").write_text("IN\n" + "\n".join(rows[:number]) + "\n", encoding="utf-8")
        assert fed(one_input(tmp_path, "BYTES"), tmp_path / "rows.csv") == rows[:number]


@pytest.mark.parametrize("classes", [("007", "010"), ("True", "False"), ("1.0", "2.0")], ids=str)
def test_a_label_is_compared_with_the_texts_that_the_model_answers(tmp_path: Path, classes: tuple[str, str]) -> None:
    one_input(tmp_path, "BYTES")
    rows = [f"{name},{name}" for name in classes * 20] + [f"{classes[0]},{classes[1]}"] * 10
    (tmp_path / "rows.csv").write_text("IN,truth\n" + "\n".join(rows) + "\n")
    (accuracy,) = reference_of(tmp_path / "model.onnx", tmp_path / "rows.csv", ["IN"], "truth").profile.accuracy
    assert (accuracy.rows, accuracy.correct) == (50, 40)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([1.5]), None),
        (pa.array([True]), None),
        (pa.array([0], "date32"), None),
    ],
)
def test_what_could_be_written_as_text_in_several_ways_is_refused(
    tmp_path: Path, values: Any, expected: list[str] | None
) -> None:
    model, data = one_input(tmp_path, "BYTES"), with_values(tmp_path, IN=values)
    if expected is not None:
        assert fed(model, data) == expected
        return
    with pytest.raises(ProfileInvalid, match="several ways to write it as text"):
        fed(model, data)


def test_a_missing_value_is_nan_among_floats_and_refused_among_whole_numbers(tmp_path: Path) -> None:
    data = with_values(tmp_path, IN=[1, None])
    assert [f.counts[-1] for f in _reference(tmp_path, "FP32", data).profile.features] == [1]
    with pytest.raises(ProfileInvalid, match="column 'IN' has missing values, which INT32 can't carry"):
        _reference(tmp_path, "INT32", data)


def _reference(folder: Path, datatype: str, data: Path) -> Reference:
    one_input(folder, datatype)
    return reference_of(folder / "model.onnx", data, None)


RNG = np.random.default_rng(1)
ROWS = 800
A, B = RNG.normal(size=(2, ROWS))
INDEX = RNG.permutation(ROWS)
"""As of `train_test_split`."""


def of_pandas(folder: Path, index: dict[str, Any], said: object) -> Path:
    """A file as pandas writes it: the index comes last, and the metadata tell its columns."""
    table = pa.table({"a": A, "b": B, **index})
    metadata = said if isinstance(said, str) else json.dumps({"index_columns": said, "columns": [], "creator": {}})
    parquet.write_table(table.replace_schema_metadata({"pandas": metadata} if said else None), folder / "rows.parquet")
    return folder / "rows.parquet"


def of_csv(folder: Path, header: str, index: list[str]) -> Path:
    lines = [f"{name},{a},{b}" for name, a, b in zip(index, A, B, strict=True)]
    (folder / "rows.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "rows.csv"


LEVELS = ["__index_level_0__", "__index_level_1__"]
INDEXED = {
    "parquet": lambda to: of_pandas(to, {LEVELS[0]: INDEX}, LEVELS[:1]),
    "parquet with a named index": lambda to: of_pandas(to, {"customer": INDEX}, ["customer"]),
    "parquet with two": lambda to: of_pandas(to, dict.fromkeys(LEVELS, INDEX % 7), LEVELS),
    "parquet that another tool wrote anew": lambda to: of_pandas(to, {LEVELS[0]: INDEX}, None),
    "parquet with damaged metadata": lambda to: of_pandas(to, {LEVELS[0]: INDEX}, "{"),
    "csv": lambda to: of_csv(to, ",a,b", [f"{n}" for n in INDEX]),
    "csv from one on": lambda to: of_csv(to, ",a,b", [f"{n + 1}" for n in range(ROWS)]),
    "csv of floats": lambda to: of_csv(to, ",a,b", [f"{n}.0" for n in INDEX]),
    "csv of times": lambda to: of_csv(to, ",a,b", [f"2026-11-01 {n // 60:02}:{n % 60:02}:00" for n in INDEX]),
    "csv of texts": lambda to: of_csv(to, ",a,b", [f"r{n}" for n in INDEX]),
    "csv that was read and written again": lambda to: of_csv(to, ",Unnamed: 0,a,b", [f"{n},{n}" for n in INDEX]),
}


@pytest.mark.parametrize("form", INDEXED)
def test_pandas_index_is_no_feature_and_that_is_said(tmp_path: Path, form: str) -> None:
    data = INDEXED[form](tmp_path)
    reference = reference_of(None, data, None)
    assert [f.name for f in reference.profile.features] == ["a", "b"]
    assert reference.left_out
    assert all("pandas' index" in why and "--columns" in why for why in reference.left_out.values())
    any_width = models.by_rows(tmp_path / "model.onnx", "Neg", columns="k")
    reference = reference_of(any_width, data, None)
    assert [(f.name, f.column) for f in reference.profile.features] == [("a", 0), ("b", 1)]
    assert any("pandas' index" in why for why in reference.left_out.values())
    assert {feed["IN"].shape for feed in examples_of(load_model(any_width), data, None, None, 3).values()} == {(1, 2)}


def test_an_index_that_is_asked_for_stays(tmp_path: Path) -> None:
    data = of_pandas(tmp_path, {"IN": INDEX % 2}, ["IN"])
    assert [f.name for f in reference_of(None, data, ["IN", "a"]).profile.features] == ["IN", "a"]
    assert [f.name for f in _reference(tmp_path, "INT64", data).profile.features] == ["IN"]
    assert reference_of(None, data, None, "IN").left_out == {}


NO_INDEX = {
    "fractions that repeat": [0.5, 0.5, 0.25] * 9,
    "holes": [25, *range(25), None],
    "texts that repeat": ["a", "b", "a"] * 9,
    "whole numbers that repeat": [1, 2, 3] * 9,
    "numbers of rows that repeat": [*range(14), *range(13)],
    "measured values": A[:27],
    "halves": A[:27].astype("f2"),
    "categories": pa.array(["a", "b", "a"] * 9).dictionary_encode(),
    "booleans": [True, False, True] * 9,
}


@pytest.mark.parametrize("header", ["", "Unnamed: 0"])
@pytest.mark.parametrize("name", NO_INDEX)
def test_a_first_column_without_a_name_stays_where_it_is_not_clearly_an_index(
    tmp_path: Path, name: str, header: str
) -> None:
    reference = reference_of(None, with_values(tmp_path, **{header: NO_INDEX[name], "a": A[:27]}), None)
    assert [f.name for f in reference.profile.features] == [header, "a"]
    assert (reference.left_out, reference.doubtful) == ({}, (header or "first column",))


def test_only_first_columns_are_doubtful(tmp_path: Path) -> None:
    data = with_values(tmp_path, a=A[:27], **{"": [1, 2, 3] * 9})
    reference = reference_of(None, data, None)
    assert ([f.name for f in reference.profile.features], reference.doubtful) == (["a", ""], ())


@pytest.mark.parametrize("header", ["Unnamed: 5", "Unnamed", "id"])
def test_another_name_is_that_of_a_feature(tmp_path: Path, header: str) -> None:
    shuffled = RNG.permutation(27)
    reference = reference_of(None, with_values(tmp_path, **{header: shuffled, "a": A[:27]}), None)
    assert [f.name for f in reference.profile.features] == [header, "a"]
    assert reference.doubtful == ()


def test_a_model_of_any_width_is_fed_with_a_doubtful_column_unless_columns_are_named(tmp_path: Path) -> None:
    any_width = models.by_rows(tmp_path / "model.onnx", "Neg", columns="k")
    data = of_csv(tmp_path, ",a,b", [f"{n % 50}" for n in INDEX])
    assert reference_of(any_width, data, None).doubtful == ("first column",)
    for names in (["", "a"], ["a", "b"]):
        reference = reference_of(any_width, data, names)
        assert [f.name for f in reference.profile.features] == names
        assert reference.doubtful == ()


def test_a_range_is_no_column(tmp_path: Path) -> None:
    data = of_pandas(tmp_path, {}, [{"kind": "range", "name": None, "start": 0, "stop": ROWS, "step": 1}])
    assert len(reference_of(None, data, None).profile.features) == 2


def test_a_nameless_column_of_lists_is_left_out(tmp_path: Path) -> None:
    data = with_values(tmp_path, **{"": [[1], [2], [3]] * 9, "a": A[:27]})
    assert "more than one value per row" in reference_of(None, data, None).left_out[""]


def test_the_error_of_a_wrong_width_says_what_was_left_out(tmp_path: Path) -> None:
    data = of_pandas(tmp_path, {"age": INDEX}, ["age"])
    model = models.by_rows(tmp_path / "model.onnx", "Neg", columns=3)
    with pytest.raises(
        ProfileInvalid, match=r"takes 3 columns, the data has 2: a, b; .* \(left out: age: pandas' index"
    ):
        reference_of(model, data, None)
    assert [f.name for f in reference_of(model, data, ["age", "a", "b"]).profile.features] == ["age", "a", "b"]
