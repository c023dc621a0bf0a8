"""`headgate validate -f FILE`: would the API server take these manifests? The same models and rules, offline."""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headgate.api import API_VERSION
from headgate.api.fallback_rules import NOT_ITSELF
from headgate.api.rules import SHORT_NAME
from headgate.api.spec import Spec
from headgate.cli.manifest_text import Unreadable, read

KIND = "ModelDeployment"
_SHORT_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


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


class SpecUnreadable(Exception):
    """There is no valid ModelDeployment in a file; the message says why."""


def read_spec(path: Path) -> Spec:
    """The spec of the only ModelDeployment in a file. Raises SpecUnreadable."""
    try:
        found = [
            d for d in read(path.read_text(encoding="utf-8")).documents if isinstance(d, dict) and d.get("kind") == KIND
        ]
    except _UNREADABLE as error:
        raise SpecUnreadable(f"{path} can't be read as YAML: {error}") from error
    if len(found) != 1:
        raise SpecUnreadable(f"{path} holds {len(found)} objects of kind {KIND}; give a file with one")
    if findings := check(found[0], str(path)):
        raise SpecUnreadable("\n".join(map(str, findings)))
    return Spec.model_validate(_without_nulls(found[0]["spec"]), strict=True)


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("validate", help="check manifests offline with the API server's rules")
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE", help="YAML file, or - for stdin"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check every ModelDeployment of every file; other kinds are passed over."""
    findings, checked = [], 0
    for name in arguments.filename:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
            documents = read(text).documents
        except _UNREADABLE as error:
            print(f"{name}: can't be read as YAML: {error}", file=sys.stderr)
            return 2
        for index, document in enumerate(documents):
            if isinstance(document, dict) and document.get("kind") == KIND:
                checked += 1
                findings += check(document, _where(name, index, document))
    for finding in findings:
        print(finding)
    if not checked:
        print(f"no {KIND} in {', '.join(arguments.filename)}", file=sys.stderr)
        return 2
    if not findings:
        print(f"{checked} {KIND}{'s' if checked > 1 else ''} valid")
    return 1 if findings else 0


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
        for detail in error.errors():
            field = ".".join(["spec", *(str(part) for part in detail["loc"])])
            unknown = detail["type"] == "extra_forbidden"
            reason = "unknown field" if unknown else detail["msg"].removeprefix("Value error, ")
            value = "-" if detail["type"] == "missing" else _shown(detail["input"])
            yield Finding(where, field, value, reason)


def _without_nulls(value: Any) -> Any:
    """As the API server does it: a field that is null counts as left out."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _where(name: str, index: int, document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    label = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{name}: {label or f'document {index + 1}'}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
