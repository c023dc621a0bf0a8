"""`headgate package` to a real registry and to an S3 server: its YAML is valid, and what it names can be fetched."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import yaml

import serving_models
from artifact_distribution import running_distribution
from artifact_places import Fetch
from artifact_registry import Login
from headgate_cli import main

PACKED = [".headgate.json", "manifest.json", "model.onnx", "profile.json", "samples.json"]


@pytest.fixture
def in_registry(tmp_path: Path, login: Login) -> Iterator[str]:
    (tmp_path / "registry").mkdir()
    with running_distribution(tmp_path / "registry") as host:
        login(host)
        yield f"oci://{host}/models/fraud:v1"


@pytest.fixture
def in_bucket(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="packed")
    return "s3://packed/fraud/v1"


@pytest.mark.parametrize("kind", ["in_registry", "in_bucket"])
def test_packed_pushed_validated_and_fetched(
    kind: str,
    tmp_path: Path,
    fetch: Fetch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = request.getfixturevalue(kind)
    rows = np.random.default_rng(1).normal(size=(200, 2))
    (tmp_path / "train.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    model = serving_models.score(tmp_path / "model.onnx")
    command = ["package", "--model", str(model), "--data", str(tmp_path / "train.csv"), "--to", uri]
    assert main(command) == 0
    printed = capsys.readouterr().out
    (tmp_path / "fraud.yaml").write_text(printed)
    assert main(["validate", "-f", str(tmp_path / "fraud.yaml")]) == 0
    asked = yaml.safe_load(printed)
    assert (asked["metadata"]["name"], asked["spec"]["model"]["version"]) == ("fraud", "v1")
    run = fetch(asked["spec"]["model"]["uri"], "--digest", asked["spec"]["model"]["digest"])
    assert (run.said["reason"], run.files) == ("Fetched", PACKED)
    capsys.readouterr()
    assert main(command) == 0
    assert "already at" in capsys.readouterr().err
