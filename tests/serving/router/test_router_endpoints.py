from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_serving.router.policy.endpoints import Endpoint, State, endpoints_by_revision, serving, usable
from headgate_serving.router.policy.pod_tls import PodTls, reachable
from router_cluster import REVISION, endpoint, slice_of


@pytest.mark.parametrize(
    ("conditions", "used"),
    [
        pytest.param({"ready": True, "serving": True, "terminating": False}, True, id="ready"),
        pytest.param({}, True, id="nothing known counts as ready"),
        pytest.param({"ready": None}, True, id="null counts as ready"),
        pytest.param({"ready": False, "serving": False, "terminating": False}, True, id="the only one, not ready"),
        pytest.param({"ready": False, "serving": True, "terminating": True}, True, id="the last one still serves"),
        pytest.param({"ready": False, "serving": False, "terminating": True}, False, id="ended"),
    ],
)
def test_a_pod_is_usable_when_it_can_answer(conditions: Any, used: Any) -> None:
    found = endpoints_by_revision([slice_of(endpoint(**conditions))])
    assert bool(usable(found[REVISION])) is used


READY = endpoint(ready=True)
ENDING = endpoint("pod-b", "10.0.0.2", ready=False, serving=True, terminating=True)
UNREADY = endpoint("pod-c", "10.0.0.3", ready=False)


@pytest.mark.parametrize(
    ("there", "best", "serves"),
    [
        pytest.param([READY, ENDING, UNREADY], Endpoint("10.0.0.1", 8000, "pod-a"), True, id="the ready one"),
        pytest.param(
            [UNREADY, ENDING],
            Endpoint("10.0.0.2", 8000, "pod-b", State.ENDING),
            True,
            id="one that ends, where none is ready",
        ),
        pytest.param(
            [UNREADY],
            Endpoint("10.0.0.3", 8000, "pod-c", State.UNREADY),
            False,
            id="one that is not ready, where there is no other",
        ),
    ],
)
def test_pods_in_the_best_state_are_usable_and_the_others_known(there: Any, best: Any, serves: Any) -> None:
    found = endpoints_by_revision([slice_of(*there)])[REVISION]
    assert len(found) == len(there)
    assert usable(found) == (best,)
    assert serving(found) == ((best,) if serves else ())


def test_slices_of_a_revision_are_joined_and_sorted_and_revisions_kept_apart() -> None:
    found = endpoints_by_revision(
        [
            slice_of(endpoint("pod-b", "10.0.0.2")),
            slice_of(endpoint("pod-a", "10.0.0.1")),
            slice_of(endpoint("pod-c", "10.0.0.3"), revision="fraud-9e8d7c6b"),
        ]
    )
    assert [e.pod for e in found[REVISION]] == ["pod-a", "pod-b"]
    assert [e.pod for e in found["fraud-9e8d7c6b"]] == ["pod-c"]


def test_a_pod_in_two_slices_is_one_endpoint_and_ready_wins() -> None:
    stale = endpoint(ready=False, serving=True, terminating=True)
    for slices in ([slice_of(stale), slice_of(endpoint())], [slice_of(endpoint()), slice_of(stale)]):
        assert endpoints_by_revision(slices)[REVISION] == (Endpoint("10.0.0.1", 8000, "pod-a"),)


def test_a_pod_with_two_addresses_is_one_endpoint() -> None:
    slices = [slice_of(endpoint(address="fd00::1"), family="IPv6"), slice_of(endpoint())]
    assert endpoints_by_revision(slices)[REVISION] == (Endpoint("10.0.0.1", 8000, "pod-a"),)


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(slice_of(endpoint(), port="grpc"), id="without the http port"),
        pytest.param(slice_of(endpoint(), family="FQDN"), id="of host names"),
        pytest.param(slice_of() | {"endpoints": None}, id="without endpoints"),
    ],
)
def test_a_slice_without_usable_endpoints_leaves_the_revision_empty(item: Any) -> None:
    assert endpoints_by_revision([item]) == {REVISION: ()}


def test_a_slice_of_no_revision_is_passed_over() -> None:
    assert endpoints_by_revision([slice_of(endpoint()) | {"metadata": {"labels": None}}]) == {}


def with_ports(*ports: Any) -> Any:
    return slice_of(endpoint("pod-x", "10.0.0.9")) | {"ports": list(ports)}


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(with_ports({"name": "http"}), id="a port without a number, which stands for all"),
        pytest.param(with_ports({"name": "http", "port": None}), id="a port that is null"),
        pytest.param(with_ports({"name": "http", "port": "8000"}), id="a port as text"),
        pytest.param(with_ports({"name": "http", "port": True}), id="a port that is true"),
        pytest.param(with_ports({"name": "http", "port": 0}), id="port 0"),
        pytest.param(with_ports({"name": "http", "port": 65536}), id="a port that is none"),
        pytest.param(with_ports({"name": "http", "port": 8000}, {"name": "grpc"}), id="gRPC without a number"),
        pytest.param(with_ports(7), id="a port that is no object"),
        pytest.param(slice_of() | {"ports": 7}, id="ports that are no list"),
        pytest.param(slice_of() | {"endpoints": 7}, id="endpoints that are no list"),
        pytest.param(slice_of() | {"addressType": ["IPv4"]}, id="a family that is a list"),
        pytest.param(slice_of({"addresses": []}), id="no address"),
        pytest.param(slice_of({}), id="no addresses"),
        pytest.param(slice_of({"addresses": None}), id="addresses that are null"),
        pytest.param(slice_of(endpoint(address="pod.example")), id="a name in place of an address"),
        pytest.param(slice_of(endpoint(address="10.0.0.256")), id="an address that is none"),
        pytest.param(slice_of(endpoint(address="fe80::1%eth0"), family="IPv6"), id="an address of one interface"),
        pytest.param(slice_of(endpoint(address=7)), id="an address that is a number"),
        pytest.param(slice_of(endpoint(pod=7)), id="a pod's name that is a number"),
        pytest.param(slice_of(endpoint() | {"targetRef": "pod-a"}), id="a pod that is no object"),
        pytest.param(slice_of(endpoint() | {"conditions": ["ready"]}), id="conditions that are no object"),
        pytest.param(slice_of(None), id="an endpoint that is null"),
    ],
)
def test_what_cannot_be_read_is_left_out_and_said_and_the_rest_is_followed(item: Any) -> None:
    said = list[str]()
    good = slice_of(endpoint("pod-b", "10.0.0.2"))
    good["endpoints"].append(endpoint("pod-c", "10.0.0.3"))
    for slices in ([item, good], [good, item]):
        found = endpoints_by_revision(slices, said.append)
        assert [each.pod for each in found[REVISION]] == ["pod-b", "pod-c"]
    assert len(said) == 2
    assert "EndpointSlice slice: " in said[0]


def test_the_other_endpoints_of_a_slice_are_followed() -> None:
    said = list[str]()
    slices = [slice_of(endpoint("pod-a", "10.0.0.1"), {"addresses": []}, endpoint("pod-c", "10.0.0.3"))]
    assert [each.pod for each in endpoints_by_revision(slices, said.append)[REVISION]] == ["pod-a", "pod-c"]
    assert "endpoint 1 can't be read" in said[0]


def test_a_port_that_nobody_asks_needs_no_number() -> None:
    item = with_ports({"name": "http", "port": 8000}, {"name": "metrics"}, {})
    assert [each.pod for each in endpoints_by_revision([item])[REVISION]] == ["pod-x"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.floats() | st.sampled_from(["http", "IPv4", "10.0.0.1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "port", "addresses", "conditions", "ready", "targetRef", "terminating"]), inner
        )
    ),
    max_leaves=8,
)


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_no_slice_whatever_is_in_it_holds_up_the_others(labels: Any, family: Any, ports: Any, endpoints: Any) -> None:
    odd = {"metadata": {"name": "odd", "labels": labels}}
    ours = odd | {"metadata": {"labels": {"headgate.dev/revision": REVISION}}}
    rest = {"addressType": family, "ports": ports, "endpoints": endpoints}
    found = endpoints_by_revision(
        [odd | rest, ours | rest, ours | rest | {"addressType": "IPv4"}, slice_of(endpoint())]
    )
    assert any(each.pod == "pod-a" for each in found[REVISION])


def test_pods_that_speak_tls_say_so_by_the_names_of_their_ports() -> None:
    item = slice_of(endpoint())
    item["ports"] = [{"name": "https-1a2b3c4d", "port": 8000}, {"name": "grpcs-1a2b3c4d", "port": 8001}]
    (found,) = endpoints_by_revision([item])[REVISION]
    assert (found.port, found.grpc_port, found.identity) == (8000, 8001, "1a2b3c4d")
    item["ports"][1]["name"] = "grpcs-00000000"
    said = list[str]()
    assert endpoints_by_revision([item], said.append) == {REVISION: ()}
    assert "different certificates" in said[0]


def test_pods_that_want_a_certificate_that_is_not_mounted_are_not_asked() -> None:
    plain, known, unknown = (Endpoint("10.0.0.1", 8000, name, identity=name) for name in ("", "known", "unknown"))
    pods = {"fraud-a": (plain,), "fraud-b": (known,), "fraud-c": (unknown,), "fraud-d": (unknown,)}
    said = list[str]()
    tls = PodTls.of("ns", "fraud", ["known=/secrets/pods"])
    assert tls == PodTls("fraud.ns.svc", {"known": Path("/secrets/pods")})
    found = reachable(pods, tls, ["fraud-a", "fraud-c"], said.append)
    assert found == {"fraud-a": (plain,), "fraud-b": (known,), "fraud-c": (), "fraud-d": ()}
    assert said == ["pods of fraud-c want a certificate of a Secret that is not mounted in this router"]


@pytest.mark.parametrize("given", ["", "known", "=/secrets", "known="])
def test_a_secret_for_pods_is_given_with_its_identity(given: str) -> None:
    with pytest.raises(ValueError, match="expected IDENTITY=FOLDER"):
        PodTls.of("ns", "fraud", [given])
