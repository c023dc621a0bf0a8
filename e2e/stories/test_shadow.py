"""A candidate gets copies of live requests first: one that disagrees goes before it has a user, a good one goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

from demo import artifacts
from headgate_serving.router.mirror.series import VERDICTS
from stories.clients import PATIENCE
from stories.grpc_clients import GrpcClients
from stories.installation import Headgate
from stories.models import Model
from stories.seen import counts
from stories.waiting import until

pytestmark = pytest.mark.alone

# v1 and v2 give the same label to 94 of 100 people, v1 and v4 to 55.
SHADOW = {"enabled": True, "fraction": "100%", "minPairs": 350, "minAgreement": "85%"}
RECORDED = 300


def test_a_candidate_that_disagrees_goes_before_it_has_a_user_and_a_good_one_goes_on(
    headgate: Headgate, namespace: str
) -> None:
    models = headgate.world.artifact
    census = headgate.model(namespace, rollout={"shadow": SHADOW})
    census.ask_for(models("v1"))
    v1 = census.until_stable("v1").revision_of("v1")

    with GrpcClients.of(census, rate=100) as users:
        census.ask_for(models("v4"))
        gone = census.until(lambda seen: seen.was_rolled_back("v4"), 90, "v4 is rolled back")
    assert gone.decisions[-1] == ("v4", "RolledBack", "ShadowDisagrees")
    users.saw_no_failure()
    assert {revision for seen in users.answered.values() for revision in seen} == {v1}
    v4 = gone.revision_of("v4")
    assert headgate.attempts(census)[v4] == 0
    assert headgate.counted(census, "headgate_requests_total")[v4] > 0, "its pod was asked, by the agents"

    census.ask_for(models("v2"))
    census.until(lambda seen: seen.phase == "Shadow" and seen.view.rollout_version == "v2", 60, "v2 gets copies")
    until(
        lambda: series_of_pairs(headgate, census),
        lambda found: found == len(VERDICTS) * 2,
        20,
        "both routers count pairs",
    )
    time.sleep(1)  # what they write for Envoy is there when the series are; Envoy takes a moment
    with Recorder.of(census) as recorder:
        recorded = [recorder.ask(number, pause=0.025) for number in range(RECORDED)]
    assert {each.revision for each in recorded} == {v1}
    told, other = labels("v1")[:RECORDED], labels("v2")[:RECORDED]
    assert [each.label for each in recorded] == told.tolist()
    shadowed = census.until(lambda seen: pairs(seen.rollout)[0] >= RECORDED, 20, "all pairs are counted")
    assert pairs(shadowed.rollout) == (RECORDED, int((told == other).sum()), 0)
    assert shadowed.phase == "Shadow"

    with GrpcClients.of(census, rate=100) as users:
        canary = census.until_canary("v2")
    users.saw_no_failure()
    (shadow,) = [each for each in canary.rollout["evidence"]["signals"] if each["name"] == "shadow"]
    assert shadow["verdict"] == "Pass"
    assert [reason for _, reason in census.events() if reason.endswith("Started")][-2:] == [
        "ShadowStarted",
        "CanaryStarted",
    ]


@dataclass(frozen=True)
class Recorded:
    """What a user got."""

    label: int
    revision: str


@dataclass(frozen=True)
class Recorder:
    """A user who writes down every answer. Even requests go by gRPC, odd ones by REST."""

    model: str
    rows: NDArray[np.float32]
    rest: httpx.Client
    stub: Any

    @staticmethod
    @contextmanager
    def of(model: Model) -> Iterator[Recorder]:
        path = f"/api/v1/namespaces/{model.namespace}/services/{model.name}"
        address = model.world.api.get(path)["spec"]["clusterIP"]
        with (
            httpx.Client(base_url=f"http://{address}", timeout=PATIENCE) as rest,
            grpc.insecure_channel(f"{address}:8001") as channel,
        ):
            yield Recorder(model.name, people(), rest, service_pb2_grpc.GRPCInferenceServiceStub(channel))

    def ask(self, number: int, pause: float) -> Recorded:
        """After a pause, for no router looks at more than 50 copies a second."""
        time.sleep(pause)
        row = self.rows[number]
        return self._by_rest(row) if number % 2 else self._by_grpc(row)

    def _by_rest(self, row: NDArray[np.float32]) -> Recorded:
        given = {"name": "input", "datatype": "FP32", "shape": [1, len(row)], "data": row.tolist()}
        answer = self.rest.post(f"/v2/models/{self.model}/infer", json={"inputs": [given]}).raise_for_status()
        (label,) = (output["data"][0] for output in answer.json()["outputs"] if output["name"] == "label")
        return Recorded(label, answer.headers["x-headgate-revision"])

    def _by_grpc(self, row: NDArray[np.float32]) -> Recorded:
        request = service_pb2.ModelInferRequest(model_name=self.model)
        request.inputs.add(name="input", datatype="FP32", shape=[1, len(row)])
        request.raw_input_contents.append(row.tobytes())
        response, call = self.stub.ModelInfer.with_call(request, timeout=PATIENCE)
        revision = dict(call.initial_metadata())["x-headgate-revision"]
        return Recorded(int(InferResult(response).as_numpy("label")[0]), str(revision))


def people() -> NDArray[np.float32]:
    with np.load(artifacts.build().folder / artifacts.ROWS) as rows:
        found: NDArray[np.float32] = rows["features"].astype(np.float32)[: 2 * RECORDED]
    return found


def labels(version: str) -> NDArray[np.int64]:
    """What a version says of all of them, asked without Headgate."""
    session = InferenceSession(artifacts.build().folder / version / "model.onnx")
    found: NDArray[np.int64] = session.run(["label"], {"input": people()})[0]
    return found


def pairs(rollout: dict[str, Any]) -> tuple[int, int, int]:
    """Compared, answered alike, not answered by the candidate."""
    seen = counts(rollout.get("evidence"), "shadow")
    return seen.get("pairs", 0), seen.get("agreed", 0), seen.get("failed", 0)


def series_of_pairs(headgate: Headgate, model: Model) -> int:
    """A series for each verdict and router."""
    whose = f'{{headgate_namespace="{model.namespace}",headgate_model="{model.name}"}}'
    return sum(headgate.query(f"count by (headgate_revision) (headgate_shadow_pairs_total{whose})").values())
