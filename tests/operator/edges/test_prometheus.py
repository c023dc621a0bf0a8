"""Prometheus over a fake transport: what is asked, and every way in which it can fail to answer."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.edges.prometheus import LONGEST_RANGE, LOOK_BACK, MOST_BYTES, Prometheus
from headgate.edges.prometheus_access import Access
from headgate.edges.promql import AnyOf, Labels
from headgate.errors import MetricsError, TooMuchData

NOW = 1_800_000_000.0
LABELS: Labels = {"namespace": "models", "headgate_model": "fraud", "headgate_revision": AnyOf(("fraud-a", "fraud-b"))}
TIME = {"status": "success", "data": {"resultType": "scalar", "result": [NOW, str(NOW)]}}


def vector(*results: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(results)}}


def matrix(*results: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(results)}}


class Server:
    """Answers `time()` with NOW and everything else with `answer`; remembers what it was asked."""

    def __init__(self, answer: Any = None, time: dict[str, Any] = TIME) -> None:
        self.answer, self.time = answer or matrix(), time
        self.asked: list[Any] = []
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        self.source = Prometheus(Access(("http://prometheus:9090/",)), lambda *_, **__: client)

    def _handle(self, request: Any) -> Any:
        query = request.url.params["query"]
        answer = self.time if query == "time()" else self.answer
        if query != "time()":
            self.asked.append((request.url.path, query, request.url.params.get("time")))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    async def samples(self, since: float | None = NOW - 10) -> tuple[Any, ...]:
        return await self.source.samples(("good", "bad"), LABELS, NOW, since)

    async def largest(self) -> dict[Any, Any] | dict[str, Any]:
        return await self.source.largest("bins", {"a": "b"}, ("feature", "bin"))

    async def gains(self) -> dict[Any, Any]:
        return await self.source.gains("bins", {"a": "b"}, {"layout": "l"}, ("bin",), [NOW - 60, NOW], 60.0)


async def test_raw_samples_are_read_by_prometheus_own_clock() -> None:
    labels = {"__name__": "good", "instance": "router"}
    server = Server(matrix({"metric": labels, "values": [[NOW - 4, "3"], [NOW - 2, "5.5"]]}))
    assert await server.source.now() == NOW
    (series,) = await server.samples()
    assert (series.labels, series.samples) == (labels, ((NOW - 4, 3.0), (NOW - 2, 5.5)))
    ((path, query, at),) = server.asked
    assert path == "/api/v1/query"
    assert at == f"{NOW:.3f}"
    assert query == (
        '{__name__=~"good|bad",namespace="models",headgate_model="fraud",'
        rf'headgate_revision=~"fraud\\-a|fraud\\-b"}}[{10 + LOOK_BACK:.0f}s]'
    )


@pytest.mark.parametrize(
    ("since", "span"),
    [(None, LOOK_BACK), (NOW - 7200, 7200 + LOOK_BACK), (NOW - 1e6, LONGEST_RANGE), (NOW + 1000, 1)],
)
async def test_as_much_is_read_as_is_needed(since: float | None, span: float) -> None:
    server = Server()
    await server.samples(since)
    assert server.asked[0][1].endswith(f"[{span:.0f}s]")


@pytest.mark.parametrize(("since", "span"), [(None, 1800), (NOW - 10, 1810)])
async def test_more_is_looked_back_when_asked_for(since: float | None, span: int) -> None:
    server = Server()
    await server.source.samples(("good",), LABELS, NOW, since, look_back=1800.0)
    assert server.asked[0][1].endswith(f"[{span}s]")


async def test_the_largest_values_are_read_by_their_labels() -> None:
    server = Server(
        vector(
            {"metric": {"feature": "age", "bin": "n00"}, "value": [NOW, "12"]},
            {"metric": {"feature": "age"}, "value": [NOW, "3"]},
        )
    )
    assert await server.largest() == {("age", "n00"): 12.0, ("age", ""): 3.0}
    assert server.asked[0][1] == 'max by (feature, bin) ({__name__=~"bins",a="b"})'


async def test_nothing_found_is_no_error() -> None:
    assert await Server().samples() == ()
    assert await Server(vector()).largest() == {}
    assert await Server().gains() == {}


async def test_gains_of_all_pods_are_read_at_equal_distances() -> None:
    bins = [("n00", [[NOW - 60, "3"], [NOW, "5"]]), ("n01", [[NOW, "7"]]), ("n02", [[NOW + 600, "7"]])]
    server = Server(matrix(*({"metric": {"bin": name}, "values": values} for name, values in bins)))
    found = await server.gains()
    assert {name: rows.tolist() for (name,), rows in found.items()} == {"n00": [3, 5], "n01": [0, 7], "n02": [0, 0]}
    ((path, query, _),) = server.asked
    assert path == "/api/v1/query_range"
    assert query.startswith("sum by (bin) (")
    assert '{__name__=~"bins",a="b",layout="l"} offset 60s' in query
    assert '{__name__=~"headgate_start_time_seconds",a="b"} > time() - 60' in query


FAILURES = {
    "refused": httpx.ConnectError("connection refused"),
    "too late": httpx.ReadTimeout("timed out"),
    "cut off": httpx.RemoteProtocolError("peer closed connection"),
    "an invalid address": httpx.InvalidURL("invalid port"),
    "a wrong query": httpx.Response(400, json={"status": "error", "errorType": "bad_data", "error": "parse error"}),
    "a proxy's page": httpx.Response(502, html="<html>Bad Gateway</html>"),
    "no json": httpx.Response(200, text="ok"),
    "no text": httpx.Response(200, content=b"\xff\xfe"),
    "another json": httpx.Response(200, json=[1, 2]),
    "nothing": httpx.Response(200, json=None),
    "no data": httpx.Response(200, json={"status": "success"}),
    "data of another kind": httpx.Response(200, json={"status": "success", "data": []}),
    "an unknown type": {"status": "success", "data": {"resultType": "table", "result": []}},
    "samples without a time": matrix({"metric": {}, "values": [["x", "1"]]}),
    "samples that are no numbers": matrix({"metric": {}, "values": [[NOW, "many"]]}),
    "samples that are not a number": matrix({"metric": {}, "values": [[NOW, "NaN"]]}),
    "samples without end": matrix({"metric": {}, "values": [[NOW, "+Inf"]]}),
    "samples that are lists": matrix({"metric": {}, "values": [[NOW, ["1"]]]}),
    "labels that are numbers": matrix({"metric": {"a": 1}, "values": []}),
    "a result that is a string": {"status": "success", "data": {"resultType": "matrix", "result": "x"}},
}


@pytest.mark.parametrize("name", FAILURES)
async def test_whatever_goes_wrong_with_the_samples_is_a_metrics_error(name: str) -> None:
    with pytest.raises(MetricsError) as raised:
        await Server(FAILURES[name]).samples()
    assert "http://prometheus:9090" in str(raised.value)


@pytest.mark.parametrize("name", FAILURES)
async def test_whatever_goes_wrong_with_the_gains_is_a_metrics_error(name: str) -> None:
    with pytest.raises(MetricsError):
        await Server(FAILURES[name]).gains()


VALUES = {
    "no number": vector({"metric": {}, "value": [NOW, "many"]}),
    "not a number": vector({"metric": {}, "value": [NOW, "NaN"]}),
    "no end": vector({"metric": {}, "value": [NOW, "+Inf"]}),
    "no pair": vector({"metric": {}, "value": [NOW]}),
}


@pytest.mark.parametrize("name", VALUES)
async def test_whatever_goes_wrong_with_the_values_is_a_metrics_error(name: str) -> None:
    with pytest.raises(MetricsError):
        await Server(VALUES[name]).largest()


@pytest.mark.parametrize("result", [[], None, "x", ["x", "1"], [None, "1"], [[1], "1"], ["NaN", "1"], {}])
async def test_a_time_that_is_none_is_a_metrics_error(result: Any) -> None:
    server = Server(time={"status": "success", "data": {"resultType": "scalar", "result": result}})
    with pytest.raises(MetricsError):
        await server.source.now()


async def test_the_reason_of_a_refusal_is_told() -> None:
    with pytest.raises(MetricsError, match="refused the query: parse error"):
        await Server(FAILURES["a wrong query"]).samples()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats() | st.sampled_from(["success", "1", "NaN", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "data", "result", "resultType", "metric", "values"]), inner)
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"status": st.just("success"), "data": json_values}))
async def test_any_json_is_an_answer_or_a_metrics_error(body: dict[str, Any]) -> None:
    server = Server(httpx.Response(200, content=dumped(body)))
    try:
        await server.samples()
        await server.largest()
        await server.gains()
    except MetricsError:
        pass


def dumped(body: dict[str, Any]) -> bytes:
    import json

    return json.dumps(body).encode()


async def test_closing_closes_the_client() -> None:
    server = Server()
    await server.samples()
    await server.source.close()
    assert (await server.source._client("http://prometheus:9090")).is_closed


class Endless(httpx.AsyncByteStream):
    """A body without an end."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> Any:
        while True:
            self.sent += 1 << 16
            yield b"1" * (1 << 16)


async def test_an_answer_without_end_is_read_to_a_bound() -> None:
    body = Endless()
    with pytest.raises(TooMuchData, match="http://prometheus:9090 has more to say than 8 MiB"):
        await Server(httpx.Response(200, stream=body)).samples()
    assert body.sent <= MOST_BYTES + (1 << 17)


async def test_a_series_counts_once_with_each_sample_once_in_the_order_of_time() -> None:
    one = {"metric": {"a": "1", "b": "2"}, "values": [[NOW, "3"], [NOW - 4, "1"], [NOW - 2, "2"], [NOW - 2, "2"]]}
    server = Server(matrix(one, {"metric": {"b": "2", "a": "1"}, "values": [[NOW, "3"]]}))
    (series,) = await server.samples()
    assert series.samples == ((NOW - 4, 1.0), (NOW - 2, 2.0), (NOW, 3.0))


async def test_an_answer_in_part_is_none() -> None:
    server = Server({**matrix(), "warnings": ["store eu-1 is not reachable"]})
    with pytest.raises(MetricsError, match="answered in part only: store eu-1 is not reachable"):
        await server.samples()


async def test_what_prometheus_says_is_repeated_in_short() -> None:
    server = Server(httpx.Response(400, json={"status": "error", "error": "x" * 10_000}))
    with pytest.raises(MetricsError) as raised:
        await server.samples()
    assert len(str(raised.value)) < 400
