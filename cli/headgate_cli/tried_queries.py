"""What the queries of a user's signal give now. Called by `validate`, before the signal is part of a rollout.

The operator asks the same questions and reads the answers by the same functions. Here they are asked with the rights of
whoever runs the command.
"""

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headgate.api.contract import REVISION
from headgate.api.spec import UserSignal
from headgate.core.statistics.counters import TARGET_NAMESPACE
from headgate.core.user_queries import MOST_BYTES, Answer, answer_of, numbers_of, reads_others

TIMEOUT = 5.0
"""Seconds for one answer."""


@dataclass(frozen=True)
class Tried:
    """What one query gives."""

    text: str
    is_read: bool
    """Whether it gives a number for each version that it names, and names one."""


def tried(prometheus: str, signal: UserSignal, namespace: str) -> Iterator[Tried]:
    """What each query of a signal gives now."""
    for name in ("events", "trials", "query"):
        if query := getattr(signal, name):
            yield _told(f"{signal.name}: {name}", _ask(prometheus, query, namespace), namespace)


def _told(what: str, answer: Answer, namespace: str) -> Tried:
    if answer.trouble:
        return Tried(f"{what}: {answer.trouble}", False)
    numbers = numbers_of(answer, namespace)
    if not numbers:
        found = f"{len(answer.series)} series, and none" if answer.series else "no series"
        return Tried(f"{what}: {found} with the label {REVISION} in the namespace {namespace}", False)
    told = [
        f"{revision}: {each}" if isinstance(each, str) else f"{revision} {each:g}" for revision, each in numbers.items()
    ]
    return Tried(f"{what}: {', '.join(told)}", not any(isinstance(each, str) for each in numbers.values()))


def _ask(prometheus: str, query: str, namespace: str) -> Answer:
    try:
        status, body = _get(prometheus, "parse_query", {"query": query})
        if trouble := reads_others(status, body, {TARGET_NAMESPACE: namespace}):
            return Answer(trouble=trouble)
        return answer_of(*_get(prometheus, "query", {"query": query, "time": f"{time.time():.3f}"}))
    except (OSError, ValueError) as error:
        return Answer(trouble=f"{prometheus} can't be asked: {error}")


def _get(prometheus: str, endpoint: str, parameters: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body. Raises OSError and ValueError."""
    url = f"{prometheus}/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            body, status = answer.read(MOST_BYTES + 1), answer.status
    except urllib.error.HTTPError as error:
        with error:
            body, status = error.read(MOST_BYTES + 1), error.code
    if len(body) > MOST_BYTES:
        raise ValueError(f"its answer is longer than {MOST_BYTES >> 10} KiB")
    return status, body
