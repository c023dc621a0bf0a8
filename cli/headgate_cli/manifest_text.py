"""Manifests as text: reads YAML and JSON as kubectl does, and writes YAML that every reader takes alike.

`validate` and `simulate` read with it, `package` prints with it. kubectl reads YAML with sigs.k8s.io/yaml, which is
go-yaml 2, into JSON, and PyYAML knows other scalars: to go-yaml `y` is true, `31e4` and `0o17` are numbers, and
`12:30` is text. Behind it everything is JSON: keys are text, and whole numbers have no point (`2.0` is 2).
"""

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, Any] = {
    **{word: True for each in ("y", "yes", "true", "on") for word in (each, each.capitalize(), each.upper())},
    **{word: False for each in ("n", "no", "false", "off") for word in (each, each.capitalize(), each.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + word: math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **{"-" + word: -math.inf for word in (".inf", ".Inf", ".INF")},
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_STRAY = re.compile(r"(?<![0-9])_|_(?![0-9])")
_INTEGERS = (
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"([-+]?)0[oO]([0-7]+)"), 8),
    (re.compile(r"([-+]?)0[bB]([01]+)"), 2),
    (re.compile(r"([-+]?)0([0-7]*)"), 8),
    (re.compile(r"([-+]?)([1-9][0-9]*)"), 10),
)
_MOST_VALUES = 1_000_000
"""In one document. With aliases a few lines can stand for more than there is memory."""


class Unreadable(Exception):
    """This is no manifest that kubectl could read; the message says why."""


@dataclass(frozen=True)
class Repeated:
    """A key that stands twice in one mapping. kubectl would take the last and drop the others without a word."""

    key: str
    line: int | None = None
    """From 1; not known for JSON."""


@dataclass(frozen=True)
class Text:
    """What a file holds."""

    documents: list[Any]
    """Each as JSON has it, without those that are empty."""
    repeated: list[Repeated]


def scalar(text: str) -> Any:
    """What a plain scalar of YAML stands for: a bool, an int, a float, None, or the text itself.

    After `resolve` of go-yaml 2. Its dates are left out: where they are decoded into JSON, they are text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return text if _STRAY.search(text) else _float(text)
    if text[0] not in "+-0123456789":
        return text
    digits = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if found := pattern.fullmatch(digits):
            value = int(found[1] + (found[2] or "0"), base)
            if -(2**63) <= value < (2**63 if found[1] else 2**64):
                return value
    return _float(text)


def _float(text: str) -> Any:
    """The number; the text itself where it is none, or one too large."""
    digits = text.replace("_", "")
    if not _FLOAT.fullmatch(digits) or math.isinf(value := float(digits)):
        return text
    return value


def read(text: str) -> Text:
    """All documents of a file. Raises Unreadable."""
    try:
        found = (_read_json(text) if text.lstrip().startswith("{") else None) or _read_yaml(text)
        return Text([_as_json(each) for each in found.documents if each is not None], found.repeated)
    except yaml.YAMLError as error:
        raise Unreadable(str(error)) from error
    except RecursionError:
        raise Unreadable("it is nested too deeply, or an alias stands inside of what it names") from None


def _read_json(text: str) -> Text | None:
    """As JSON, one object after the other; None if it is not."""
    documents: list[Any] = []
    repeated: list[Repeated] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = dict(found)
        if len(whole) < len(found):
            keys = [key for key, _ in found]
            repeated.extend(Repeated(key) for key in whole if keys.count(key) > 1)
        return whole

    decoder, at = json.JSONDecoder(object_pairs_hook=pairs), 0
    try:
        while at < len(text):
            if text[at] in " \t\r\n":
                at += 1
                continue
            one, at = decoder.raw_decode(text, at)
            documents.append(one)
    except ValueError:
        return None
    return Text(documents, repeated)


def _read_yaml(text: str) -> Text:
    loader = _Loader(text)
    documents = []
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]
            documents.append(loader.get_data())
    finally:
        loader.dispose()
    return Text(documents, loader.repeated)


class _Loader(yaml.SafeLoader):
    """PyYAML's grammar with go-yaml's scalars."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[Repeated] = []

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """The tag of a node. Only scalars without quotes are anything but text."""
        if kind is not yaml.ScalarNode:
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return _TAG + ("str" if not implicit[0] else "merge" if value == "<<" else _kind(scalar(value)))

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Looks at the keys before merges bring in others."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _TAG + "merge":
                name = _key(scalar(key.value) if key.tag != _TAG + "str" else key.value)
                if name in seen:
                    self.repeated.append(Repeated(name, key.start_mark.line + 1))
                seen.add(name)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """With keys as text: in Python 1 and true would be one."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "expected a mapping", node.start_mark)
        self.flatten_mapping(node)
        return {
            _key(self.construct_object(key, deep=True)): self.construct_object(value, deep=deep)
            for key, value in node.value
        }

    def scalar_of(self, node: yaml.ScalarNode) -> Any:
        """A number, a boolean, or nothing; with a tag, what the tag asks for."""
        value = scalar(str(self.construct_scalar(node)))
        if _TAG + _kind(value) == node.tag:
            return value
        if node.tag == _TAG + "float" and isinstance(value, int):
            return float(value)
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value!r} is no {node.tag.removeprefix(_TAG)}", node.start_mark
        )

    def text_of(self, node: yaml.ScalarNode) -> Any:
        """A date is text, as is << where it merges nothing."""
        return self.construct_scalar(node)


def _kind(value: Any) -> str:
    return {bool: "bool", int: "int", float: "float", str: "str"}.get(type(value), "null")


_Loader.yaml_constructors = {
    **{_TAG + each: _Loader.scalar_of for each in ("bool", "int", "float", "null")},
    **{_TAG + each: _Loader.text_of for each in ("str", "timestamp", "merge")},
    **{_TAG + each: yaml.SafeLoader.yaml_constructors[_TAG + each] for each in ("map", "seq", "binary")},
    None: yaml.SafeLoader.yaml_constructors[None],
}


def _as_json(document: Any) -> Any:
    """As it comes out behind JSON. Raises Unreadable for what JSON does not have."""
    left = iter(range(_MOST_VALUES))

    def convert(value: Any) -> Any:
        if next(left, None) is None:
            raise Unreadable(f"a document holds more than {_MOST_VALUES:,} values")
        if isinstance(value, dict):
            return {key: convert(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [convert(inner) for inner in value]
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    return convert(document)


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise Unreadable(f"{value} is no number that JSON has")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        value = int(Decimal(repr(value)))  # the digits that Go writes
    return value if -(2**63) <= value < 2**63 else float(value)


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, int | float):
        return f"{key:g}" if isinstance(key, float) else str(key)
    if not isinstance(key, str):
        raise Unreadable(f"{key!r} can't be a key")
    return key


class _Dumper(yaml.SafeDumper):
    """Puts all text in quotes, so that no reader takes it for a number, a boolean, a date, or nothing."""

    def text(self, value: str) -> yaml.Node:
        """A scalar in quotes."""
        return self.represent_scalar(_TAG + "str", value, style='"')

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """Keys that are plain words to all readers go without."""
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and _is_plain_word(key.value):
                key.style = None
        return node

    def ignore_aliases(self, data: Any) -> bool:
        """What stands twice is written twice."""
        return True


_Dumper.add_representer(str, _Dumper.text)


def _is_plain_word(text: str) -> bool:
    return re.fullmatch("[A-Za-z]{2,}", text) is not None and isinstance(scalar(text), str)


def write(document: Any) -> str:
    """YAML of one document, keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)
