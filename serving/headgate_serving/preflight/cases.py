"""Edge cases: unusual requests, made from a request that is known to be right, the metadata and the profiles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..codec.datatypes import BY_NAME
from ..monitor.bins import CategoryBins, NumericBins, is_number
from ..monitor.profile import Feature, Profile
from .requests import Given, Request, Values, in_order, rows_of, size_of
from .signature import Signature, Spec

MOST_ROWS, DRAWN = 64, 200
MOST_VALUES = 100_000
"""Numbers of one request: about 2 MB of JSON."""
MOST_FEATURES = 64
LONG = 10_000
"""Characters."""
_UNSEEN = "headgate-unseen-category"
_SEED = 7


@dataclass(frozen=True)
class Case:
    """One request.

    `ordinary`: users may well send it: an error is the model's fault even where there is no stable version. `heavy`: it
    may take long.
    """

    name: str
    request: Request
    ordinary: bool = False
    heavy: bool = False


@dataclass(frozen=True)
class Ground:
    """What cases are made from. `by_row` are the inputs that have rows; empty where requests have one row."""

    base: Request
    signature: Signature
    profile: Profile | None
    by_row: frozenset[str]
    most_rows: int
    """That are likely to be answered in time."""

    @property
    def features(self) -> list[Feature]:
        """Those of the profile that the request has."""
        found = self.profile.features if self.profile else ()
        return [one for one in found if one.input in self.base and one.column < _width(self.base[one.input])]

    @property
    def limit(self) -> int:
        """Rows of one request."""
        return max(1, min(self.most_rows, MOST_VALUES // max(1, size_of(self.base))))


def made_up(signature: Signature) -> Request:
    """Zeros, and "a": a request where there is nothing better."""
    return {name: _zeros(spec) for name, spec in signature.inputs.items() if not spec.optional}


def cases(ground: Ground) -> Iterator[Case]:
    """All of them; what takes long comes last."""
    yield from _extremes(ground)
    yield from _drawn(ground)
    yield from _not_numbers(ground)
    yield from _unseen(ground)
    yield from _texts(ground, "empty text", "", heavy=False)
    yield from _without_optional(ground)
    if ground.by_row:
        yield Case("no rows", in_order(ground.base, [], ground.by_row))
        count = min(MOST_ROWS, ground.limit)
        rows = rows_of(ground.base, ground.by_row)
        order = [at % rows for at in range(count)]
        yield Case(f"{count} rows", in_order(ground.base, order, ground.by_row), ordinary=True, heavy=True)
    yield from _texts(ground, f"text of {LONG} characters", "long text " * (LONG // 10), heavy=True)


def _extremes(ground: Ground) -> Iterator[Case]:
    for name, at in (("smallest", 0), ("largest", -1)):
        changes = [
            (one, _as_given(ground.base[one.input], one.bins.edges[at]))
            for one in ground.features[:MOST_FEATURES]
            if isinstance(one.bins, NumericBins) and ground.base[one.input].datatype.kind != "O"
        ]
        yield from _changed(ground, f"the {name} value of", changes, ordinary=True)


def _drawn(ground: Ground) -> Iterator[Case]:
    """Rows whose features are drawn from the profile, each by itself: an answer is NaN for some rows only."""
    if not ground.features or not ground.by_row:
        return
    count = min(DRAWN, ground.limit * 4, max(1, MOST_VALUES // max(1, size_of(ground.base))))
    order = [at % rows_of(ground.base, ground.by_row) for at in range(count)]
    request, draw = in_order(ground.base, order, ground.by_row), np.random.default_rng(_SEED)
    tables = {name: one.table for name, one in request.items() if name in ground.by_row}
    for one in ground.features:
        if one.input in tables and (values := _draws(one, request[one.input], count, draw)) is not None:
            tables[one.input][:, one.column] = values
    changed = {name: one.with_table(tables[name]) if name in tables else one for name, one in request.items()}
    yield Case(f"{count} rows drawn from the profile", changed, ordinary=True, heavy=True)


def _draws(feature: Feature, given: Given, count: int, draw: np.random.Generator) -> Values | None:
    if isinstance(feature.bins, NumericBins):
        weights = np.array(feature.counts[1:-2], np.float64)
        if given.datatype.kind == "O" or weights.sum() <= 0:
            return None
        edges = np.array(feature.bins.edges)
        at = draw.choice(len(weights), count, p=weights / weights.sum())
        low, high = edges[np.where(at == 0, 0, at)], edges[at + 1]
        return _fitting(low + (high - low) * draw.random(count), given)
    names = feature.bins.categories
    weights = np.array(feature.counts[: len(names)], np.float64)
    if weights.sum() <= 0:
        return None
    chosen = [names[at] for at in draw.choice(len(names), count, p=weights / weights.sum())]
    if given.datatype.kind == "O":
        return np.array(chosen, object)
    return _fitting(np.array([float(name) for name in chosen]), given) if all(map(is_number, chosen)) else None


def _not_numbers(ground: Ground) -> Iterator[Case]:
    floats = [name for name, one in ground.base.items() if one.datatype.kind == "f" and one.values.size]
    for text, value in (("NaN", np.nan), ("infinity", np.inf), ("-infinity", -np.inf)):
        if floats:
            yield Case(f"{text} everywhere", _filled(ground.base, floats, value))
    for name in floats[:MOST_FEATURES] if len(floats) > 1 else ():
        yield Case(f"NaN in {name}", _filled(ground.base, [name], np.nan))


def _filled(base: Request, names: Sequence[str], value: object) -> Request:
    def full(one: Given) -> Given:
        table = one.table
        table[:] = value
        return one.with_table(table)

    return {name: full(one) if name in names else one for name, one in base.items()}


def _unseen(ground: Ground) -> Iterator[Case]:
    changes = []
    for one in ground.features[:MOST_FEATURES]:
        if isinstance(one.bins, CategoryBins):
            given = ground.base[one.input]
            numbers = [int(name) for name in (*one.bins.categories, *one.bins.others) if is_number(name)]
            value = _UNSEEN if given.datatype.kind == "O" else _as_given(given, max(numbers, default=0) + 1)
            if given.datatype.kind != "b":
                changes.append((one, value))
    yield from _changed(ground, "an unseen category of", changes, ordinary=False)


def _changed(ground: Ground, what: str, changes: Sequence[tuple[Feature, object]], *, ordinary: bool) -> Iterator[Case]:
    """One request for each feature, so that it can be named."""
    for feature, value in changes:
        given = ground.base[feature.input]
        table = given.table
        table[:, feature.column] = value
        request = {**ground.base, feature.input: given.with_table(table)}
        yield Case(f"{what} {feature.name}", request, ordinary=ordinary)


def _texts(ground: Ground, name: str, text: str, *, heavy: bool) -> Iterator[Case]:
    names = [each for each, one in ground.base.items() if one.datatype.kind == "O" and one.values.size]
    if names:
        yield Case(name, _filled(ground.base, names, text), heavy=heavy)


def _without_optional(ground: Ground) -> Iterator[Case]:
    for name, spec in ground.signature.inputs.items():
        if spec.optional and name in ground.base:
            rest = {each: one for each, one in ground.base.items() if each != name}
            yield Case(f"without the optional input {name}", rest, ordinary=True)


def _zeros(spec: Spec) -> Given:
    datatype = BY_NAME[spec.datatype]
    shape = tuple(1 if length == -1 else length for length in ((-1, -1) if spec.shape is None else spec.shape))
    if datatype.kind == "O":
        return Given(datatype, np.full(shape, "a", object))
    return Given(datatype, np.zeros(shape, datatype.dtype))


def _width(given: Given) -> int:
    return int(given.table.shape[1])


def _as_given(given: Given, value: float) -> object:
    return _fitting(np.array([value]), given)[0]


def _fitting(values: Values, given: Given) -> Values:
    """As the input's datatype has them, and within its range."""
    if given.datatype.kind in "iu":
        values = np.clip(np.rint(values), given.datatype.low, given.datatype.high)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(given.datatype.dtype)
