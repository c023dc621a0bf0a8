"""Whatever text enters a query stays a text in it: as a real Prometheus reads the query."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headgate.edges.prometheus import Prometheus
from headgate.edges.prometheus_access import Access
from headgate.edges.promql import AnyOf, StartsWith, quoted, selector
from real_prometheus import parsed, prometheus

INJECTED = 'x"} or label_replace(secret_of_another_tenant{a="'
texts = st.one_of(
    st.text(),
    st.text(alphabet="\\\"\n\r\t'`{}()[]|.*+?^$#, -&~=!ab\x00\u2028é", max_size=12),
    st.sampled_from([INJECTED, "\\", '\\"', "a|b", ".*", "\n", "\\n", "(?i)a", "\\Qa\\E", "`", "#"]),
)


class Parser:
    """A Prometheus and a connection to it."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url, self.client = url, client

    def matchers(self, query: str) -> dict[str, Any]:
        """Kind and value of each label's matcher; the query has to be one selector and nothing else."""
        tree = parsed(self.client, self.url, query)
        assert tree["type"] in ("vectorSelector", "matrixSelector"), query
        found = {each["name"]: (each["type"], each["value"]) for each in tree["matchers"]}
        assert len(found) == len(tree["matchers"])
        return found


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parser]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as url, httpx.Client() as client:
        yield Parser(url, client)


def as_label(text: str) -> str:
    """As a label can hold it: in UTF-8."""
    return text.encode(errors="replace").decode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@example(INJECTED, INJECTED, INJECTED)
@given(texts, texts, texts)
def test_every_text_in_a_selector_is_that_text_and_nothing_else(
    parser: Parser, equal: str, one_of: str, start: str
) -> None:
    query = selector(("good", "bad"), {"a": equal, "b": AnyOf((one_of, "other")), "c": StartsWith(start)})
    found = parser.matchers(f"{query}[60s]")
    assert set(found) == {"__name__", "a", "b", "c"}
    assert found["__name__"] == ("=~", "good|bad")
    assert found["a"] == ("=", as_label(equal))
    assert [kind for kind, _ in found.values()] == ["=~", "=", "=~", "=~"]
    pattern, beginning = found["b"][1], found["c"][1]
    assert re.fullmatch(pattern, as_label(one_of))
    assert re.fullmatch(pattern, "other")
    assert not re.fullmatch(pattern, as_label(one_of) + "x") or one_of + "x" == "other"
    assert re.fullmatch(beginning, as_label(start) + "\nmore")
    assert bool(re.fullmatch(beginning, "x" + as_label(start))) is ("x" + as_label(start)).startswith(as_label(start))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@example(INJECTED)
@given(texts)
def test_a_pattern_matches_in_prometheus_what_it_matches_here(parser: Parser, text: str) -> None:
    """RE2 takes each escaped character for itself: a pattern that it does not know is refused when it is parsed."""
    label = as_label(text)
    kept = f'label_replace(label_replace(vector(1), "a", {quoted(label.replace("$", "$$"))}, "", ""), '
    kept += f'"b", "yes", "a", {quoted(re.escape(label))})'
    answer = parser.client.post(f"{parser.url}/api/v1/query", data={"query": kept}).json()
    (result,) = answer["data"]["result"]
    assert result["metric"] == ({"a": label, "b": "yes"} if label else {"b": "yes"})


@given(namespace=texts, cluster=texts)
async def test_what_is_asked_of_prometheus_is_one_selector(namespace: str, cluster: str) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["query"])
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": []}})

    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    source = Prometheus(Access(("http://prometheus",), {"cluster": cluster}), lambda *_, **__: client)
    await source.samples(("good",), {"namespace": namespace}, 100.0, None)
    assert asked == [f'{{__name__=~"good",namespace={quoted(namespace)},cluster={quoted(cluster)}}}[60s]']
