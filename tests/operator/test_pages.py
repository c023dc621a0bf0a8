"""After an outage what was not read is read a page at a time, or passed over, and that is said."""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from headgate.core.dataplane import Read
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.dataplane.envoy.samples import EnvoySamples
from headgate.core.model import MetricsUnavailable, NoNewSamples
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series
from headgate.edges.prometheus import MOST_BYTES, Prometheus
from headgate.edges.prometheus_access import Access
from headgate.errors import MetricsError, TooMuchData
from headgate.pages import LONGEST_OUTAGE, PAGE_SECONDS, Page, Result, next_page
from small_cluster import Cluster

NOW = 1_800_000_000.0
EVERY = 5.0
STABLE, CANDIDATE = "fraud-aaaaaaaa", "fraud-bbbbbbbb"
WHO = Comparison(STABLE, CANDIDATE)


class Samples:
    """Routers that are scraped every five seconds, but for the times in `gaps`, and answer 10 requests in between."""

    def __init__(self, series: int = 4, gaps: Sequence[tuple[float, float]] = (), most: float = 1e9) -> None:
        self.count, self.gaps, self.most = series, gaps, most
        self.asked: list[int] = []
        """Samples in each answer."""

    def times(self, start: float, end: float) -> list[float]:
        first = int(start // EVERY) + 1
        every = [at * EVERY for at in range(first, int(end // EVERY) + 1)]
        return [at for at in every if not any(a < at <= b for a, b in self.gaps)]

    async def ask(self, until: float, since: float | None) -> list[Series]:
        times = self.times((until if since is None else since) - 60, until)
        self.asked.append(len(times) * self.count)
        if self.asked[-1] > self.most:
            raise TooMuchData("too much")
        samples = tuple((at, at * 2) for at in times)
        names = ["envoy_cluster_endpoint_rq_success"] * (self.count - 1) + ["headgate_ready"]
        return [
            Series({"__name__": name, "headgate_revision": STABLE, "instance": f"i{at}"}, samples)
            for at, name in enumerate(names)
            if samples
        ]


def understand(series: Sequence[Series], until: float, cursor: float | None) -> Result:
    return EnvoyDataPlane().read(series, until, cursor, WHO, 30.0)


async def caught_up(samples: Samples, cursor: float) -> tuple[list[Page], int]:
    """Pages until now, and what was counted in them for one series."""
    pages, gained = list[Page](), 0
    while cursor < NOW and len(pages) < 200:
        page = await next_page(samples.ask, understand, NOW, cursor)
        assert isinstance(page.result, Read)
        assert isinstance(page.result.samples, EnvoySamples)
        cursor, gained = page.result.cursor, gained + page.result.samples.increments[0].gained
        pages.append(page)
    return pages, gained


async def test_what_is_new_is_read_at_once() -> None:
    samples = Samples()
    pages, gained = await caught_up(samples, NOW - 60)
    assert (len(pages), gained, len(samples.asked)) == (1, 120, 1)


async def test_after_an_outage_of_the_operator_everything_counts_a_page_at_a_time() -> None:
    samples = Samples()
    pages, gained = await caught_up(samples, NOW - 3600)
    assert gained == 7200
    assert len(pages) == 3600 / PAGE_SECONDS
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert max(samples.asked) <= 4 * (PAGE_SECONDS + 60) / EVERY
    assert all(page.uncounted_since is None for page in pages)


@pytest.mark.parametrize("gap", [10.0, 100.0, 299.0, 301.0, 3600.0, 4000.0, 5 * 3600.0])
@pytest.mark.parametrize("begins", [0.0, 1.0, 33.0, 290.0, 1000.0])
async def test_a_gap_without_samples_is_got_over_and_nothing_is_lost(gap: float, begins: float) -> None:
    start = NOW - 5.9 * 3600
    samples = Samples(gaps=[(start + begins, start + begins + gap)])
    pages, gained = await caught_up(samples, start)
    assert gained == 2 * (NOW - start), "counters went on in the gap"
    assert all(page.uncounted_since is None for page in pages)


async def test_while_there_are_no_new_samples_it_stays_unknown() -> None:
    samples = Samples(gaps=[(NOW - 3600, NOW)])
    page = await next_page(samples.ask, understand, NOW, NOW - 3600)
    assert isinstance(page.result, MetricsUnavailable)
    assert page.uncounted_since is None


async def test_pages_become_shorter_where_they_are_too_much() -> None:
    samples = Samples(most=4 * 30)
    pages, gained = await caught_up(samples, NOW - 1800)
    assert gained == 3600
    assert len(pages) > 1800 / PAGE_SECONDS


async def test_what_can_not_be_read_in_parts_is_passed_over_and_that_is_said() -> None:
    samples = Samples(most=4 * 13)
    page = await next_page(samples.ask, understand, NOW, NOW - 1800)
    assert isinstance(page.result, Read)
    assert (page.uncounted_since, page.result.cursor) == (NOW - 1800, NOW)
    assert page.result.samples.increments == ()


async def test_what_is_too_long_ago_is_passed_over() -> None:
    page = await next_page(Samples().ask, understand, NOW, NOW - LONGEST_OUTAGE - 1)
    assert page.uncounted_since == NOW - LONGEST_OUTAGE - 1


async def test_where_even_the_newest_is_too_much_nothing_is_known() -> None:
    with pytest.raises(MetricsError):
        await next_page(Samples(most=1).ask, understand, NOW, NOW - 1800)


async def test_without_a_cursor_it_begins_now() -> None:
    page = await next_page(Samples().ask, understand, NOW, None)
    assert isinstance(page.result, Read)
    assert page == Page(page.result)


async def test_nothing_new_is_nothing_new() -> None:
    samples = Samples()
    assert isinstance((await next_page(samples.ask, understand, NOW, NOW)).result, NoNewSamples)


async def test_an_event_says_what_was_passed_over() -> None:
    cluster = await Cluster().canary()
    cluster.serve(candidate=(100, 0))
    await cluster.look()
    cluster.now += LONGEST_OUTAGE + 100
    cluster.metrics.time = cluster.now
    cluster.serve(candidate=(100, 0))
    cluster.kube.objects = {key: value for key, value in cluster.kube.objects.items() if key[0] != "Event"}
    await cluster.look()
    told = [found for (kind, *_), found in cluster.kube.objects.items() if kind == "Event"]
    assert "WentOnWithoutCounting" in [event["reason"] for event in told]


async def test_hours_of_370_series_take_little_memory() -> None:
    """Six of them at once took 600 MiB, and the event loop for ten seconds."""
    largest, series = 0, 370
    clock = Samples(series)

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal largest
        query, at = request.url.params["query"], float(request.url.params["time"])
        span = int(query.rpartition("[")[2].rstrip("s]"))
        values = json.dumps([[t, str(t * 2)] for t in clock.times(at - span, at)])
        names = ["envoy_cluster_endpoint_rq_success"] * (series - 1) + ["headgate_ready"]
        found = ",".join(
            f'{{"metric":{{"__name__":"{name}","headgate_revision":"{STABLE}","instance":"i{i}"}},"values":{values}}}'
            for i, name in enumerate(names)
        )
        text = f'{{"status":"success","data":{{"resultType":"matrix","result":[{found}]}}}}'
        largest = max(largest, len(text))
        return httpx.Response(200, content=text.encode())

    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    source = Prometheus(Access(("http://prometheus",)), lambda *_, **__: client)

    async def ask(until: float, since: float | None) -> Any:
        return await source.samples(("any",), {}, until, since)

    cursor, pages = NOW - 2 * 3600.0, 0
    tracemalloc.start()
    while cursor < NOW:
        page = await next_page(ask, understand, NOW, cursor)
        assert isinstance(page.result, Read)
        cursor, pages = page.result.cursor, pages + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (pages, largest < MOST_BYTES / 2) == (2 * 3600 / PAGE_SECONDS, True)
    assert peak < 40 << 20
