"""YAML as kubectl reads it: each scalar against what kubectl makes of it, and what we write against every reader."""

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.generate import crd_files
from headgate_cli.manifest_text import Unreadable, read, write
from tools.setup import cache, tools

Kubectl = Callable[[Path], Any]

READ: dict[str, object] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["~", "null", "Null", "NULL", ""]),
    **{"31e4": 310000, "72225e2": 7222500, "1e3": 1000, "1E3": 1000, "1e+3": 1000, "1e-3": 0.001, "12e03": 12000},
    **{"2.0": 2, "1.50": 1.5, "1.": 1, ".5": 0.5, "+.5": 0.5, "-.5": -0.5, ".5e1": 5, "1.e2": 100, "-0.0": 0},
    **{"0": 0, "00": 0, "-0": 0, "+1": 1, "-1": -1, "017": 15, "-017": -15, "08": 8, "09.5": 9.5, "0o17": 15},
    **{"0O17": 15, "-0o17": -15, "0x1f": 31, "0X1F": 31, "-0x1f": -31, "+0x1f": 31, "0b11": 3, "0B11": 3, "-0b11": -3},
    **{
        "1_000": 1000,
        "0x_1f": 31,
        "1_0.5": 10.5,
        "_1": "_1",
        "1__0": 10,
        "1_": 1,
        ".1_0": 0.1,
        ".1_": ".1_",
        "._1": "._1",
        ".1__0": ".1__0",
        "1e1_0": 10**10,
    },
    **{"12:30": "12:30", "1:00:00": "1:00:00", "-1:30.5": "-1:30.5", "2026-11-20": "2026-11-20"},
    **{"2026-11-20T10:00:00Z": "2026-11-20T10:00:00Z", "2026-11-20 10:00:00": "2026-11-20 10:00:00"},
    **{"9223372036854775807": 2**63 - 1, "9223372036854775808": 2.0**63, "18446744073709551616": 2.0**64},
    **{
        "-9223372036854775808": -(2**63),
        "-9223372036854775809": -(2.0**63),
        "1234567890123456789e0": 1234567890123456800,
        "123456789012345678901234": 1.2345678901234568e23,
    },
    **{"1e20": 1e20, "1e21": 1e21, "1e400": "1e400", "-1e400": "-1e400", "1e-400": 0, ".5e999": ".5e999"},
    **{
        "0x": "0x",
        "0xg": "0xg",
        "0o8": "0o8",
        "0b2": "0b2",
        "0x1.8p1": "0x1.8p1",
        "1e": "1e",
        "e1": "e1",
        "1.2.3": "1.2.3",
    },
    **{"+": "+", "-x": "-x", ".": ".", "..": "..", ".e3": ".e3", "+12e03": 12000, "1e3.5": "1e3.5", "0e0": 0, "0_7": 7},
    **{"yES": "yES", "tRUE": "tRUE", "nULL": "nULL", "=": "=", "<<": "<<", "Infinity": "Infinity", "NaN": "NaN"},
    **{
        "inf": "inf",
        ".Infinity": ".Infinity",
        "4f": "4f",
        "1d": "1d",
        "72225e2a": "72225e2a",
        "v1": "v1",
        "None": "None",
    },
    **{"1Gi": "1Gi", "500m": "500m", "1,000": "1,000", "0777": 511, "0778": 778, "-08": -8, "٣": "٣", "1۰": "1۰"},
    **{"'12'": "12", '"y"': "y", "!!str 12": "12", "!!float 3": 3, "!!int '3'": 3, "!!bool y": True, "!!str": ""},
    **{"!!binary aGk=": "hi", "!!timestamp 2026-11-20": "2026-11-20"},
}
"""A scalar, and what kubectl takes it for."""

KEYS = {"y: 1": "true", "off: 1": "false", "1: 1": "1", "0x10: 1": "16", "1.5: 1": "1.5", "1e3: 1": "1000", "a: 1": "a"}


def same(one: object, other: object) -> bool:
    """Equal, and of the same kind: 1 is not True, and 1.5 is not "1.5"."""
    return type(one) is type(other) and one == other


@pytest.fixture(scope="module")
def kubectl() -> Kubectl:
    """kubectl, where the cluster's programs are built already."""
    tool = next(tool for tool in tools.TOOLS if tool.name == "kube")
    program = cache.root() / "tools" / f"kube-{tool.key}" / "kube"
    if not program.exists():
        pytest.skip("kubectl is not built")

    def run(path: Path) -> Any:
        """The object as kubectl would send it; None if it can't read it."""
        words: list[str | Path] = [program, "kubectl", "label", "--local", "--filename", path, "a=b", "--output=json"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, env={"HOME": str(path.parent)})
        return json.loads(done.stdout, parse_int=whole) if done.returncode == 0 else None

    def whole(digits: str) -> int | float:
        return int(digits) if -(2**63) <= int(digits) < 2**63 else float(digits)

    return run


def manifest(lines: Iterable[str]) -> str:
    head = "apiVersion: headgate.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: fraud}\nspec:\n"
    return head + "".join(f"  {line}\n" for line in lines)


@pytest.mark.parametrize("text", READ)
def test_a_scalar_is_read_as_kubectl_reads_it(text: str) -> None:
    (document,) = read(f"a: {text}\n").documents
    assert same(document["a"], READ[text])


@pytest.mark.parametrize("line", KEYS)
def test_a_key_is_text(line: str) -> None:
    assert read(line).documents == [{KEYS[line]: 1}]


def test_kubectl_itself_reads_the_table_so(kubectl: Kubectl, tmp_path: Path) -> None:
    place = tmp_path / "sweep.yaml"
    place.write_text(
        manifest([*(f"k{at}: {text}" for at, text in enumerate(READ)), "keys:", *(f"  {k}" for k in KEYS)])
    )
    spec = kubectl(place)["spec"]
    keys = spec.pop("keys")
    said = {text: spec[f"k{at}"] for at, text in enumerate(READ)}
    wrong = {text: (said[text], READ[text]) for text in READ if said[text] != READ[text]}
    assert wrong == {}
    assert set(keys) == set(KEYS.values())
    (ours,) = read(place.read_text()).documents
    assert ours["spec"] == {**spec, "keys": keys}


def test_made_up_scalars_are_read_as_kubectl_reads_them(kubectl: Kubectl, tmp_path: Path) -> None:
    pieces = ["0", "1", "7", "8", "12", "e", "E", ".", "-", "+", "_", "x", "o", "b", ":", "f", "inf", "y", "n"]
    made = [a + b + c for a in pieces for b in pieces for c in pieces]
    fit = [text for text in made if not text.endswith(":") and text[0] != ":" and ".inf" not in text and text != "---"]
    place = tmp_path / "sweep.yaml"
    place.write_text(manifest(f"k{at}: {text}" for at, text in enumerate(fit)))
    theirs = kubectl(place)["spec"]
    (ours,) = read(place.read_text()).documents
    assert len(fit) > 5000
    wrong = {
        text: (theirs[f"k{at}"], ours["spec"][f"k{at}"])
        for at, text in enumerate(fit)
        if not same(theirs[f"k{at}"], ours["spec"][f"k{at}"])
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "text",
    [
        "a: .inf",
        "a: -.Inf",
        "a: .nan",
        "? [a]\n: 1",
        "~: 1",
        "a: &x [*x]",
        "a: !!int y",
        "a: !x 1",
        "a: !!map 3",
        "a: !!int [1]",
        "{a: 1}: 2",
        "<<: 3",
    ],
)
def test_what_json_does_not_have_can_not_be_read(text: str, kubectl: Kubectl, tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        read(text)
    place = tmp_path / "bad.yaml"
    place.write_text(manifest([text.replace("\n", "\n  ")]))
    if "!" not in text:
        assert kubectl(place) is None


def test_few_lines_of_aliases_do_not_fill_the_memory() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(Unreadable, match="values"):
        read(text)


def test_what_is_nested_without_end_can_not_be_read() -> None:
    with pytest.raises(Unreadable, match="nested"):
        read("[" * 5000)


def test_a_merge_brings_keys_in_and_repeats_none() -> None:
    found = read("base: &b {<<: {x: 1}, x: 2}\nuse:\n  <<: *b\n  x: 3\n")
    assert found.documents == [{"base": {"x": 2}, "use": {"x": 3}}]
    assert found.repeated == []


WRITTEN = [
    "72225e2",
    "31e4",
    "y",
    "no",
    "0o17",
    "08",
    "12:30",
    "1e-3",
    "~",
    "",
    "2026-11-20",
    "1_0",
    ".5",
    "null",
    "<<",
]


@pytest.mark.parametrize(
    "text", [*WRITTEN, "it's", 'a "b"', "ü", "a: b", "# x", "- x", "a\nb", "\x07", " x ", "x" * 300]
)
def test_text_that_is_written_is_text_to_every_reader(text: str) -> None:
    written = write({"value": text, text: ["x", text], "y": text})
    assert read(written).documents == [yaml.safe_load(written)] == [{"value": text, text: ["x", text], "y": text}]


def test_text_that_is_written_is_text_to_kubectl(kubectl: Kubectl, tmp_path: Path) -> None:
    document = {**read(manifest([])).documents[0], "spec": {"values": WRITTEN, **dict.fromkeys(["y", "12", "a"], "z")}}
    place = tmp_path / "written.yaml"
    place.write_text(write(document))
    assert kubectl(place)["spec"] == document["spec"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    assert read(write([text])).documents == [[text]]


@pytest.mark.parametrize("name", crd_files())
def test_the_generated_manifests_are_one_thing_to_every_reader(name: str) -> None:
    text = crd_files()[name]
    assert read(text).documents == [yaml.safe_load(text)]
