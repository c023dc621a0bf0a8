"""The candidates: what is wrong with each, and by when it has to be found. Artifacts are those of `demo.candidates`,
faults of the server those of `demo.faults`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["start", "preflight", "shadow", "canary", "soaking"]

RATE = 25.0
"""Requests a second of the clients, unless a kind has its own traffic."""


@dataclass(frozen=True)
class Bad:
    """A candidate that has to go."""

    name: str
    what: str
    by: Where
    """The last phase in which it may be found: before the canary no user is ever asked to try it."""
    artifact: str = "stable"
    fault: str = ""


@dataclass(frozen=True)
class Good:
    """A candidate that has to be promoted."""

    name: str
    what: str
    artifact: str = "stable"
    stable: str = "stable"
    stable_fault: str = ""
    fault: str = ""
    engine: bool = False
    """Whether it runs on another engine than stable."""
    rate: float = RATE
    burst: str = ""


BAD = (
    Bad("renamed input", "a new export has another name for the input", "preflight", "renamed-input"),
    Bad("renamed outputs", "and for the outputs", "preflight", "renamed-outputs"),
    Bad("dropped column", "15 features instead of 16", "preflight", "fewer-columns"),
    Bad("dropped output", "no probabilities", "preflight", "dropped-output"),
    Bad("retyped input", "FP64 instead of FP32", "preflight", "double-input"),
    Bad("retyped output", "the label as text", "preflight", "text-label"),
    Bad("batch lost", "takes one row at a time", "preflight", "no-batch"),
    Bad("another task", "a model of flowers", "preflight", "other-task"),
    Bad("columns swapped at export", "samples.json was made before the export", "preflight", "swapped-at-export"),
    Bad("truncated artifact", "half of model.onnx, with a manifest that fits", "start", "cut"),
    Bad("crash at load", "the process ends while the model is loaded", "start", fault="crash-at-load"),
    Bad("crash on the first request", "", "preflight", fault="crash-first"),
    Bad("hang", "no answer to anything", "preflight", fault="hang"),
    Bad("error", "an error for every request", "preflight", fault="error"),
    Bad("labels flipped", "the label alone is the other one", "shadow", "flipped-label"),
    Bad("classes permuted", "labels and probabilities in another order", "shadow", "permuted-classes"),
    Bad("unscaled inputs", "was trained on inputs of another scale", "canary", "unscaled"),
    Bad("swapped columns, shifted", "31 points fewer get the label 1", "canary", "swapped"),
    Bad("shuffled columns, not shifted", "38 % get another label, as many the label 1", "canary", "shuffled"),
    Bad("constant answer", "1 for everybody", "canary", "constant"),
    Bad("NaN for some", "of 2.7 % of the people", "canary", "nan-for-some"),
    Bad("infinity for some", "of 2.7 % of the people", "canary", "infinite-for-some"),
    Bad("short table", "an error for a code that the table lacks, 6 % of the people", "canary", "short-table"),
    Bad("5 % errors", "", "canary", fault="some-errors"),
    Bad("2 % errors", "", "canary", fault="few-errors"),
    Bad("late onset", "20 % errors from the third minute on", "soaking", fault="late-onset"),
    Bad("crash under load", "at the 400th request", "canary", fault="crash-later"),
    Bad("out of memory", "48 MiB are lost with each request", "preflight", fault="oom"),
    Bad("late", "100 ms instead of 2", "canary", fault="late"),
    Bad("slow under load", "200 ms from 10 requests a second on", "canary", fault="slow-under-load"),
    Bad("answers cut off", "the connection ends in the middle of each", "preflight", fault="cut"),
)

GOOD = (
    Good("equal", "the same model as another version"),
    Good("retrained", "other people, another seed", "retrained"),
    Good("better", "deeper trees, from 100 times the people", stable="v1"),
    Good("faster", "stable takes 100 ms", stable_fault="late"),
    Good("another engine", "the same model on an engine of the user's own", engine=True),
    Good("added output", "one output more", "added-output"),
    Good("bursts", "all requests of 20 s within 4", rate=10.0, burst="20:0.2"),
    Good("few requests", "two a second, as at night", rate=2.0),
    Good("common outage", "4 s of each minute both versions fail", stable_fault="outage", fault="outage"),
)
