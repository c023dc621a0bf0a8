"""`headgate validate` as people call it: files in, findings and an exit status out."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cli import main
from headgate.cli.manifest_text import read, write
from headgate.cli.validate import check

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


@pytest.fixture
def validate(tmp_path, capsys):
    """Write the texts into files and validate them: exit status, standard output, standard error."""

    def run(*texts):
        files = [tmp_path / f"{i}.yaml" for i in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        status = main(["validate", *(word for file in files for word in ("-f", str(file)))])
        out, err = capsys.readouterr()
        return status, out.replace(str(tmp_path) + "/", ""), err.replace(str(tmp_path) + "/", "")

    return run


def test_a_good_file(validate):
    assert validate(GOOD) == (0, "1 ModelDeployment valid\n", "")


def test_a_date_without_quotes_is_text_as_for_kubectl(validate):
    assert "version: 2026-11-20\n" in GOOD
    assert validate(GOOD)[0] == 0


MATCH = "traffic: {match: [{header: x, exact: VALUE}]}"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("model: {version: 31e4, uri: pvc://m/1}", "spec.model.version: 310000: Input should be a valid string"),
        ("model: {version: 72225e2, uri: pvc://m/1}", "spec.model.version: 7222500: Input should be a valid string"),
        (MATCH.replace("VALUE", "y"), "spec.traffic.match.0.exact: True: Input should be a valid string"),
        (MATCH.replace("VALUE", "0o17"), "spec.traffic.match.0.exact: 15: Input should be a valid string"),
        (MATCH.replace("VALUE", "12:30"), ""),
        ("rollout: {alpha: 1e-3, riskBudget: 1e3}", ""),
        ("runtime: {replicas: 2.0}", ""),
        ("traffic: {retryOnStable: off}", ""),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(validate, field, told):
    text = GOOD.replace("  rollout:\n", f"  {field}\n") if "model:" not in field else GOOD[: GOOD.index("  model:")]
    status, out, _ = validate(text if field in text else f"{text}  {field}\n")
    assert (status, out) == ((1, f"0.yaml: fraud: {told}\n") if told else (0, "1 ModelDeployment valid\n"))


def test_a_bad_file_names_file_object_field_value_and_reason(validate):
    status, out, _ = validate(BAD)
    assert status == 1
    assert out == "0.yaml: churn: spec.rollout.alpha: 2: Input should be less than or equal to 0.2\n"


def test_all_documents_of_all_files_are_checked_and_other_kinds_passed_over(validate):
    status, out, _ = validate(f"{GOOD}---\n{OTHER}---\n---\n{BAD}", BAD)
    assert status == 1
    assert [line.split(": ")[:2] for line in out.splitlines()] == [["0.yaml", "churn"], ["1.yaml", "churn"]]
    assert validate(f"{GOOD}---\n{OTHER}", GOOD)[1] == "2 ModelDeployments valid\n"


def test_an_object_without_a_name_is_called_by_its_place(validate):
    _, out, _ = validate(f"{OTHER}---\n{GOOD.replace('name: fraud', 'labels: {}')}")
    assert out.startswith("0.yaml: document 2: metadata.name: None: ")


@pytest.mark.parametrize("text", [OTHER, "", "just text", "- a\n- list\n"])
def test_files_without_a_model_deployment_are_the_wrong_question(validate, text):
    status, out, err = validate(text)
    assert (status, out) == (2, "")
    assert err == "no ModelDeployment in 0.yaml\n"


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\tx: 1", "%bad", "!!python/object:os.system {}"])
def test_a_file_that_is_no_yaml_is_told(validate, text):
    status, _, err = validate(text)
    assert status == 2
    assert "can't be read as YAML" in err


def test_a_file_that_is_not_there_is_told(tmp_path, capsys):
    assert main(["validate", "-f", str(tmp_path / "nope.yaml")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_told(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["validate", "-f", str(tmp_path / "bad.yaml")]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_a_manifest_from_standard_input(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD))
    assert main(["validate", "-f", "-"]) == 0
    assert capsys.readouterr().out == "1 ModelDeployment valid\n"


def test_a_long_value_is_shortened(validate):
    _, out, _ = validate(GOOD.replace("rollout:", f"governance: {{owner: {'x' * 300}}}"))
    assert "xxx...: String should have at most 253 characters" in out
    assert len(out) < 250


def test_without_a_file_there_is_nothing_to_check(capsys):
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
def test_any_document_gets_an_answer(document):
    assert check(read(write(document)).documents[0])
