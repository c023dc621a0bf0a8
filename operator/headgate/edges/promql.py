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


def gained(metric: str, started: str, whose: Labels, more: Labels, by: Iterable[str], seconds: float) -> str:
    """How many more a counter counted within the last `seconds`, all pods together, for each value of labels `by`.

    A pod that was there at the beginning counts its difference. One that began since counts from 0, by what it says in
    the series `started` (seconds since the epoch); all of its counters do, whatever their values. `whose` chooses the
    pods, `more` the counters. Unlike `increase` it gives whole numbers, and a new pod's first ones. What a pod counted
    between its last sample and its end is lost, and where it was not scraped at the beginning, the whole of it: some
    rows fewer, of no particular kind.
    """
    counter, began = selector((metric,), {**whose, **more}), selector((started,), whose)
    span = f"{max(1, round(seconds))}s"
    stayed = f"({counter} - {counter} offset {span}) and on (instance, pod) ({began} == {began} offset {span})"
    anew = f"{counter} and on (instance, pod) ({began} > time() - {max(1, round(seconds))})"
    return f"sum by ({', '.join(by)}) (({stayed}) or ({anew}))"


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
