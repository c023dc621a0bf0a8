"""An Envoy that starts anew between two scrapes: what it says of that is enough to count each answer once."""

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from headgate.core.dataplane.envoy.series import SUCCESSES, UPTIME
from headgate.core.statistics.counters import Series, read_since
from headgate_serving.router.policy.traffic import Intent, Target
from patience import eventually
from router_envoy import Router, answering, prepared, running_envoy
from router_upstreams import Upstream, serving

INFER = "/v2/models/fraud/infer"
STABLE, CANDIDATE = Upstream("fraud-00000001"), Upstream("fraud-00000002")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Router]:
    yield prepared(tmp_path)


def scraped(router: Router) -> dict[tuple[tuple[str, str], ...], float]:
    """As Prometheus would: what is asked for by the labels of the contract."""
    with urllib.request.urlopen(f"http://127.0.0.1:{router.layout.metrics_port}/stats/prometheus") as answer:
        text = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        pairs = dict(LABEL.findall(labels)) | {"__name__": name}
        if name in (SUCCESSES, UPTIME) and pairs.get("headgate_revision") in (STABLE.name, CANDIDATE.name):
            found[tuple(sorted(pairs.items()))] = float(value)
    return found


async def requests(router: Router, count: int) -> None:
    """So many that stable answers."""
    targets = (Target(STABLE.name, "stable", 1000), Target(CANDIDATE.name, "candidate", 0))
    await router.follow(Intent(targets), {pod.name: (pod.endpoint,) for pod in (STABLE, CANDIDATE)})
    async with aiohttp.ClientSession() as session:

        async def live() -> bool:
            async with session.post(f"{router.url}/v2") as answer:
                return answer.status == 200

        await eventually(live, "the version is live")
        for _ in range(count):
            async with session.post(f"{router.url}{INFER}", data=b"{}") as answer:
                assert answer.status == 200


async def test_an_envoy_that_starts_anew_between_two_scrapes_loses_no_count(alone: Router) -> None:
    async with serving(STABLE, CANDIDATE):
        with answering(alone):
            with running_envoy(alone):
                await requests(alone, 150)
                time.sleep(1.1)  # noqa: ASYNC251 - a flush
                first, at = scraped(alone), time.time()
            with running_envoy(alone):
                await requests(alone, 90)
                second, later = scraped(alone), time.time()
    assert {dict(labels)["headgate_revision"] for labels in first if ("__name__", UPTIME) in labels} == {
        STABLE.name,
        CANDIDATE.name,
    }, "said of each revision"
    # Envoy had run for a while: only how long a test may take is another matter.
    samples = {labels: [(at, value + 600 * (("__name__", UPTIME) in labels))] for labels, value in first.items()}
    for labels, value in second.items():
        samples.setdefault(labels, []).append((later, value))
    series = [Series({**dict(labels), "instance": "router"}, tuple(found)) for labels, found in samples.items()]
    reading = read_since(at, series, 30.0)
    assert reading is not None
    gained = sum(i.gained for i in reading.increments if i.labels["headgate_revision"] == STABLE.name)
    assert gained == 90, [(s.labels["__name__"], s.samples) for s in series]
