"""What is read of a model's inputs and outputs, and that leaving a ZipMap out changes nothing else."""

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import serving_models
from headgate_serving.artifact.onnx_graph import Ends, LastStep, read_ends, without


def test_what_the_file_does_not_tell(tmp_path: Path) -> None:
    assert read_ends(serving_models.shapeless(tmp_path / "a.onnx")) == Ends(frozenset({"X", "Y"}))
    assert read_ends(serving_models.mixed(tmp_path / "b.onnx")) == Ends()


@pytest.mark.parametrize("packed", [False, True])
def test_classes_of_a_zipmap(tmp_path: Path, packed: bool) -> None:
    path = serving_models.zipmap(tmp_path / "model.onnx", (-1, 300))
    if packed:  # as writers of proto3 do it
        loose, tight = b"\x40" + b"\xff" * 9 + b"\x01\x40\xac\x02", b"\x42\x0c" + b"\xff" * 9 + b"\x01\xac\x02"
        path.write_bytes(resized(path.read_bytes(), loose, tight))
        onnx.load(path)
    assert read_ends(path) == Ends(frozenset({"OUT"}), (LastStep("OUT", ("IN",), (-1, 300)),))
    assert read_ends(serving_models.zipmap(path, ("no", "ja"))).classes("OUT") == ("no", "ja")


def resized(whole: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert whole.count(old) == 1
    return whole.replace(old, new)


def test_nothing_else_changes_without_a_zipmap(tmp_path: Path) -> None:
    path = serving_models.zipmap(tmp_path / "model.onnx")
    whole = onnx.load(path)
    whole.doc_string, whole.producer_name = "kept", "kept too"
    whole.metadata_props.add(key="a", value="b")
    whole.graph.doc_string = "and this"
    onnx.save(whole, path)
    edited = onnx.load_from_string(without(read_ends(path).steps, path))
    assert [node.op_type for node in edited.graph.node] == ["Identity", "Constant", "ReduceSum"]
    assert not edited.graph.value_info
    for one in (whole, edited):
        del one.graph.node[0], one.graph.output[0], one.graph.value_info[:]
    assert edited == whole


def test_a_zipmap_within_the_graph_stays(tmp_path: Path) -> None:
    path = serving_models.zipmap(tmp_path / "model.onnx")
    whole = onnx.load(path)
    whole.graph.node[0].output[0] = "elsewhere"
    onnx.save(whole, path)
    assert read_ends(path).steps == ()


def test_a_sequence_is_as_many_outputs_as_it_has_tensors(tmp_path: Path) -> None:
    path = serving_models.sequence(tmp_path / "model.onnx")
    assert read_ends(path).steps == (LastStep("OUT", ("IN", "MORE")),)
    edited = onnx.load_from_string(without(read_ends(path).steps, path))
    assert [output.name for output in edited.graph.output] == ["OUT_0", "OUT_1"]


def test_but_for_one_that_has_the_name_of_another(tmp_path: Path) -> None:
    path = serving_models.sequence(tmp_path / "model.onnx", more="OUT_0")
    assert read_ends(path).steps == ()
    whole = onnx.load(serving_models.sequence(path))
    whole.graph.input[0].name = whole.graph.node[1].input[0] = "OUT_1"
    whole.graph.node[0].input[:] = ["OUT_1", "OUT_1"]
    onnx.save(whole, path)
    assert read_ends(path).steps == ()


@given(cut=st.integers(0, 300), noise=st.binary(max_size=8))
def test_no_bytes_end_in_an_error(tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.onnx"
    raw = serving_models.zipmap(file).read_bytes()
    file.write_bytes(raw[:cut] + noise + raw[cut + len(noise) :])
    read_ends(file)
