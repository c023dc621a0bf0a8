"""Selectors of PromQL. The only place where text enters a query: everything is escaped here, whoever wrote it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AnyOf:
    """A label that has one of these values."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class StartsWith:
    """A label whose value begins with a text."""

    text: str


Labels = Mapping[str, str | AnyOf | StartsWith]
"""What labels of a series have to be."""


def selector(names: Iterable[str], labels: Labels) -> str:
    """`{__name__=~"a|b",namespace="models"}`: all series with one of these names and these labels."""
    wanted: Labels = {"__name__": AnyOf(tuple(names)), **labels}
    return "{" + ",".join(_matcher(name, value) for name, value in wanted.items()) + "}"


def quoted(text: str) -> str:
    """A string of PromQL. What can't be written in UTF-8, and so is in no label, becomes question marks."""
    clean = text.encode(errors="replace").decode()
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _matcher(name: str, value: str | AnyOf | StartsWith) -> str:
    """Prometheus anchors patterns at both ends. What Python escapes RE2 takes for the character itself."""
    if isinstance(value, AnyOf):
        return f"{name}=~{quoted('|'.join(map(re.escape, value.values)))}"
    if isinstance(value, StartsWith):
        return f"{name}=~{quoted(re.escape(value.text) + '(?s:.*)')}"
    return f"{name}={quoted(value)}"
