import json
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.api import contract
from headgate.api.policy import Fallback, Policy, StaticAnswer, StaticOutput
from headgate_serving.router.envoy.config import Documents, Layout, bootstrap_document, names, render
from headgate_serving.router.envoy.config.budget import LATENCY_EDGES_MS, candidate_try_ms, latency_edges, stable_try_ms
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.step import LINGER_SECONDS, Memory, step
from headgate_serving.router.policy.endpoints import Endpoint, State
from headgate_serving.router.policy.pod_tls import PodTls
from headgate_serving.router.policy.protection import UNPROTECTED
from headgate_serving.router.policy.traffic import Intent, Target
from router_policies import with_policy

BUILT_IN = frozenset(names.FALLBACK.values())
SAFE = StaticAnswer("safe", (StaticOutput("label", "INT64", (-1,), (0,)),))
LAYOUT = Layout(PurePosixPath("/xds"))
NAMES = ("fraud-00000001", "fraud-00000002", "fraud-00000003")


@st.composite
def intents(draw: Any) -> Any:
    stable, candidate = draw(st.permutations(NAMES))[:2]
    weight = draw(st.integers(0, 1000))
    targets = draw(
        st.sampled_from(
            [
                (),
                (Target(stable, "stable", 1000),),
                (Target(candidate, "candidate", 1000),),
                (Target(stable, "stable", 1000 - weight), Target(candidate, "candidate", weight)),
            ]
        )
    )
    fallback = draw(st.sampled_from([Fallback(), Fallback(("simple",)), Fallback((), SAFE, True)]))
    return Intent(targets, Policy(draw(st.integers(1, 600_000)), draw(st.booleans()), fallback=fallback))


endpoints = st.dictionaries(
    st.sampled_from(NAMES),
    st.lists(st.builds(Endpoint, st.ip_addresses(v=4).map(str), st.just(8000), st.just("pod")), max_size=3).map(tuple),
)


def model_route(documents: Documents) -> Any:
    routes = documents.routes["virtual_hosts"][0]["routes"]
    return next(route for route in routes if route["match"].get("safe_regex", {}).get("regex", "").endswith("/infer"))


def weighted(documents: Documents) -> Any:
    return model_route(documents)["route"]["weighted_clusters"]["clusters"]


def assert_consistent(documents: Documents) -> None:
    """No name without what it names."""
    assert documents.routed <= documents.clusters.keys()
    for name, cluster in documents.clusters.items():
        assert cluster["name"] == name
        if "eds_cluster_config" in cluster:
            revision = cluster["eds_cluster_config"]["service_name"]
            assert documents.endpoints[revision]["cluster_name"] == revision
        else:
            behind = set(cluster["cluster_type"]["typed_config"]["clusters"])
            assert behind <= documents.clusters.keys() | BUILT_IN


@given(intents(), endpoints)
def test_nothing_ever_names_a_missing_cluster_and_weights_add_up(intent: Any, found: Any) -> None:
    documents = render(intent, found)
    assert_consistent(documents)
    if intent.stable:
        assert sum(cluster["weight"] for cluster in weighted(documents)) == 1000
    elif intent.policy.fallback:
        assert model_route(documents)["route"]["cluster"] in BUILT_IN
    else:
        assert model_route(documents)["direct_response"]["status"] == 503


@given(st.lists(st.tuples(intents(), endpoints, st.floats(0, 700)), min_size=1, max_size=5))
@settings(max_examples=50)
def test_over_any_history_nothing_names_a_missing_cluster_and_old_ones_go_at_last(history: Any) -> None:
    memory, now = Memory({}, {}), 0.0
    for intent, found, passed in history:
        now += passed
        documents, after = step(memory, intent, found, now)
        assert_consistent(documents)
        # What was routed a moment ago is still there for the requests under way.
        assert {name for name in memory.clusters if name not in memory.until} <= documents.clusters.keys()
        memory = after
    intent, found, _ = history[-1]
    longest = max(intent.policy.timeout_ms for intent, _, _ in history) / 1000 + LINGER_SECONDS
    documents, memory = step(memory, intent, found, now + longest + 0.001)
    assert documents == render(intent, found)
    assert memory.next_due is None


@given(intents(), endpoints)
def test_the_same_input_gives_the_same_bytes(intent: Any, found: Any) -> None:
    first, second = render(intent, found), render(intent, dict(reversed(found.items())))
    assert discovery_response(*first.clusters.values()) == discovery_response(*second.clusters.values())
    assert list(first.endpoints.items()) == list(second.endpoints.items())


def split(weight: int, *, retry: bool = True, timeout_ms: int = 200) -> Any:
    return Intent(
        (Target(NAMES[0], "stable", 1000 - weight), Target(NAMES[1], "candidate", weight)), Policy(timeout_ms, retry)
    )


def test_the_candidate_comes_first_so_that_a_growing_weight_moves_nobody_back() -> None:
    assert [cluster["name"] for cluster in weighted(render(split(100), {}))] == [
        f"{NAMES[1]}/assigned=true",
        f"{NAMES[0]}/assigned=true",
    ]


def test_a_new_weight_changes_the_routes_and_nothing_else() -> None:
    before, after = render(split(100), {}), render(split(200), {})
    assert before.routes != after.routes
    assert before.clusters == after.clusters
    assert before.endpoints == after.endpoints


def test_a_pods_cluster_is_the_same_in_every_role() -> None:
    promoted = Intent((Target(NAMES[1], "stable", 1000), Target(NAMES[0], "candidate", 0)), Policy(700, False))
    before, after = render(split(100), {}).clusters, render(promoted, {}).clusters
    for name in (f"{NAMES[0]}/attempts", f"{NAMES[1]}/attempts"):
        assert before[name] == after[name]


def retry_of(documents: Documents, revision: Any) -> Any:
    options = documents.clusters[f"{revision}/assigned=true"]["typed_extension_protocol_options"]
    (protocol,) = options.values()
    return protocol.get("retry_policy", {}).get("retry_on", "")


@pytest.mark.parametrize(("retry", "expected"), [(True, True), (False, False)])
def test_the_candidates_errors_are_tried_again_only_when_asked_for(retry: bool, expected: Any) -> None:
    documents = render(split(100, retry=retry), {})
    assert ("5xx" in retry_of(documents, NAMES[1])) is expected
    assert ("typed_per_filter_config" in weighted(documents)[0]) is expected
    assert "5xx" not in retry_of(documents, NAMES[0])
    assert "typed_per_filter_config" not in weighted(documents)[1]


def test_the_candidate_has_half_of_the_budget_and_the_answer_all_of_it() -> None:
    documents = render(split(100, timeout_ms=1500), {})
    assert model_route(documents)["route"]["timeout"] == "1.500s"
    assert '"value": "750"' in json.dumps(weighted(documents)[0])


def tries(documents: Documents) -> Any:
    """Milliseconds for each try of the users assigned to a revision, by the revision."""
    found = {}
    for cluster in weighted(documents):
        for config in cluster.get("typed_per_filter_config", {}).values():
            (mutation,) = config["mutations"]["request_mutations"]
            found[cluster["name"].partition("/")[0]] = int(mutation["append"]["header"]["value"])
    return found


def test_before_a_fallback_stable_has_three_quarters_of_the_budget_and_the_candidate_half_of_that() -> None:
    both = with_policy(split(100, timeout_ms=800), fallback=Fallback(("simple",)))
    assert tries(render(both, {})) == {NAMES[0]: 600, NAMES[1]: 300}
    assert tries(render(with_policy(both, retry_on_stable=False), {})) == {NAMES[0]: 600}
    assert tries(render(with_policy(both, fallback=Fallback()), {})) == {NAMES[1]: 400}


@given(st.integers(4, 10_000_000))
def test_all_tries_before_a_fallback_leave_it_a_quarter_of_the_budget(timeout_ms: int) -> None:
    assert 2 * candidate_try_ms(timeout_ms, fallback=True) <= max(2, 0.75 * timeout_ms)
    assert stable_try_ms(timeout_ms) <= 0.75 * timeout_ms


@pytest.mark.parametrize(
    ("timeout_ms", "with_fallback", "without"), [(800, "0.900s", "0.800s"), (100, "0.150s", "0.100s")]
)
def test_a_fallbacks_answer_may_be_late_by_an_eighth_and_nothing_else(
    timeout_ms: int, with_fallback: Any, without: Any
) -> None:
    intent = with_policy(split(100, timeout_ms=timeout_ms), fallback=Fallback((), SAFE))
    for chain, expected in ((intent.policy.fallback, {with_fallback, without}), (Fallback(), {without})):
        (host,) = render(with_policy(intent, fallback=chain), {}).routes["virtual_hosts"]
        routes = [route["route"] for route in host["routes"] if "route" in route]
        assert {route["timeout"] for route in routes} - {"0.000s", "0s"} == expected


def test_only_unsure_answers_that_are_a_fallbacks_matter_are_tried_again() -> None:
    for unsure in (False, True):
        documents = render(with_policy(split(100), fallback=Fallback((), SAFE, unsure)), {})
        assert ("retriable-headers" in retry_of(documents, NAMES[0])) is unsure


def test_refusals_and_invalid_answers_are_tried_again_of_a_candidate_alone() -> None:
    for fallback, retry in product((Fallback(), Fallback((), SAFE)), (True, False)):
        documents = render(with_policy(split(100), fallback=fallback, retry_on_stable=retry), {})
        tried_again = {
            name for name, cluster in documents.clusters.items() if contract.REJECTED_HEADER in json.dumps(cluster)
        }
        kinds = ["assigned=true", "uncounted", "grpc/assigned=true", "grpc/uncounted"]
        kinds += ["testers", "grpc/testers"] if fallback else []
        assert tried_again == ({f"{NAMES[1]}/{kind}" for kind in kinds} if retry else set())


def test_questions_about_a_model_and_streams_have_no_fallback() -> None:
    documents = render(with_policy(split(100), fallback=Fallback((), SAFE)), {})
    for name, cluster in documents.clusters.items():
        if "cluster_type" in cluster:
            behind = BUILT_IN & set(cluster["cluster_type"]["typed_config"]["clusters"])
            assert bool(behind) is name.endswith(("assigned=true", "testers")), name


@given(st.integers(1, 10_000_000))
def test_the_candidates_share_is_an_edge_of_the_histogram_within_half_of_the_budget(timeout_ms: int) -> None:
    share = candidate_try_ms(timeout_ms)
    assert share in LATENCY_EDGES_MS
    assert share <= max(1, timeout_ms / 2)


@pytest.mark.parametrize(
    ("timeout_ms", "share"), [(1, 1), (100, 50), (200, 100), (450, 200), (1000, 500), (60_000, 30_000)]
)
def test_the_share_of_usual_budgets_is_half(timeout_ms: int, share: Any) -> None:
    assert candidate_try_ms(timeout_ms) == share


@pytest.mark.parametrize(
    ("slow_ms", "retry", "added"),
    [
        pytest.param(None, True, [], id="none is asked for"),
        pytest.param(210, True, [210], id="one between two others"),
        pytest.param(200, True, [], id="one that is there anyway"),
        pytest.param(550, True, [], id="one beyond the candidate's share"),
        pytest.param(550, False, [550], id="one within the budget of a candidate that nobody rescues"),
        pytest.param(1000, False, [], id="one at the end of the budget"),
        pytest.param(None, False, [], id="none"),
    ],
)
def test_the_histogram_has_an_edge_where_answers_become_slow(slow_ms: Any, retry: bool, added: Any) -> None:
    intent = Intent(policy=Policy(1000, retry, slow_ms))
    edges = latency_edges(intent)
    assert edges == sorted({*LATENCY_EDGES_MS, *added})
    (settings_,) = bootstrap_document("ns", "fraud", LAYOUT, intent, UNPROTECTED)["stats_config"][
        "histogram_bucket_settings"
    ]
    assert settings_["buckets"] == edges


def test_the_pods_are_marked_for_the_histogram_but_not_where_they_are_no_evidence() -> None:
    document = render(split(100), {NAMES[0]: (Endpoint("10.0.0.1", 8000, "pod-a"),)})
    marks = {}
    for name in (f"{NAMES[0]}/attempts", f"{NAMES[0]}/rescue"):
        service = document.clusters[name]["eds_cluster_config"]["service_name"]
        (pod,) = document.endpoints[service]["endpoints"][0]["lb_endpoints"]
        assert pod["metadata"]["filter_metadata"]["headgate"]["revision"] == NAMES[0]
        marks[name] = "envoy.lb" in pod["metadata"]["filter_metadata"]
    assert marks == {f"{NAMES[0]}/attempts": True, f"{NAMES[0]}/rescue": False}


def test_every_way_to_a_pod_goes_over_tls_where_the_pod_says_so_and_only_there() -> None:
    tls = PodTls("fraud.ns.svc", {"1a2b3c4d": Path("/secrets/pods")})
    pods = (
        Endpoint("10.0.0.1", 8000, "pod-a", grpc_port=8001, identity="1a2b3c4d"),
        Endpoint("10.0.0.2", 8000, "pod-b", grpc_port=8001),
    )
    document = render(split(100), dict.fromkeys(NAMES, pods), tls=tls)
    ways = {name: one for name, one in document.clusters.items() if "eds_cluster_config" in one}
    assert {name.partition("/")[2] for name in ways} == {
        *("attempts", "uncounted-attempts", "rescue"),
        *("grpc/attempts", "grpc/uncounted-attempts", "grpc/rescue"),
    }
    for cluster in ways.values():
        (secured,) = cluster["transport_socket_matches"]
        assert "transport_socket" not in cluster
        for endpoint in document.endpoints[cluster["eds_cluster_config"]["service_name"]]["endpoints"][0][
            "lb_endpoints"
        ]:
            asked = endpoint["metadata"]["filter_metadata"].get("envoy.transport_socket_match")
            assert asked == (secured["match"] if endpoint["endpoint"]["hostname"] == "pod-a" else None)


def test_a_cluster_stays_as_it_is_whatever_its_pods_speak_and_without_any() -> None:
    tls = PodTls("fraud.ns.svc", {"1a2b3c4d": Path("/secrets/pods")})
    plain, secured = (Endpoint("10.0.0.1", 8000, "pod", identity=identity) for identity in ("", "1a2b3c4d"))
    found = [render(split(100), {NAMES[0]: pods}, tls=tls).clusters for pods in ((), (plain,), (secured,))]
    assert found[0] == found[1] == found[2]


def test_every_pod_has_its_name_and_its_revision() -> None:
    document = render(split(0), {NAMES[0]: (Endpoint("10.0.0.1", 8000, "pod-a"),)}).endpoints[f"{NAMES[0]}.attempts"]
    (pod,) = document["endpoints"][0]["lb_endpoints"]
    assert pod["endpoint"]["hostname"] == "pod-a"
    assert pod["metadata"]["filter_metadata"]["headgate"]["revision"] == NAMES[0]


def test_the_bootstrap_opens_the_contracts_ports_and_no_admin_port() -> None:
    bootstrap = bootstrap_document("ns", "fraud", LAYOUT, Intent(), UNPROTECTED)
    listeners = bootstrap["static_resources"]["listeners"]
    assert [listener["address"]["socket_address"]["port_value"] for listener in listeners] == [8080, 8003]
    assert bootstrap["admin"]["address"] == {"pipe": {"path": "/xds/admin.sock", "mode": 0o600}}


@pytest.mark.parametrize(
    ("pods", "asked"),
    [
        pytest.param({"a": State.READY, "b": State.UNREADY}, ["a"], id="the ready one"),
        pytest.param({"a": State.ENDING, "b": State.UNREADY}, ["a"], id="the one that still serves"),
        pytest.param({"a": State.UNREADY}, [], id="none"),
    ],
)
def test_a_candidates_pods_that_are_not_ready_are_there_for_their_counters_only(
    pods: dict[str, State], asked: list[str]
) -> None:
    assert asked_of(NAMES[1], pods) == asked


def test_stables_pods_that_are_not_ready_are_its_last_resort() -> None:
    assert asked_of(NAMES[0], {"a": State.READY, "b": State.UNREADY}) == ["a"]
    assert asked_of(NAMES[0], {"a": State.UNREADY, "b": State.UNREADY}) == ["a", "b"]


def asked_of(revision: str, pods: dict[str, State]) -> list[str]:
    """The pods that get requests; the others have to be there as well."""
    known = tuple(Endpoint(f"10.0.0.{i}", 8000, name, state) for i, (name, state) in enumerate(pods.items()))
    (place,) = render(split(100), {revision: known}).endpoints[f"{revision}.attempts"]["endpoints"]
    shown = {pod["endpoint"]["hostname"]: pod.get("health_status", "HEALTHY") for pod in place["lb_endpoints"]}
    assert shown.keys() == pods.keys()
    return [name for name, health in shown.items() if health == "HEALTHY"]
