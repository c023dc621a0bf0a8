"""Pairs out of samples: each once, those of these two revisions, from 0 however soon they began."""

from typing import Any

from headgate.api.contract import ROUTER_WEIGHT as ROUTED
from headgate.api.contract import SHADOW_PAIRS as PAIRS
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.model import MetricsUnavailable, NoNewSamples, Reading
from headgate.core.readings import new_samples
from headgate.core.signals.signal import Comparison, PairBlock
from headgate.core.statistics.counters import Series
from told import seen_in

OLD, NEW = "fraud-1a2b3c4d", "fraud-9e8d7c6b"


def weight(*times: Any, router: str = "router-0") -> Series:
    labels = {"__name__": ROUTED, "headgate_revision": OLD, "instance": router}
    return Series(labels, tuple((t, 100.0) for t in times))


def pairs(agree: str, *samples: Any, router: str = "router-0", baseline: str = OLD, revision: str = NEW) -> Series:
    labels = {"__name__": PAIRS, "headgate_revision": revision, "headgate_baseline": baseline}
    return Series(labels | {"agree": agree, "instance": router}, samples)


def read(*series: Any, now: float = 12.0, cursor: float = 9.5) -> Any:
    found = EnvoyDataPlane().read_pairs(series, now, cursor, Comparison(OLD, NEW), stale_after=30.0)
    return seen_in(new_samples(found, Reading.PAIRS, None))


def test_pairs_of_all_routers_are_added_up_from_0() -> None:
    found = read(
        weight(9, 10, 11),
        weight(9, 10, 11, router="router-1"),
        pairs("yes", (10, 3), (11, 5)),
        pairs("error", (11, 2)),
        pairs("no", (11, 4), router="router-1"),
        pairs("few", (11, 3), router="router-1"),
    )
    assert (found.cursor, found.pairs) == (11, PairBlock(14, 5, 2, 3))


def test_no_block_counts_twice() -> None:
    series = weight(9, 10, 11), pairs("yes", (10, 3), (11, 5))
    first, second = read(*series, cursor=9), read(*series, cursor=10)
    assert (first.pairs.pairs, second.pairs.pairs) == (5, 2)
    assert read(*series, cursor=11) == NoNewSamples()


def test_those_of_other_revisions_and_an_agent_that_began_anew() -> None:
    found = read(
        weight(9, 10, 11),
        pairs("yes", (9, 500), (10, 2), (11, 3)),
        pairs("yes", (10, 50), baseline="fraud-00000000"),
        pairs("yes", (10, 50), revision="fraud-00000000"),
    )
    assert (found.cursor, found.pairs) == (11, PairBlock(3, 3, 0))


def test_without_agents_or_with_stale_ones_one_is_blind() -> None:
    assert isinstance(read(), MetricsUnavailable)
    assert isinstance(read(pairs("yes", (11, 3))), MetricsUnavailable)
    assert isinstance(read(weight(9, 10, 11), now=60), MetricsUnavailable)


def test_an_agent_without_pairs_moves_the_cursor() -> None:
    found = read(weight(9, 10, 11))
    assert (found.cursor, found.pairs) == (11, PairBlock())


def test_an_agent_that_started_anew_says_so() -> None:
    told = Series(
        {"__name__": "headgate_start_time_seconds", "headgate_revision": OLD, "instance": "router-0"},
        ((9, 1.0), (10, 9.5), (11, 9.5)),
    )
    series = weight(9, 10, 11), pairs("yes", (9, 150), (10, 90), (11, 140))
    assert read(*series, cursor=9).pairs.pairs == 0
    assert read(*series, told, cursor=9).pairs.pairs == 140
    assert "headgate_start_time_seconds" in EnvoyDataPlane.pair_series
