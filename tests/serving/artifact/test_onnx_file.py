"""What is read from an ONNX file without loading it, against what the onnx package says."""

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import serving_models
from artifact_places import Fetch
from headgate_serving.artifact.onnx_file import ExternalData, NotOnnx, check_external_data, read_onnx
from headgate_serving.errors import ArtifactInvalid


def test_opsets_and_external_data(tmp_path: Path) -> None:
    plain = read_onnx(serving_models.score(tmp_path / "plain.onnx"))
    assert (dict(plain.opsets), plain.external) == ({"": 17}, ())
    external = read_onnx(serving_models.with_external_data(tmp_path / "model.onnx")).external
    assert external == (ExternalData("weights/w.bin", (tmp_path / "weights" / "w.bin").stat().st_size),)


def test_a_model_whose_weights_are_all_there(tmp_path: Path, fetch: Fetch) -> None:
    serving_models.with_external_data(tmp_path / "source" / "model.onnx")
    assert fetch(f"file://{tmp_path}/source").said["reason"] == "Fetched"


def broken(folder: Path, how: str) -> str:
    file = folder / "model.onnx"
    match how:
        case "weights are gone":
            serving_models.with_external_data(file)
            (folder / "weights" / "w.bin").unlink()
        case "weights are cut":
            serving_models.with_external_data(file)
            raw = (folder / "weights" / "w.bin").read_bytes()
            (folder / "weights" / "w.bin").write_bytes(raw[:-1])
        case "weights are outside":
            serving_models.with_external_data(file, location="../../../w.bi")
        case "weights are absolute":
            serving_models.with_external_data(file, location="/etc/hostname")
        case "the model alone":
            serving_models.with_external_data(file)
            return f"file://{file}"
        case "the model is cut":
            serving_models.score(file)
            file.write_bytes(file.read_bytes()[:-20])
    return f"file://{folder}"


def saying(file: Path, key: str, value: str) -> Path:
    """The model of `serving_models.with_external_data`, with another value of the key for its tensors."""
    serving_models.with_external_data(file)
    model = onnx.load(file, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = value if entry.key == key else entry.value
    file.write_bytes(model.SerializeToString())
    return file


@pytest.mark.parametrize("location", ["..weights.bin", "..x/w.bin", "manifest.json", ".//manifest.json"])
def test_weights_that_no_digest_holds_are_refused(tmp_path: Path, location: str) -> None:
    """Else they could be others tomorrow, under the same digest."""
    saying(tmp_path / "model.onnx", "location", location)
    (tmp_path / location).parent.mkdir(exist_ok=True)
    (tmp_path / "weights" / "w.bin").rename(tmp_path / location)
    with pytest.raises(ArtifactInvalid, match=r"two dots|manifest\.json"):
        check_external_data(tmp_path)


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 20], ids=len)
def test_a_number_of_many_digits_is_left_to_onnx_runtime(tmp_path: Path, digits: str) -> None:
    file = saying(tmp_path / "model.onnx", "offset", digits)
    assert [data.location for data in read_onnx(file).external] == ["weights/w.bin"]


@pytest.mark.parametrize(
    ("how", "reason", "status"),
    [
        ("weights are gone", "ExternalDataMissing", 20),
        ("weights are cut", "ArtifactTruncated", 16),
        ("weights are outside", "PathOutside", 18),
        ("weights are absolute", "PathOutside", 18),
        ("the model alone", "ExternalDataMissing", 20),
        ("the model is cut", "ArtifactTruncated", 16),
    ],
)
def test_models_that_are_not_whole(tmp_path: Path, fetch: Fetch, how: str, reason: str, status: int) -> None:
    run = fetch(broken(tmp_path / "source", how))
    assert (run.code, run.said["reason"], run.files) == (status, reason, [])


@given(cut=st.integers(0, 300), noise=st.binary(max_size=8))
def test_no_bytes_end_in_another_error(tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.onnx"
    raw = serving_models.score(file).read_bytes()
    file.write_bytes(raw[:cut] + noise + raw[cut + len(noise) :])
    try:
        read_onnx(file)
    except NotOnnx:
        return


def test_graphs_without_end(tmp_path: Path) -> None:
    nested = b""
    for _ in range(200):
        for key in (0x32, 0x2A, 0x0A):  # graph in attribute in node in graph
            length = len(nested)
            nested = bytes([key, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + nested
    length = len(nested)
    (tmp_path / "model.onnx").write_bytes(
        bytes([0x3A, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + nested
    )
    with pytest.raises(NotOnnx, match="nested deeper"):
        read_onnx(tmp_path / "model.onnx")
