"""`headgate validate` as people call it: files in, findings and an exit status out."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_cli import main
from headgate_cli.manifest_text import read, write
from headgate_cli.validate import check

GOOD = """
apiVersion: headgate.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: fraud
spec:
  model:
    version: 2026-11-20
    uri: pvc://models/fraud/2026-11-20
  rollout:
"""
BAD = GOOD.replace("rollout:", "rollout: {alpha: 2}").replace("fraud\n", "churn\n", 1)
OTHER = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n"

Validate = Callable[..., tuple[int, str, str]]
"""Texts -> exit status, standard output, standard error."""


@pytest.fixture
def validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Validate:
    """Write the texts into files and validate them: exit status, standard output, standard error."""

    def run(*texts: str) -> tuple[int, str, str]:
        files = [tmp_path / f"{i}.yaml" for i in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        status = main(["validate", *(word for file in files for word in ("-f", str(file)))])
        out, err = capsys.readouterr()
        return status, out.replace(str(tmp_path) + "/", ""), err.replace(str(tmp_path) + "/", "")

    return run


def test_a_good_file(validate: Validate) -> None:
    assert validate(GOOD) == (0, "1 ModelDeployment valid\n", "")


def test_a_date_without_quotes_is_text_as_for_kubectl(validate: Validate) -> None:
    assert "version: 2026-11-20\n" in GOOD
    assert validate(GOOD)[0] == 0


MATCH = "traffic: {match: [{header: x, exact: VALUE}]}"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (
            "model: {version: 31e4, uri: pvc://m/1}",
            "spec.model.version: 310000: must be text: put it in quotes, as it stands in the file",
        ),
        (
            "model: {version: 72225e2, uri: pvc://m/1}",
            "spec.model.version: 7222500: must be text: put it in quotes, as it stands in the file",
        ),
        (
            MATCH.replace("VALUE", "y"),
            "spec.traffic.match.0.exact: True: must be text: put it in quotes, as it stands in the file",
        ),
        (
            MATCH.replace("VALUE", "0o17"),
            "spec.traffic.match.0.exact: 15: must be text: put it in quotes, as it stands in the file",
        ),
        (MATCH.replace("VALUE", "12:30"), ""),
        ("rollout: {alpha: 1e-3, riskBudget: 1e3}", ""),
        ("runtime: {replicas: 2.0}", ""),
        ("traffic: {retryOnStable: off}", ""),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(validate: Validate, field: str, told: str) -> None:
    text = GOOD.replace("  rollout:\n", f"  {field}\n") if "model:" not in field else GOOD[: GOOD.index("  model:")]
    status, out, _ = validate(text if field in text else f"{text}  {field}\n")
    assert (status, out) == ((1, f"0.yaml: fraud: {told}\n") if told else (0, "1 ModelDeployment valid\n"))


def test_a_bad_file_names_file_object_field_value_and_reason(validate: Validate) -> None:
    status, out, _ = validate(BAD)
    assert status == 1
    assert out == "0.yaml: churn: spec.rollout.alpha: 2: Input should be less than or equal to 0.2\n"


def test_all_documents_of_all_files_are_checked_and_other_kinds_passed_over(validate: Validate) -> None:
    status, out, _ = validate(f"{GOOD}---\n{OTHER}---\n---\n{BAD}", BAD)
    assert status == 1
    assert [line.split(": ")[:2] for line in out.splitlines()] == [["0.yaml", "churn"], ["1.yaml", "churn"]]
    assert validate(f"{GOOD}---\n{OTHER}", GOOD)[1] == "2 ModelDeployments valid\n"


def test_an_object_without_a_name_is_called_by_its_place(validate: Validate) -> None:
    _, out, _ = validate(f"{OTHER}---\n{GOOD.replace('name: fraud', 'labels: {}')}")
    assert out.startswith("0.yaml: document 2: metadata.name: None: ")


@pytest.mark.parametrize("text", [OTHER, "", "# nothing\n---\n"])
def test_files_without_a_model_deployment_are_the_wrong_question(validate: Validate, text: str) -> None:
    status, out, err = validate(text)
    assert (status, out) == (2, "")
    assert err == "no ModelDeployment in 0.yaml\n"


@pytest.mark.parametrize(
    "text", ["just text", "- a\n- list\n", "7", "a: 1", "kind:", "kind: 3", "kind: [ModelDeployment]"]
)
def test_what_is_no_object_of_a_kind_is_told_also_beside_a_good_one(validate: Validate, text: str) -> None:
    status, out, err = validate(text)
    assert (status, err) == (2, "no ModelDeployment in 0.yaml\n")
    assert out.startswith("0.yaml: document 1: ")
    status, out, _ = validate(f"{GOOD}---\n{text}")
    assert (status, out[:20]) == (1, "0.yaml: document 2: ")


@pytest.mark.parametrize("kind", ["modeldeployment", "ModelDeploymnet", "ModelDeployments", "Deployment"])
def test_a_kind_of_ours_that_there_is_not_is_told(validate: Validate, kind: str) -> None:
    status, out, _ = validate(GOOD, GOOD.replace("kind: ModelDeployment", f"kind: {kind}"))
    assert status == 1
    assert out.startswith(f"1.yaml: fraud: kind: '{kind}': must be one of ModelDeployment, ")


def listed(kind: str, *texts: str, version: str = "v1") -> str:
    return json.dumps({"apiVersion": version, "kind": kind, "items": [read(text).documents[0] for text in texts]})


@pytest.mark.parametrize(
    "text",
    [
        listed("List", GOOD, OTHER, BAD),
        listed("ModelDeploymentList", GOOD, BAD, version="headgate.dev/v1alpha1"),
        listed("List", listed("List", GOOD), listed("List", listed("List", BAD), OTHER)),
        write(read(listed("List", GOOD, BAD)).documents[0]),
        f"{GOOD}---\n{listed('List', BAD)}",
    ],
)
def test_items_of_lists_are_checked(validate: Validate, text: str) -> None:
    status, out, _ = validate(text)
    assert status == 1
    assert out == "0.yaml: churn: spec.rollout.alpha: 2: Input should be less than or equal to 0.2\n"
    assert validate(re.sub('(alpha"?: )2', r"\g<1>0.1", text))[1] == "2 ModelDeployments valid\n"


def test_items_of_a_list_of_one_kind_need_not_say_their_kind(validate: Validate) -> None:
    good, bad = (
        {k: v for k, v in read(text).documents[0].items() if k in ("metadata", "spec")} for text in (GOOD, BAD)
    )
    about = {"apiVersion": "headgate.dev/v1alpha1", "kind": "ModelDeploymentList"}
    assert validate(json.dumps({**about, "items": [good]}))[1] == "1 ModelDeployment valid\n"
    assert validate(json.dumps({**about, "items": [good, bad]}))[1].startswith("0.yaml: churn: spec.rollout.alpha: 2")


def test_what_is_wrong_with_a_list_is_told(validate: Validate) -> None:
    assert validate(GOOD, "kind: List\nitems: {a: 1}")[1] == "1.yaml: document 1: items: {'a': 1}: must be a list\n"
    assert validate(GOOD, "kind: List\nitems: [{}]")[1].startswith("1.yaml: document 1, item 1: kind: None: ")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ("labels: {version: 3}", "labels.version"),
        ("labels: {on: x, fraud: y}", "labels.fraud"),
        ("labels: {team: risk & fraud}", "labels.team"),
        ("labels: {team: -risk}", "labels.team"),
        (f"labels: {{team: {'a' * 64}}}", "labels.team"),
        ("labels: {a b: c}", "labels.a b"),
        ("labels: {My/a: c}", "labels.My/a"),
        ("labels: {/a: c}", "labels./a"),
        ("labels: {a/: c}", "labels.a/"),
        ("labels: {a/b/c: c}", "labels.a/b/c"),
        (f"labels: {{{'a' * 64}: c}}", f"labels.{'a' * 64}"),
        ("labels: [a]", "labels"),
        ("lables: {team: risk}", "lables"),
        ("annotations: {weight: 3}", "annotations.weight"),
        ("annotations: {a b: c}", "annotations.a b"),
        (f"annotations: {{a: {'x' * 262144}}}", "annotations"),
        ("namespace: My", "namespace"),
        ("namespace: 7", "namespace"),
        ("finalizers: [a b]", "finalizers.0"),
        ("ownerReferences: [{kind: Service, apiVersion: v1, name: x}]", "ownerReferences.0.uid"),
        ("generation: '1'", "generation"),
        ("creationTimestamp: yesterday", "creationTimestamp"),
    ],
)
def test_metadata_that_the_api_server_refuses(validate: Validate, metadata: str, field: str) -> None:
    status, out, _ = validate(GOOD.replace("name: fraud", f"name: fraud\n  {metadata}"))
    assert status == 1
    assert out.startswith(f"0.yaml: fraud: metadata.{field}: ")
    assert len(out.splitlines()) == 1


METADATA = """name: fraud
  namespace: risk
  labels: {app.kubernetes.io/name: fraud, team: 'yes', empty: '', version: "3", 'off': off.x_y-Z}
  annotations: {Example.dev/x: any text & more, kubectl.kubernetes.io/last-applied-configuration: '{}'}
  creationTimestamp: 2026-11-20T10:00:00Z
  generation: 3
  resourceVersion: "12345"
  uid: 3f1c0a52-6b53-4e7f-9d3c-2d8d5b1f6a11
  finalizers: [example.dev/wait]
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: u, controller: true}]
  managedFields: [{manager: kubectl, operation: Apply, fieldsV1: {'f:spec': {}}}]"""


@pytest.mark.parametrize(
    "metadata", [METADATA, "name: fraud\n  labels:\n  annotations: {a: }\n  creationTimestamp: null"]
)
def test_metadata_as_kubectl_shows_it_is_fine(validate: Validate, metadata: str) -> None:
    assert validate(GOOD.replace("name: fraud", metadata))[:2] == (0, "1 ModelDeployment valid\n")


def test_json_may_have_tabs_and_follow_json(validate: Validate) -> None:
    one = json.dumps(read(GOOD).documents[0], indent="\t")
    assert "\t" in one
    assert validate(one)[:2] == (0, "1 ModelDeployment valid\n")
    other = one.replace('"fraud"', '"churn"')
    assert validate(f"{one}\n{other}")[:2] == (0, "2 ModelDeployments valid\n")
    assert validate(one.replace('"fraud"', '"Fraud"'))[0] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace("rollout:", "rollout: {alpha: 0.1, alpha: 0.2}"), "0.yaml: line 10: alpha: "),
        (GOOD + "  model: {}\n", "0.yaml: line 11: model: "),
        (GOOD + "kind: Service\n", "0.yaml: line 11: kind: "),
        (GOOD.replace("name: fraud", "name: fraud\n  labels: {off: a, 'false': b}"), "0.yaml: line 6: false: "),
        (f"{GOOD}---\n{OTHER}spec: {{a: 1, a: 1}}\n", "0.yaml: line 15: a: "),
        (json.dumps(read(GOOD).documents[0]).replace('"uri"', '"version": "2", "uri"'), "0.yaml: version: "),
    ],
)
def test_a_key_that_stands_twice_is_told(validate: Validate, text: str, told: str) -> None:
    status, out, err = validate(text)
    assert status == 1 or err == "no ModelDeployment in 0.yaml\n"
    assert out.startswith(told)
    assert "twice" in out


def test_a_folder_is_read_as_kubectl_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more" / "deep.yaml").mkdir(parents=True)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "good.json").write_text(json.dumps(read(GOOD).documents[0]))
    (tmp_path / "README.md").write_text("{")
    (tmp_path / "more" / "bad.yml").write_text(BAD)
    assert main(["validate", "-f", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 ModelDeployments valid\n"
    assert main(["validate", "-R", "-f", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f"{tmp_path}/more/bad.yml: churn: spec.rollout.alpha")
    assert main(["validate", "-f", str(tmp_path / "more" / "deep.yaml")]) == 2
    assert "no ModelDeployment in " in capsys.readouterr().err


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("a.yaml", GOOD), ("a.json", json.dumps(read(GOOD).documents[0], indent=1))):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").replace('  "', '\t"').encode())
    assert main(["validate", "-f", str(tmp_path)]) == 0


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\tx: 1", "%bad", "!!python/object:os.system {}"])
def test_a_file_that_is_no_yaml_is_told(validate: Validate, text: str) -> None:
    status, _, err = validate(text)
    assert status == 2
    assert "can't be read as YAML" in err


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-f", str(tmp_path / "nope.yaml")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["validate", "-f", str(tmp_path / "bad.yaml")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_a_manifest_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD))
    assert main(["validate", "-f", "-"]) == 0
    assert capsys.readouterr().out == "1 ModelDeployment valid\n"


def test_a_long_value_is_shortened(validate: Validate) -> None:
    _, out, _ = validate(GOOD.replace("rollout:", f"governance: {{owner: {'x' * 300}}}"))
    assert "xxx...: String should have at most 253 characters" in out
    assert len(out) < 250


def test_without_a_file_there_is_nothing_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validate"])
    assert ended.value.code == 2
    assert "--filename" in capsys.readouterr().err


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
documents = st.fixed_dictionaries(
    {"kind": st.just("ModelDeployment")}, optional={"metadata": anything, "spec": anything}
)


@given(documents)
def test_any_document_gets_an_answer(document: dict[str, object]) -> None:
    assert check(read(write(document)).documents[0])


def test_one_name_twice_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "apiVersion: headgate.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: fraud, namespace: NS}\n"
    text += "spec: {model: {version: '1', uri: 's3://m/1'}}\n---\n"
    path = tmp_path / "both.yaml"
    path.write_text(text.replace("NS", "a") * 2)
    assert main(["validate", "-f", str(path)]) == 1
    assert "another ModelDeployment" in capsys.readouterr().out
    path.write_text(text.replace("NS", "a") + text.replace("NS", "b"))
    assert main(["validate", "-f", str(path)]) == 0
