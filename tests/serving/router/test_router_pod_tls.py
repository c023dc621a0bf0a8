"""Pods that speak TLS behind a router: who is asked how, what a new certificate costs, and what is never asked."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

import serving_models as models
from headgate.api.policy import Match, Selector
from headgate_serving.certificates import Certificate, Identity, server_context
from headgate_serving.router.envoy.secret_watcher import SecretWatcher
from headgate_serving.router.mirror.exchange import Unusable
from headgate_serving.router.mirror.secured import SecuredPods
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.router.policy.pod_tls import PodTls
from headgate_serving.router.policy.protection import Protection
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE, eventually
from ports import free_port
from router_envoy import Router, answering, prepared, running_envoy
from router_mounts import Mount
from router_policies import with_policy
from router_upstreams import Upstream, serving
from serving_process import Served
from stories.certificates import Pair, authority

pytestmark = pytest.mark.usefixtures("refused_connections")

NAME, IDENTITY = "fraud.ns.svc", "1a2b3c4d"
INFER = "/v2/models/fraud/infer"
ROW = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
PODS, ROUTERS, OTHERS = authority("pods"), authority("routers"), authority("others")
STABLE, CANDIDATE = "fraud-1a2b3c4d", "fraud-9e8d7c6b"


@dataclass
class Secured:
    router: Router
    mount: Mount
    secrets: SecretWatcher

    @property
    def tls(self) -> PodTls:
        return self.router.protection.pods

    def show(self, own: Pair, *trusted: Pair) -> None:
        self.mount.fill(tls_crt=own.pem, tls_key=own.key, ca_crt="".join(pair.pem for pair in trusted or (PODS,)))
        self.secrets.check()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    root = tmp_path_factory.mktemp("pod-tls")
    mount = Mount(root / "mount")
    router = prepared(root / "xds", Protection(pods=PodTls(NAME, {IDENTITY: mount.root})))
    found = Secured(router, mount, SecretWatcher(router.protection, router.folder, lambda *_: None))
    found.show(ROUTERS.issue("router"))
    with answering(router), running_envoy(router):
        yield found
        assert router.count("envoy_cluster_manager_cds_update_rejected") == 0


def of_pods(own: Pair, *trusted: Pair) -> ssl.SSLContext:
    identity = Identity(Certificate(own.pem, own.key), "".join(pair.pem for pair in trusted or (ROUTERS,)))
    return server_context(identity, "http/1.1")


def over_tls(name: str, own: Pair | None = None) -> Upstream:
    return Upstream(name, tls=of_pods(own or PODS.issue(NAME)), identity=IDENTITY)


async def follow(router: Router, weight: int, *pods: Upstream, matches: tuple[Match, ...] = ()) -> None:
    """The first of the pods is stable's, the second the candidate's, which gets `weight` tenths of a percent."""
    roles = [(pods[0].name, "stable", 1000 - weight), *((pod.name, "candidate", weight) for pod in pods[1:])]
    intent = with_policy(Intent(tuple(Target(*role) for role in roles)), matches=matches)  # type: ignore[arg-type]
    await router.follow(intent, {pod.name: (pod.endpoint,) for pod in pods})
    await eventually(router.follows_routes, "Envoy follows its routes")


async def ask(router: Router, **headers: str) -> tuple[int, str]:
    """The status, and the revision that has answered."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{router.url}{INFER}", json=ROW, headers=headers) as response,
    ):
        await response.read()
        return response.status, response.headers.get("x-headgate-revision", "")


async def is_answered(router: Router) -> bool:
    return (await ask(router))[0] == 200


@contextlib.asynccontextmanager
async def runtime(root: Path) -> AsyncIterator[tuple[Mount, Served, Endpoint]]:
    """Headgate's own server."""
    mount, own = Mount(root / "tls"), PODS.issue(NAME)
    mount.fill(tls_crt=own.pem, tls_key=own.key, ca_crt=ROUTERS.pem)
    model = models.score(root / "model.onnx")
    options = ("--tls", str(mount.root), "--health-port", str(free_port()))
    served = await asyncio.to_thread(partial(Served, model, *options, log=root / "log"))
    ports = [int(address.rpartition(":")[2]) for address in (served.address, served.grpc_address)]
    try:
        yield mount, served, Endpoint("127.0.0.1", ports[0], "pod", grpc_port=ports[1], identity=IDENTITY)
    finally:
        assert await asyncio.to_thread(served.stop) == 0


async def test_the_runtime_is_asked_over_tls_by_rest_and_grpc_and_by_the_shadow(
    secured: Secured, tmp_path: Path
) -> None:
    router = secured.router
    async with runtime(tmp_path) as (_, _, pod):
        await router.follow(Intent((Target(STABLE, "stable", 1000),)), {STABLE: (pod,)})
        await eventually(partial(is_answered, router), "Envoy asks over TLS")
        request = service_pb2.ModelInferRequest(model_name="fraud")
        request.inputs.add(name="X", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.0, 2.0])
        async with grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ModelInfer(request, timeout=PATIENCE)).model_name == "fraud"
        # As the shadow asks, past Envoy.
        pods = SecuredPods(secured.tls)
        scheme, more = pods.rest(pod)
        url = f"{scheme}://{pod.authority(pod.port)}{INFER}"
        async with aiohttp.ClientSession() as session, session.post(url, json=ROW, **more) as answer:
            assert answer.status == 200
        async with pods.channel(pod.authority(pod.grpc_port), pods.identity(pod), ()) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ModelInfer(request, timeout=PATIENCE)).model_name == "fraud"
        # Who shows nothing gets nothing.
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.post(url, json=ROW, ssl=False) as answer:
                await answer.read()


@pytest.mark.parametrize("secured_role", ["stable", "candidate", "both"])
async def test_pods_of_both_kinds_stand_behind_one_router(secured: Secured, secured_role: str) -> None:
    router = secured.router
    stable, candidate = (
        over_tls(name) if secured_role in (role, "both") else Upstream(name)
        for name, role in (
            (f"fraud-0000000{len(secured_role)}", "stable"),
            (f"fraud-1000000{len(secured_role)}", "candidate"),
        )
    )
    version = Selector("header", "x-version")
    chosen = (Match(version, "exact", "new"), Match(version, "exact", "old", "stable"))
    async with serving(stable, candidate):
        await follow(router, 500, stable, candidate, matches=chosen)
        await eventually(partial(is_answered, router), "Envoy asks")
        assert {await ask(router) for _ in range(40)} == {(200, stable.name), (200, candidate.name)}
        assert await ask(router, **{"x-version": "new"}) == (200, candidate.name)
        assert await ask(router, **{"x-version": "old"}) == (200, stable.name)
        # What the candidate fails stable answers, whichever of them speaks TLS.
        candidate.behaviour = "error"
        await follow(router, 1000, stable, candidate)
        before = stable.requests
        assert {await ask(router) for _ in range(5)} == {(200, stable.name)}
        assert stable.requests == before + 5


@pytest.mark.parametrize("wrong", ["another name", "another authority", "ended", "plain text"])
async def test_a_pod_that_is_not_who_it_should_be_gets_no_request(secured: Secured, wrong: str) -> None:
    own = {
        "another name": PODS.issue("other.ns.svc"),
        "another authority": OTHERS.issue(NAME),
        "ended": PODS.issue(NAME, days=-1),
        "plain text": PODS.issue(NAME),
    }[wrong]
    pod = over_tls(f"fraud-2000000{len(wrong) % 10}", own)
    if wrong == "plain text":
        pod.tls = None
    async with serving(pod):
        await follow(secured.router, 0, pod)
        for _ in range(3):
            status, _ = await ask(secured.router)
            assert status == 503
    assert pod.requests == 0


async def test_a_router_without_a_certificate_that_counts_gets_no_answer(secured: Secured) -> None:
    pod = over_tls("fraud-30000000")
    secured.show(OTHERS.issue("router"))
    async with serving(pod):
        await follow(secured.router, 0, pod)
        await asyncio.sleep(0.3)
        assert (await ask(secured.router))[0] == 503
        assert pod.requests == 0
        secured.show(ROUTERS.issue("router"))
        await eventually(partial(is_answered, secured.router), "the new certificate is shown")


async def test_new_certificates_on_both_sides_cost_no_request(secured: Secured, tmp_path: Path) -> None:
    router, pods = secured.router, authority("pods that come")
    async with runtime(tmp_path) as (mount, served, pod):
        known = {"fraud-40000000": (pod,), "fraud-50000000": (pod,)}
        await router.follow(Intent((Target("fraud-40000000", "stable", 1000),)), known)
        await eventually(partial(is_answered, router), "Envoy asks over TLS")
        statuses, over = list[int](), asyncio.Event()

        async def keep_asking() -> None:
            while not over.is_set():
                statuses.append((await ask(router))[0])

        async def so_many_more(number: int) -> bool:
            return len(statuses) > number

        asking = [asyncio.create_task(keep_asking()) for _ in range(3)]
        # Each side first trusts the other's next authority, then shows what that has signed.
        mount.fill(tls_crt=(own := PODS.issue(NAME)).pem, tls_key=own.key, ca_crt=ROUTERS.pem + OTHERS.pem)
        secured.show(ROUTERS.issue("router"), PODS, pods)
        await asyncio.to_thread(served.wait_for, "has changed")
        await asyncio.sleep(0.5)
        secured.show(OTHERS.issue("router"), pods, PODS)
        mount.fill(tls_crt=(own := pods.issue(NAME)).pem, tls_key=own.key, ca_crt=OTHERS.pem)
        await asyncio.sleep(2.5)
        # Another revision's connections are all new, and each side trusts the new ones alone.
        await router.follow(Intent((Target("fraud-50000000", "stable", 1000),)), known)
        await eventually(partial(so_many_more, len(statuses) + 50), "fifty more answers")
        over.set()
        await asyncio.gather(*asking)
        assert set(statuses) == {200}
    secured.show(ROUTERS.issue("router"))


def test_private_keys_are_written_nowhere(secured: Secured) -> None:
    files = [path for path in Path(secured.router.layout.root).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if "PRIVATE" in path.read_text(errors="replace")]


def test_the_shadow_shows_what_is_mounted_now_and_keeps_what_could_be_used(tmp_path: Path) -> None:
    mount, now = Mount(tmp_path / "mount"), 0.0
    pods = SecuredPods(PodTls(NAME, {IDENTITY: mount.root}), lambda: now)
    pod = Endpoint("10.0.0.1", 8000, "pod", grpc_port=8001, identity=IDENTITY)
    with pytest.raises(Unusable):
        pods.rest(pod)
    first, second = ROUTERS.issue("router"), ROUTERS.issue("router")
    mount.fill(tls_crt=first.pem, tls_key=first.key, ca_crt=PODS.pem)
    context = pods.rest(pod)[1]["ssl"]
    now = 2.0
    assert pods.rest(pod)[1]["ssl"] is context
    mount.fill(tls_crt=second.pem, tls_key=second.key, ca_crt=PODS.pem)
    assert pods.rest(pod)[1]["ssl"] is context  # it was looked at a moment ago
    now = 4.0
    assert pods.rest(pod)[1]["ssl"] is not context
    context = pods.rest(pod)[1]["ssl"]
    mount.fill(tls_crt="hello", tls_key=second.key, ca_crt=PODS.pem)
    now = 6.0
    assert pods.rest(pod)[1]["ssl"] is context
    assert pods.rest(Endpoint("10.0.0.1", 8000, "pod")) == ("http", {})
    assert pods.identity(Endpoint("10.0.0.1", 8000, "pod")) is None
