"""TLS at the router: who trusts whom, what is refused, and how a new certificate comes in."""

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate_serving.router.envoy.secret_watcher import SecretWatcher
from headgate_serving.router.policy.protection import Protection, Tls
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE, eventually
from router_envoy import Router, answering, prepared, running_envoy
from router_grpc_upstreams import GrpcUpstream, serving_grpc
from router_mounts import Mount
from router_upstreams import Upstream, serving
from stories.certificates import Pair, authority

pytestmark = pytest.mark.usefixtures("refused_connections")

INFER = "/v2/models/fraud/infer"
TLS_ALERT = 21
OURS, OTHERS, CLIENTS = authority("ours"), authority("others"), authority("clients")


@dataclass
class Secured:
    router: Router
    mount: Mount
    secrets: SecretWatcher
    usable: dict[str, bool] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return self.router.layout.inference_port

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{INFER}"

    def replace(self, **files: str) -> None:
        self.mount.fill(**files)
        self.secrets.check()


def secured(root: Path, *, verify_clients: bool) -> Secured:
    mount = Mount(root / "mount")
    router = prepared(root / "xds", Protection(tls=Tls(mount.root, verify_clients)))
    usable = dict[str, bool]()
    return Secured(router, mount, SecretWatcher(router.protection, router.folder, usable.__setitem__), usable)


@contextlib.contextmanager
def running(router: Secured) -> Iterator[Secured]:
    with answering(router.router), running_envoy(router.router):
        yield router


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    router = secured(tmp_path_factory.mktemp("tls"), verify_clients=False)
    server = OURS.issue("fraud.ns.svc")
    router.replace(tls_crt=server.pem, tls_key=server.key)
    with running(router):
        yield router


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    router = secured(tmp_path_factory.mktemp("mtls"), verify_clients=True)
    server = OURS.issue("fraud.ns.svc")
    router.replace(tls_crt=server.pem, tls_key=server.key, ca_crt=CLIENTS.pem)
    with running(router):
        yield router


@contextlib.asynccontextmanager
async def serving_pod(router: Secured, context: ssl.SSLContext) -> AsyncIterator[Upstream]:
    """The only pod of the model, and known to Envoy."""
    pod = Upstream("fraud-1a2b3c4d")
    async with serving(pod):
        await router.router.follow(Intent((Target(pod.name, "stable", 1000),)), {pod.name: (pod.endpoint,)})
        async with asyncio.timeout(PATIENCE):
            while await ask(router, context) != 200:  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.01)
        pod.requests = 0
        yield pod


def trusting(*roots: Pair, client: Pair | None = None, place: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata="".join(root.pem for root in roots))
    if client and place:
        file = place / "client.pem"
        file.write_text(client.pem + client.key)
        context.load_cert_chain(file)
    return context


async def ask(router: Secured, context: ssl.SSLContext) -> int:
    """The status, over a connection of its own."""
    async with aiohttp.ClientSession() as session, session.post(router.url, data=b"{}", ssl=context) as response:
        await response.read()
        return response.status


async def refused(router: Secured, context: ssl.SSLContext) -> None:
    """TLS 1.3 tells a client that it was refused only when it first reads."""
    with pytest.raises(aiohttp.ClientError):
        await ask(router, context)


async def until_shown(router: Secured, pair: Pair) -> None:
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(shown, router) != pair.certificate.serial_number:  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(0.01)


def shown(router: Secured) -> int:
    """The serial number of the certificate that a new client sees."""
    text = ssl.get_server_certificate(("127.0.0.1", router.port))
    return x509.load_pem_x509_certificate(text.encode()).serial_number


async def test_http_1_http_2_and_grpc_over_tls(open_to_all: Secured) -> None:
    async with serving_pod(open_to_all, trusting(OURS)) as pod:
        assert await ask(open_to_all, trusting(OURS)) == 200
        assert pod.requests == 1
    for offered, agreed in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
        context = trusting(OURS)
        context.set_alpn_protocols(offered)
        _, writer = await asyncio.open_connection("127.0.0.1", open_to_all.port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
        writer.transport.abort()
    upstream = GrpcUpstream("fraud-1a2b3c4e")
    async with serving_grpc(upstream):
        known = {upstream.name: (upstream.endpoint,)}
        await open_to_all.router.follow(Intent((Target(upstream.name, "stable", 1000),)), known)
        trusted = grpc.ssl_channel_credentials(OURS.pem.encode())
        async with grpc.aio.secure_channel(f"127.0.0.1:{open_to_all.port}", trusted) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            async with asyncio.timeout(PATIENCE):
                while await (call := stub.ModelInfer(service_pb2.ModelInferRequest())).code() != grpc.StatusCode.OK:  # noqa: ASYNC110 - asks Envoy
                    await asyncio.sleep(0.02)
            assert (await call).model_name == upstream.name


async def test_who_does_not_trust_it_does_not_ask(open_to_all: Secured) -> None:
    async with serving_pod(open_to_all, trusting(OURS)) as pod:
        await refused(open_to_all, trusting(OTHERS))
        assert pod.requests == 0


async def test_plain_http_and_old_versions_are_refused(open_to_all: Secured) -> None:
    async with serving_pod(open_to_all, trusting(OURS)) as pod:
        for sent in (f"POST {INFER} HTTP/1.1\r\nHost: fraud\r\n\r\n".encode(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", open_to_all.port)
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                answer = await asyncio.wait_for(reader.read(), PATIENCE)
                assert answer == b"" or answer[0] == TLS_ALERT
            writer.transport.abort()
        old = trusting(OURS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        await refused(open_to_all, old)
        assert pod.requests == 0


async def test_only_clients_that_ours_vouch_for_are_let_in(mutual: Secured, tmp_path: Path) -> None:
    good = trusting(OURS, client=CLIENTS.issue("shop"), place=tmp_path)
    async with serving_pod(mutual, good) as pod:
        await refused(mutual, trusting(OURS))
        for wrong in (OTHERS.issue("shop"), CLIENTS.issue("shop", days=-1), authority("shop")):
            await refused(mutual, trusting(OURS, client=wrong, place=tmp_path))
        assert pod.requests == 0
        assert await ask(mutual, good) == 200
        assert pod.requests == 1
    log = Path(mutual.router.layout.root, "log")
    assert '"certificate":"CN=shop"' in await asyncio.to_thread(log.read_text)


async def test_another_authority_for_clients_is_followed(mutual: Secured, tmp_path: Path) -> None:
    before = trusting(OURS, client=CLIENTS.issue("shop"), place=tmp_path)
    after = trusting(OURS, client=OTHERS.issue("shop"), place=tmp_path)
    server = OURS.issue("fraud.ns.svc")
    async with serving_pod(mutual, before) as pod:
        mutual.replace(tls_crt=server.pem, tls_key=server.key, ca_crt=OTHERS.pem)
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    if await ask(mutual, after) == 200:
                        break
                await asyncio.sleep(0.02)
        pod.requests = 0
        await refused(mutual, before)
        assert pod.requests == 0
        # Without an authority the last one stays: nobody is let in who was not before.
        mutual.replace(tls_crt=server.pem, tls_key=server.key)
        await asyncio.sleep(0.2)
        await refused(mutual, before)
        assert await ask(mutual, after) == 200
        assert mutual.usable == {"certificate": True, "client authority": False}
        mutual.replace(tls_crt=server.pem, tls_key=server.key, ca_crt=CLIENTS.pem)


async def more_than(statuses: list[int], number: int) -> bool:
    return len(statuses) > number


async def test_a_new_certificate_costs_no_request(open_to_all: Secured) -> None:
    both = trusting(OURS, OTHERS)
    async with serving_pod(open_to_all, both):
        statuses, over = list[int](), asyncio.Event()

        async def anew() -> None:
            while not over.is_set():
                statuses.append(await ask(open_to_all, both))

        async def on_one_connection() -> None:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=both, limit=1)) as session:
                while not over.is_set():
                    async with session.post(open_to_all.url, data=b"{}") as response:
                        statuses.append(response.status)

        tasks = [asyncio.create_task(work()) for work in (anew, anew, on_one_connection)]
        for issuer in (OTHERS, OURS, OTHERS, OURS):
            new = issuer.issue("fraud.ns.svc")
            open_to_all.replace(tls_crt=new.pem, tls_key=new.key)
            await until_shown(open_to_all, new)
            await eventually(partial(more_than, statuses, len(statuses) + 10), "ten more answers")
        over.set()
        await asyncio.gather(*tasks)
        assert set(statuses) == {200}


@pytest.mark.parametrize("broken", ["no PEM", "another key", "no key", "nothing", "a locked key"])
async def test_what_can_not_be_used_leaves_what_is_in_use(
    open_to_all: Secured, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    good, other = OURS.issue("fraud.ns.svc"), OURS.issue("fraud.ns.svc")
    open_to_all.replace(tls_crt=good.pem, tls_key=good.key)
    await until_shown(open_to_all, good)
    files = {
        "no PEM": {"tls_crt": "hello", "tls_key": good.key},
        "another key": {"tls_crt": other.pem, "tls_key": good.key},
        "no key": {"tls_crt": other.pem},
        "nothing": {},
        "a locked key": {"tls_crt": other.pem, "tls_key": locked(other)},
    }[broken]
    caplog.clear()
    for _ in range(3):
        open_to_all.replace(**files)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("certificate: ")
    assert "the last one that could be used stays" in caplog.text
    assert "PRIVATE" not in caplog.text
    assert open_to_all.usable == {"certificate": False}
    await asyncio.sleep(0.2)
    assert await asyncio.to_thread(shown, open_to_all) == good.certificate.serial_number
    open_to_all.replace(tls_crt=other.pem, tls_key=other.key)
    assert caplog.messages[-1] == "certificate: in order again"


def locked(pair: Pair) -> str:
    locking = serialization.BestAvailableEncryption(b"secret")
    private = pair.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locking)
    return private.decode()


async def test_without_a_certificate_nothing_is_served_and_probes_are_answered(tmp_path: Path) -> None:
    router = secured(tmp_path, verify_clients=True)
    router.secrets.check()
    server, client = OURS.issue("fraud.ns.svc"), CLIENTS.issue("shop")
    context = trusting(OURS, client=client, place=tmp_path)
    with running(router):  # which is there as soon as it is healthy
        await refused(router, context)
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(f"POST {INFER} HTTP/1.1\r\nHost: fraud\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.transport.abort()
        # A certificate alone lets nobody in either: nobody vouches for clients yet.
        router.replace(tls_crt=server.pem, tls_key=server.key)
        await asyncio.sleep(0.3)
        await refused(router, context)
        await refused(router, trusting(OURS))
        router.replace(tls_crt=server.pem, tls_key=server.key, ca_crt=CLIENTS.pem)
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    if await ask(router, context) == 503:  # there is no pod
                        break
                await asyncio.sleep(0.05)


def test_private_keys_are_written_nowhere(open_to_all: Secured) -> None:
    files = [path for path in Path(open_to_all.router.layout.root).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if "PRIVATE" in path.read_text(errors="replace")]
