"""oci:// against a real registry."""

from collections.abc import Iterator
from pathlib import Path

import oras.client
import pytest

from artifact_distribution import running_distribution
from artifact_places import WHOLE, Fetch, breaking_proxy, make_artifact
from artifact_registry import PASSWORD, USER, Login, pushed
from headgate_serving.artifact import digest_of
from headgate_serving.errors import AccessDenied, ArtifactExists


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_distribution(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def logged_in(host: str, login: Login) -> None:
    login(host)


def test_pushed_is_fetched_by_tag_and_the_second_push_is_no_other(host: str, tmp_path: Path, fetch: Fetch) -> None:
    source, uri = make_artifact(tmp_path / "source"), f"oci://{host}/models/fraud:1"
    assert pushed(source, uri)
    run = fetch(uri, "--digest", digest_of(source))
    assert (run.code, run.said, run.files) == (0, {"reason": "Fetched", "digest": digest_of(source)}, WHOLE)
    assert not pushed(source, uri)
    (source / "profile.json").write_text('{"another": 1}')
    with pytest.raises(ArtifactExists, match="--overwrite"):
        pushed(source, uri)
    assert pushed(source, uri, overwrite=True)
    assert fetch(uri).said["digest"] == digest_of(source)


def test_the_client_of_oras_reads_what_we_push_and_we_read_what_it_pushes(
    host: str, tmp_path: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_artifact(tmp_path / "source")
    pushed(source, f"oci://{host}/models/ours:1")
    theirs = oras.client.OrasClient(hostname=host, insecure=True, auth_backend="basic")
    theirs.login(username=USER, password=PASSWORD, hostname=host, config_path=str(tmp_path / "oras"))
    theirs.pull(target=f"{host}/models/ours:1", outdir=str(tmp_path / "theirs"))
    assert digest_of(tmp_path / "theirs") == digest_of(source)
    (source / "sub" / "some weights.bin").unlink()  # this client forgets folders
    monkeypatch.chdir(source)
    theirs.push(target=f"{host}/models/theirs:1", files=["model.onnx", "profile.json"])
    run = fetch(f"oci://{host}/models/theirs:1", "--digest", digest_of(source))
    assert (run.code, run.files) == (0, [path for path in WHOLE if "/" not in path])


def test_goes_on_where_the_connection_broke(host: str, tmp_path: Path, fetch: Fetch, login: Login) -> None:
    source = make_artifact(tmp_path / "source")
    pushed(source, f"oci://{host}/models/broken:1")
    with breaking_proxy(f"http://{host}") as proxy:
        login(proxy.url.removeprefix("http://"))
        proxy.cuts = [700_000, 500_000]
        run = fetch(f"{proxy.url.replace('http', 'oci')}/models/broken:1", "--digest", digest_of(source))
    assert (run.code, proxy.broken, run.waited) == (0, 2, [0.5, 1.0])


def test_wrong_credentials_and_none(host: str, tmp_path: Path, fetch: Fetch, login: Login) -> None:
    source = make_artifact(tmp_path / "source")
    login(host, "a-wrong-one")
    run = fetch(f"oci://{host}/models/fraud:1")
    assert (run.code, run.said["reason"], run.waited) == (14, "AccessDenied", [])
    with pytest.raises(AccessDenied):
        pushed(source, f"oci://{host}/models/fraud:1")
    (tmp_path / "docker" / "config.json").write_text("{}")
    assert fetch(f"oci://{host}/models/fraud:1").said["reason"] == "AccessDenied"


def test_nothing_there(host: str, fetch: Fetch) -> None:
    assert fetch(f"oci://{host}/models/fraud:9").said["reason"] == "ArtifactNotFound"
    assert fetch(f"oci://{host}/models/fraud@sha256:{'0' * 64}").said["reason"] == "ArtifactNotFound"
