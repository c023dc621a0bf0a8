"""The queries of users' signals: as a real Prometheus reads them, and as one answers that does what it likes."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from headgate import __main__ as process
from headgate.api.spec import Spec
from headgate.core.signals import user_signals
from headgate.core.signals.signal import Comparison
from headgate.core.user_queries import MOST_BYTES, Asked
from headgate.edges.prometheus import Prometheus
from headgate.edges.prometheus_access import Access
from headgate.edges.telemetry import Telemetry
from headgate.errors import MetricsError, TooMuchData
from headgate.settings import Settings
from headgate.user_signals import MOST_AT_ONCE, MOST_REMEMBERED, NOT_ALLOWED, SECONDS, UserSignals
from real_prometheus import prometheus

NOW = 1_800_000_000.0
WHO = Comparison("fraud-stable", "fraud-candidate")
MINE = '{namespace="models"}'


def signals(*queries: tuple[str, ...]) -> Any:
    """Each of counters (two queries) or of a gauge (one)."""
    counters = {"margin": "1%"}
    given = [
        {"name": f"s{n}", "events": each[0], "trials": each[1], **counters}
        if len(each) == 2
        else {"name": f"s{n}", "query": each[0], "max": 1, "for": "10s"}
        for n, each in enumerate(queries)
    ]
    model = {"version": "v1", "uri": "pvc://models/fraud/v1"}
    return user_signals(Spec.model_validate({"model": model, "rollout": {"signals": given}}))


def of_both(candidate: float, stable: float) -> str:
    """A query with a number for each version, whatever is stored."""
    return (
        f'label_replace(vector({candidate:g}), "headgate_revision", "fraud-candidate", "", "") or '
        f'label_replace(vector({stable:g}), "headgate_revision", "fraud-stable", "", "")'
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture
async def real(url: str) -> AsyncIterator[UserSignals]:
    source = Prometheus(Access((url,)))
    yield UserSignals(source)
    await source.close()


async def test_each_version_has_its_numbers(real: UserSignals) -> None:
    asked = signals((of_both(1, 2), of_both(10, 20)), (of_both(0.5, 7),))
    assert await real.ask(asked, "models", WHO, NOW) == {
        "s0": Asked(NOW, (1, 10), (2, 20)),
        "s1": Asked(NOW, (0.5,), ()),
    }


ABOUT_OTHERS = (
    "secret",
    'secret{namespace="others"}',
    'secret{namespace=~"models"}',
    'secret{namespace=~"models|others"}',
    'secret{namespace!="models"}',
    'secret{namespace="models"} or secret',
    'sum(rate(secret[5m])) + mine{namespace="models"}',
    'label_replace(secret, "namespace", "models", "", "")',
    'topk(scalar(secret), mine{namespace="models"})',
    'max_over_time(secret[5m:1m]) * on () mine{namespace="models"}',
    'count_values("namespace", secret)',
    'mine{namespace="models"} and ignoring (namespace) {__name__=~".+"}',
    '{"secret", namespace="others"}',
    "-secret @ end()",
    '(mine{namespace="models"}) / (secret offset 5m)',
    'absent_over_time(secret{namespace="models ",a="}"}[5m])',
    'secret{namespace="others",x="namespace=\\"models\\""}',
    '# namespace="models"\nsecret',
)


@pytest.mark.parametrize("query", ABOUT_OTHERS)
async def test_no_query_reads_the_series_of_another_namespace(real: UserSignals, query: str) -> None:
    (asked,) = (await real.ask(signals((query,)), "models", WHO, NOW)).values()
    assert 'each of its selectors has to have namespace="models"' in asked.trouble


@pytest.mark.parametrize(
    "query",
    [
        "mine{namespace='models'}",
        'sum by (headgate_revision) (rate(mine{namespace="models",a=~"b.*"}[5m] offset 1m))',
        'histogram_quantile(0.99, sum by (le) (rate(mine{namespace="models"}[5m:30s]))) > bool 1',
        '{__name__="mine", namespace=`models`} unless on (a) other{namespace="models"}',
    ],
)
async def test_every_query_for_the_own_namespace_is_asked(real: UserSignals, query: str) -> None:
    (asked,) = (await real.ask(signals((query,)), "models", WHO, NOW)).values()
    assert asked.trouble == "it has no series with headgate_revision=fraud-candidate"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sum(", 'it is no PromQL: invalid parameter "query": 1:5: parse error: unclosed left parenthesis'),
        ("1", "it gives a scalar, and has to give a vector with the label headgate_revision"),
        (f"mine{MINE}[5m]", "it gives a matrix, and has to give a vector with the label headgate_revision"),
        ("vector(1)", "it has no series with headgate_revision=fraud-candidate"),
        (of_both(float("nan"), 1).replace("nan", "NaN"), "its value for fraud-candidate is nan"),
        (of_both(1, 1) + ' or label_replace(vector(1), "a", "b", "", "")', ""),
    ],
)
async def test_what_is_wrong_is_told_in_words(real: UserSignals, query: str, told: str) -> None:
    (asked,) = (await real.ask(signals((query,)), "models", WHO, NOW)).values()
    assert asked.trouble == told


async def test_an_error_of_the_evaluation_is_not_repeated(real: UserSignals) -> None:
    both = f"({of_both(1, 1)})"
    query = f"{both} + on () group_left () {both}"
    (asked,) = (await real.ask(signals((query,)), "models", WHO, NOW)).values()
    assert "could not answer it (execution)" in asked.trouble
    assert "duplicate" not in asked.trouble


async def test_two_series_of_one_version_are_too_many(real: UserSignals) -> None:
    query = f'({of_both(1, 1)}) or label_replace(({of_both(1, 1)}), "pod", "x", "", "")'
    (asked,) = (await real.ask(signals((query,)), "models", WHO, NOW)).values()
    assert asked.trouble.startswith("it has 2 series with headgate_revision=fraud-candidate")


async def test_the_label_of_the_cluster_has_to_be_there_too(real: UserSignals) -> None:
    real.matchers = {"cluster": "a"}
    for query, told in ((f"mine{MINE}", 'cluster="a"'), ('mine{cluster="a",namespace="models"}', "no series")):
        (asked,) = (await real.ask(signals((query,)), "models", WHO, NOW)).values()
        assert told in asked.trouble


SELECTOR = {"type": "vectorSelector", "matchers": [{"name": "namespace", "type": "=", "value": "models"}]}
VECTOR = {
    "resultType": "vector",
    "result": [
        {"metric": {"headgate_revision": f"fraud-{who}"}, "value": [NOW, "1"]} for who in ("candidate", "stable")
    ],
}


class Source:
    """Answers what it was told to, after a time."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"parse_query": SELECTOR, "query": VECTOR, **answers}
        self.takes = 0.0
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.at_once = self.most = 0

    async def answer(self, endpoint: str, parameters: Mapping[str, str], most: int) -> tuple[int, bytes]:
        assert most == MOST_BYTES
        self.asked.append((endpoint, parameters))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.takes)
        self.at_once -= 1
        answer = self.answers[endpoint]
        if isinstance(answer, Exception):
            raise answer
        return 200, json.dumps({"status": "success", "data": answer}).encode()


async def ask(source: Source, *queries: tuple[str, ...]) -> list[str]:
    """What each signal says that is wrong."""
    found = await UserSignals(source).ask(signals(*(queries or (("a", "b"),))), "models", WHO, NOW)
    return [asked.trouble for asked in found.values()]


async def test_where_they_are_not_allowed_nothing_is_asked_and_that_is_told() -> None:
    assert await UserSignals().ask(signals(("a", "b")), "models", WHO, NOW) == {"s0": Asked(NOW, trouble=NOT_ALLOWED)}


@pytest.mark.parametrize("allowed", [False, True])
async def test_the_settings_say_whether_they_are_allowed(allowed: bool) -> None:
    images = {"serving_image": "serving", "envoy_image": "envoy"}
    settings = Settings(**images, user_signals=allowed, prometheus_matchers='{"cluster": "a"}')
    source = Source()
    parts: Any = SimpleNamespace(metrics=source, settings=settings, telemetry=Telemetry())
    for name in ("kube", "events", "statuses", "election"):
        setattr(parts, name, SimpleNamespace())
    users = process.Leader(parts).reconciler.observer.user_signals
    assert users.source is (source if allowed else None)
    assert users.matchers == {"cluster": "a"}


async def test_both_counters_are_read_at_the_same_time() -> None:
    source = Source()
    assert await ask(source) == [""]
    queries = [parameters for endpoint, parameters in source.asked if endpoint == "query"]
    assert [each["query"] for each in queries] == ["a", "b"]
    assert {each["time"] for each in queries} == {f"{NOW:.3f}"}
    assert {each["timeout"] for each in queries} == {f"{SECONDS:g}s"}


async def test_a_query_is_parsed_once_and_one_that_may_not_be_asked_each_time() -> None:
    source = Source()
    users = UserSignals(source)
    for _ in range(3):
        await users.ask(signals(("a",)), "models", WHO, NOW)
    assert [endpoint for endpoint, _ in source.asked] == ["parse_query", "query", "query", "query"]
    await users.ask(signals(("a",)), "others", WHO, NOW)
    assert source.asked[-1][0] == "parse_query"
    source.answers["parse_query"] = {"type": "vectorSelector", "matchers": []}
    for at in range(2):
        await users.ask(signals(("b",)), "models", WHO, NOW + at)
    assert [endpoint for endpoint, _ in source.asked[-2:]] == ["parse_query", "parse_query"]


async def test_only_so_many_queries_are_remembered() -> None:
    users = UserSignals(Source())
    for number in range(0, MOST_REMEMBERED + 50, 5):
        await users.ask(signals(*((f"q{number + n}",) for n in range(5))), "models", WHO, NOW)
    assert len(users._may_be_asked) == MOST_REMEMBERED


async def test_only_a_few_are_asked_at_once_of_all_models() -> None:
    source = Source()
    source.takes = 0.01
    users = UserSignals(source)
    eight = signals(*((f"q{n}",) for n in range(8)))
    found = await asyncio.gather(*(users.ask(eight, "models", WHO, NOW) for _ in range(3)))
    assert source.most == MOST_AT_ONCE
    assert not any(asked.trouble for each in found for asked in each.values())


async def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.user_signals.SECONDS", 0.02)
    source = Source()
    source.takes = 60.0
    assert await ask(source) == ["Prometheus did not answer within 0.02 seconds"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TooMuchData("too much"), "its answer is longer than 64 KiB"),
        (
            MetricsError("Prometheus at http://x can't be asked (refused)."),
            "Prometheus at http://x can't be asked (refused)",
        ),
    ],
)
@pytest.mark.parametrize("endpoint", ["parse_query", "query"])
async def test_what_can_not_be_asked_is_told(endpoint: str, error: MetricsError, told: str) -> None:
    assert await ask(Source(**{endpoint: error})) == [told]


async def test_stable_has_to_have_a_number_of_a_counter_and_needs_none_of_a_gauge() -> None:
    source = Source(query={**VECTOR, "result": VECTOR["result"][:1]})
    told = await ask(source, ("a", "b"), ("a",))
    assert told == ["it has no series with headgate_revision=fraud-stable", ""]


async def test_the_next_address_is_asked_where_one_does_not_answer() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.host == "one":
            raise httpx.ConnectError("refused")
        return httpx.Response(400, content=b"no")

    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    source = Prometheus(Access(("http://one", "http://two")), lambda *_, **__: client)
    assert await source.answer("query", {"query": "x"}, 10) == (400, b"no")
    with pytest.raises(TooMuchData, match="more to say than 0 KiB"):
        await source.answer("query", {"query": "x"}, 1)
    one = Prometheus(Access(("http://one",)), lambda *_, **__: client)
    with pytest.raises(MetricsError, match="http://one can't be asked"):
        await one.answer("query", {"query": "x"}, 10)
