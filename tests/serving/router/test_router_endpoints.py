import pytest

from headgate_serving.router.endpoints import Endpoint, State, endpoints_by_revision, serving, usable
from headgate_serving.router.errors import InvalidEndpoint

REVISION = "fraud-1a2b3c4d"


def endpoint(pod="pod-a", address="10.0.0.1", **conditions):
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}}


def slice_of(*endpoints, revision=REVISION, port="http", family="IPv4"):
    return {
        "metadata": {"name": "slice", "labels": {"headgate.dev/revision": revision}},
        "addressType": family,
        "ports": [{"name": "metrics", "port": 8002}, {"name": port, "port": 8000}],
        "endpoints": list(endpoints),
    }


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
def test_a_pod_is_usable_when_it_can_answer(conditions, used):
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
def test_pods_in_the_best_state_are_usable_and_the_others_known(there, best, serves):
    found = endpoints_by_revision([slice_of(*there)])[REVISION]
    assert len(found) == len(there)
    assert usable(found) == (best,)
    assert serving(found) == ((best,) if serves else ())


def test_slices_of_a_revision_are_joined_and_sorted_and_revisions_kept_apart():
    found = endpoints_by_revision(
        [
            slice_of(endpoint("pod-b", "10.0.0.2")),
            slice_of(endpoint("pod-a", "10.0.0.1")),
            slice_of(endpoint("pod-c", "10.0.0.3"), revision="fraud-9e8d7c6b"),
        ]
    )
    assert [e.pod for e in found[REVISION]] == ["pod-a", "pod-b"]
    assert [e.pod for e in found["fraud-9e8d7c6b"]] == ["pod-c"]


def test_a_pod_in_two_slices_is_one_endpoint_and_ready_wins():
    stale = endpoint(ready=False, serving=True, terminating=True)
    for slices in ([slice_of(stale), slice_of(endpoint())], [slice_of(endpoint()), slice_of(stale)]):
        assert endpoints_by_revision(slices)[REVISION] == (Endpoint("10.0.0.1", 8000, "pod-a"),)


def test_a_pod_with_two_addresses_is_one_endpoint():
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
def test_a_slice_without_usable_endpoints_leaves_the_revision_empty(item):
    assert endpoints_by_revision([item]) == {REVISION: ()}


def test_a_slice_of_no_revision_is_passed_over():
    assert endpoints_by_revision([slice_of(endpoint()) | {"metadata": {"labels": None}}]) == {}


def test_a_slice_that_cannot_be_read_is_an_error_and_not_an_empty_revision():
    with pytest.raises(InvalidEndpoint, match="slice can't be read"):
        endpoints_by_revision([slice_of({"addresses": []})])
