"""An engine that is not Headgate's is judged as Headgate's own is, by samples that routers copy to a monitor beside it.

Any server of the protocol will do; here it is one that also counts all of its requests itself, where nobody scrapes it.
"""

from __future__ import annotations

from collections import Counter

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Json, Model, identities
from stories.servers import OWN_METRICS, custom
from stories.waiting import until

SAMPLED_METRICS = 8002


def test_versions_on_an_engine_of_ones_own_are_promoted_and_rolled_back_by_samples(
    headgate: Headgate, namespace: str
) -> None:
    models, image = headgate.world.artifact, headgate.world.images["serving"]
    census = headgate.model(namespace, runtime=custom(image), monitoring={"sample": "100%"})
    census.ask_for(models("v1"))
    v1 = census.until_stable("v1").revision_of("v1")
    users = Clients.of(census, rate=60)  # two routers pass on 50 samples a second each
    (pod,) = census.pods("runtime", v1)
    sampled, own = until(
        lambda: (bins(census, pod, SAMPLED_METRICS), bins(census, pod, OWN_METRICS)),
        lambda found: sum(found[0].values()) > 5000,
        60,
        "samples are counted",
    )
    assert sampled.keys() <= own.keys()
    assert 0.8 * sum(own.values()) < sum(sampled.values()) <= sum(own.values())

    census.ask_for(models("v2"))
    promoted = census.until_stable("v2", seconds=300)
    assert promoted.decisions[-1] == ("v2", "Promoted", "EvidencePassed")
    census.ask_for(models("v4"))
    shifted = census.until(lambda seen: seen.was_rolled_back("v4"), 300, "v4 is rolled back")
    assert shifted.decisions[-1] == ("v4", "RolledBack", "PredictionsShifted")
    users.saw_no_failure()
    assert sum(identities(census.pods("runtime", promoted.revision_of("v2"))).values()) == 0


def bins(model: Model, pod: Json, port: int) -> Counter[str]:
    """What a port of the pod says of answers by bin; asked through the API server, as Prometheus asks one port only."""
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{model.namespace}/pods/{name}:{port}/proxy/metrics"
    lines = model.world.cluster.kubectl("get", f"--raw={path}").splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("headgate_prediction_bin_total{"))
    return Counter({series: round(float(value)) for series, _, value in found if float(value)})
