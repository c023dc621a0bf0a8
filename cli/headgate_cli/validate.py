"""`headgate validate -f FILE`: would the API server take these manifests? The same models and rules, offline."""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from headgate.api import API_VERSION, GROUP
from headgate.api.fallback_rules import NOT_ITSELF
from headgate.api.quantities import DURATION_PATTERN, PERCENT_PATTERN, SIZE_PATTERN
from headgate.api.rules import SHORT_NAME
from headgate.api.spec import DIGEST_PATTERN, VERSION_PATTERN, Spec
from headgate_cli.manifest_text import Unreadable, read
from headgate_cli.metadata import ObjectMeta
from headgate_cli.tried_queries import tried

KIND = "ModelDeployment"
KINDS = (KIND, "ModelRevision", f"{KIND}List", "ModelRevisionList")
_SHORT_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_FILES = (".json", ".yaml", ".yml")
_UNREADABLE = (OSError, Unreadable, UnicodeDecodeError)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what stands there, why it can't."""

    where: str
    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.value}: {self.reason}"


_EXPECTED = {
    DURATION_PATTERN: "a duration, such as 250ms, 90s or 1h30m",
    SIZE_PATTERN: "a size, such as 10Mi",
    PERCENT_PATTERN: "a percentage, such as 0.5%",
    VERSION_PATTERN: "letters, digits, dots, dashes and underscores, with a letter or digit at both ends",
    DIGEST_PATTERN: "sha256: and 64 hexadecimal digits in lower case, as `headgate digest` prints it",
}
"""What a pattern is for, by the pattern."""


class SpecUnreadable(Exception):
    """There is no valid ModelDeployment in a file; the message says why."""


@dataclass(frozen=True)
class File:
    """What a file holds."""

    found: list[tuple[str, dict[str, Any]]]
    """Each ModelDeployment, with where it is."""
    findings: list[Finding]
    """What is wrong with the file apart from them."""


def read_spec(path: Path) -> Spec:
    """The spec of the only ModelDeployment in a file. Raises SpecUnreadable."""
    try:
        file = look_into(str(path), path.read_text(encoding="utf-8-sig"))
    except _UNREADABLE as error:
        raise SpecUnreadable(f"{path} can't be read as YAML: {error}") from error
    if len(file.found) != 1:
        raise SpecUnreadable(f"{path} holds {len(file.found)} objects of kind {KIND}; give a file with one")
    document = file.found[0][1]
    if findings := [*file.findings, *check(document, str(path))]:
        raise SpecUnreadable("\n".join(map(str, findings)))
    return Spec.model_validate(_without_nulls(document["spec"]), strict=True)


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("validate", help="check manifests offline with the API server's rules")
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML or JSON, a folder, or - for stdin",
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="look into folders inside of folders too")
    parser.add_argument(
        "--prometheus", type=_address, metavar="URL", help="ask it what the queries of spec.rollout.signals give now"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check every ModelDeployment of every file; other kinds are passed over."""
    findings, checked, valid = list[Finding](), 0, list[tuple[str, dict[str, Any]]]()
    for name in arguments.filename:
        for path in _files(name, arguments.recursive):
            try:
                text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
                file = look_into(path, text)
            except _UNREADABLE as error:
                print(f"{path}: can't be read as YAML: {error}", file=sys.stderr)
                return 2
            checked += len(file.found)
            findings += _twice(file.found)
            findings += file.findings
            for where, each in file.found:
                wrong = check(each, where)
                findings += wrong
                valid += [] if wrong else [(where, each)]
    for finding in findings:
        print(finding)
    if not checked:
        print(f"no {KIND} in {', '.join(arguments.filename)}", file=sys.stderr)
        return 2
    if not findings:
        print(f"{checked} {KIND}{'s' if checked > 1 else ''} valid")
    read = [_tried(document, where, arguments.prometheus) for where, document in valid] if arguments.prometheus else []
    return 1 if findings or not all(read) else 0


def _tried(document: dict[str, Any], where: str, prometheus: str) -> bool:
    """Print what each query of its signals gives now; whether each gives a number for some version."""
    spec = Spec.model_validate(_without_nulls(document["spec"]), strict=True)
    namespace = document["metadata"].get("namespace") or "default"
    results = [result for signal in spec.rollout.signals for result in tried(prometheus, signal, namespace)]
    for result in results:
        print(f"{where}: {result.text}")
    return all(result.is_read for result in results)


def _address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as http://prometheus.monitoring:9090")
    return text.rstrip("/")


def _files(name: str, recursive: bool) -> list[str]:
    """As kubectl: of a folder the files with names that end as those of manifests do, in their order."""
    if name == "-" or not Path(name).is_dir():
        return [name]
    inside = Path(name).rglob("*") if recursive else Path(name).iterdir()
    return [str(path) for path in sorted(inside) if path.suffix in _FILES and path.is_file()]


def look_into(name: str, text: str) -> File:
    """All ModelDeployments of a file, those in lists too. Raises Unreadable."""
    contents = read(text)
    file = File([], [])
    for each in contents.repeated:
        where = f"{name}: line {each.line}" if each.line else name
        file.findings.append(Finding(where, each.key, "-", "stands here twice, and only one of them would count"))
    for index, document in enumerate(contents.documents):
        _sort(document, f"{name}: ", f"document {index + 1}", file)
    return file


def _sort(document: Any, place: str, otherwise: str, file: File) -> None:
    """Put what a document holds into `file`; a list is what its items are."""
    where = place + (_label(document) or otherwise)
    if not isinstance(document, dict):
        file.findings.append(Finding(where, "-", _shown(document), "must be an object with apiVersion and kind"))
        return
    kind, version = document.get("kind"), document.get("apiVersion")
    ours = isinstance(version, str) and version.partition("/")[0] == GROUP
    if not isinstance(kind, str) or not kind or (ours and kind not in KINDS):
        reason = f"must be one of {', '.join(KINDS)}" if ours else "must be the kind of the object"
        file.findings.append(Finding(where, "kind", repr(kind), reason))
    elif kind == KIND:
        file.found.append((where, document))
    elif kind.endswith("List") and "items" in document:
        items = document["items"]
        if not isinstance(items, list):
            file.findings.append(Finding(where, "items", _shown(items), "must be a list"))
            return
        for number, item in enumerate(items):
            bare = isinstance(item, dict) and kind != "List" and not {"kind", "apiVersion"} & set(item)
            whole = {"apiVersion": version, "kind": kind.removesuffix("List"), **item} if bare else item
            _sort(whole, place, f"{otherwise}, item {number + 1}", file)


def _twice(found: list[tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
    """Objects of one name and namespace in one file: the last one would take the place of the others."""
    seen = set[tuple[str, str]]()
    for where, document in found:
        metadata = document.get("metadata")
        name = _label(document)
        if not isinstance(metadata, dict) or name is None:
            continue
        whose = (str(metadata.get("namespace") or ""), name)
        if whose in seen:
            yield Finding(where, "metadata.name", repr(name), "is the name of another ModelDeployment in this file")
        seen.add(whose)


def check(document: dict[str, Any], where: str = KIND) -> list[Finding]:
    """Everything that is wrong with one ModelDeployment."""
    return list(_findings(document, where))


def _findings(document: dict[str, Any], where: str) -> Iterator[Finding]:
    if document.get("apiVersion") != API_VERSION:
        yield Finding(where, "apiVersion", repr(document.get("apiVersion")), f"must be {API_VERSION}")
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not _SHORT_NAME.fullmatch(name):
        yield Finding(where, SHORT_NAME.field, repr(name), SHORT_NAME.message)
    if isinstance(metadata, dict):
        try:
            ObjectMeta.model_validate(_without_nulls(metadata), strict=True)
        except ValidationError as error:
            yield from _told(error, where, "metadata")
    for key in sorted(set(document) - {"apiVersion", "kind", "metadata", "spec", "status"}):
        yield Finding(where, key, _shown(document[key]), "unknown field")
    if "spec" not in document:
        yield Finding(where, "spec", "-", "is required")
        return
    try:
        spec = Spec.model_validate(_without_nulls(document["spec"]), strict=True)
        if any(each.modelDeployment == name for each in spec.traffic.fallback):
            yield Finding(where, NOT_ITSELF.field, repr(name), NOT_ITSELF.message)
    except ValidationError as error:
        yield from _told(error, where, "spec")


def _told(error: ValidationError, where: str, root: str) -> Iterator[Finding]:
    for detail in error.errors():
        field = ".".join([root, *(str(part) for part in detail["loc"] if part != "[key]")])
        unknown = detail["type"] == "extra_forbidden"
        reason = "unknown field" if unknown else _reason(detail)
        value = "-" if detail["type"] == "missing" else _shown(detail["input"])
        yield Finding(where, field, value, reason)


def _reason(detail: ErrorDetails) -> str:
    """What is wrong with a field, and what to do."""
    if detail["type"] == "string_type" and isinstance(detail["input"], bool | int | float):
        return "must be text: put it in quotes, as it stands in the file"
    pattern = detail.get("ctx", {}).get("pattern", "")
    if detail["type"] == "string_pattern_mismatch" and pattern in _EXPECTED:
        return f"must be {_EXPECTED[pattern]}"
    return detail["msg"].removeprefix("Value error, ")


def _without_nulls(value: Any) -> Any:
    """As the API server does it: a field that is null counts as left out."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _label(document: Any) -> str | None:
    """What an object is called."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) and name else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
