"""Who may ask: keys and tokens that let in, and all others that get 401, with nothing of theirs at a pod."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api.policy import RateLimit
from headgate_serving.router.envoy.config.authentication import FILTER, api_keys_document, tokens_document
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.secret_watcher import SecretWatcher
from headgate_serving.router.policy.protection import ApiKeys, Protection, Tokens
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE
from router_envoy import Router, answering, prepared, running_envoy
from router_grpc_upstreams import GrpcUpstream, serving_grpc
from router_mounts import Mount
from router_policies import with_policy
from router_upstreams import Upstream, serving
from stories.tokens import AUDIENCE, ISSUER, Signer, by_secret, encoded, jwks, unsigned

SLOW_OR_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The fixture is one Envoy for all examples, and a busy machine is slow to make them."""
INFER = "/v2/models/fraud/infer"
SHOP, BANK = "shop-key-0123456789", "bank-key-0123456789"
OURS, NEW, OTHERS = Signer.rsa("ours"), Signer.ec("new"), Signer.rsa("ours")


@dataclass
class Guarded:
    router: Router
    mount: Mount
    secrets: SecretWatcher
    usable: dict[str, bool] = field(default_factory=dict)

    def replace(self, **files: str) -> None:
        self.mount.fill(**files)
        self.secrets.check()


@contextlib.contextmanager
def guarded(root: Path, authentication: ApiKeys | Tokens, **files: str) -> Iterator[Guarded]:
    mount = Mount(authentication.mount)
    router = prepared(root / "xds", Protection(authentication=authentication))
    usable = dict[str, bool]()
    found = Guarded(router, mount, SecretWatcher(router.protection, router.folder, usable.__setitem__), usable)
    found.replace(**files)
    with answering(router), running_envoy(router):
        yield found


@pytest.fixture(scope="module")
def by_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("keys")
    with guarded(root, ApiKeys(root / "mount"), shop=SHOP, bank=BANK) as found:
        yield found


@pytest.fixture(scope="module")
def by_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("tokens")
    with guarded(root, Tokens(root / "mount", ISSUER, (AUDIENCE, "other")), jwks_json=jwks(OURS)) as found:
        yield found


@contextlib.asynccontextmanager
async def serving_pod(guard: Guarded, limit: RateLimit | None = None, /, **good: str) -> AsyncIterator[Upstream]:
    """The only pod of the model, and known to Envoy; `good` are headers that let in."""
    pod = Upstream("fraud-1a2b3c4d")
    async with serving(pod):
        intent = Intent((Target(pod.name, "stable", 1000),))
        await guard.router.follow(with_policy(intent, rate_limit=limit), {pod.name: (pod.endpoint,)})
        await until_status(guard, 200, **good)
        pod.requests = 0
        yield pod


async def until_status(guard: Guarded, status: int, **headers: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await ask(guard, **headers))[0] != status:  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(0.01)


async def ask(guard: Guarded, path: str = INFER, **headers: str) -> tuple[int, str]:
    """Status and body. Underscores in names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{guard.router.url}{path}", data=b"{}", headers=named) as response,
    ):
        return response.status, await response.text()


async def test_a_client_with_a_key_is_let_in_and_the_pod_gets_its_name_for_it(by_keys: Guarded) -> None:
    async with serving_pod(by_keys, x_api_key=SHOP) as pod:
        for client, key in {"shop": SHOP, "bank": BANK}.items():
            assert (await ask(by_keys, x_api_key=key, x_headgate_client="root"))[0] == 200
            assert pod.headers["x-headgate-client"] == client
            assert "x-api-key" not in pod.headers
    log = await asyncio.to_thread(Path(by_keys.router.layout.root, "log").read_text)
    assert SHOP not in log


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "shop"},
        {"x_api_key": SHOP[:-1]},
        {"x_api_key": SHOP + "1"},
        {"x_api_key": SHOP.upper()},
        {"x_api_key": f"{SHOP},{BANK}"},
        {"authorization": f"Bearer {SHOP}"},
        {"cookie": f"x-api-key={SHOP}"},
        {"x_headgate_client": "shop"},
    ],
)
async def test_all_others_get_401_whatever_they_ask_for(by_keys: Guarded, headers: dict[str, str]) -> None:
    async with serving_pod(by_keys, x_api_key=SHOP) as pod:
        for path in (INFER, f"{INFER}?x-api-key={SHOP}", "/v2", "/v2/health/ready", "/v2/models/fraud", "/nothing"):
            status, body = await ask(by_keys, path, **headers)
            assert status == 401
            assert set(json.loads(body)) == {"error"}
        assert pod.requests == 0
        # The router's own health says nothing about the model.
        assert await ask(by_keys, "/healthz", **headers) == (200, "ok")


async def test_calls_of_grpc_need_a_key_too(by_keys: Guarded) -> None:
    upstream = GrpcUpstream("fraud-1a2b3c4e")
    async with serving_grpc(upstream), grpc.aio.insecure_channel(by_keys.router.url.removeprefix("http://")) as channel:
        known = {upstream.name: (upstream.endpoint,)}
        await by_keys.router.follow(Intent((Target(upstream.name, "stable", 1000),)), known)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def call(*metadata: tuple[str, str]) -> grpc.aio.UnaryUnaryCall:
            return stub.ModelInfer(service_pb2.ModelInferRequest(), metadata=metadata)

        async with asyncio.timeout(PATIENCE):
            while await call(("x-api-key", SHOP)).code() != grpc.StatusCode.OK:  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.02)
        upstream.requests = 0
        assert await call().code() == grpc.StatusCode.UNAUTHENTICATED
        assert await call(("x-api-key", "wrong")).code() == grpc.StatusCode.UNAUTHENTICATED
        ready = stub.ModelReady(service_pb2.ModelReadyRequest())
        assert await ready.code() == grpc.StatusCode.UNAUTHENTICATED
        assert upstream.requests == 0


async def test_who_asks_too_often_is_known_by_name(by_keys: Guarded) -> None:
    limit = RateLimit(5, 3600, "x-headgate-client")
    async with serving_pod(by_keys, limit, x_api_key=BANK) as pod:
        seen = Counter([(await ask(by_keys, x_api_key=SHOP, x_headgate_client=str(n)))[0] for n in range(12)])
        assert seen == {200: 5, 429: 7}
        assert pod.requests == 5
        assert (await ask(by_keys))[0] == 401


async def test_keys_come_and_go_without_a_restart(by_keys: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving_pod(by_keys, x_api_key=SHOP) as pod:
        by_keys.replace(shop="another-key-of-shop", bank=BANK)
        await until_status(by_keys, 401, x_api_key=SHOP)
        for key in ("another-key-of-shop", BANK):
            assert (await ask(by_keys, x_api_key=key))[0] == 200
        by_keys.replace()  # the Secret is gone
        assert by_keys.usable == {"API keys": False}
        await until_status(by_keys, 401, x_api_key=BANK)
        pod.requests = 0
        assert {(await ask(by_keys, x_api_key=key))[0] for key in ("", SHOP, BANK, "another-key-of-shop")} == {401}
        assert pod.requests == 0
        assert (await ask(by_keys, "/healthz"))[0] == 200
        by_keys.replace(shop=SHOP, bank=BANK)
        await until_status(by_keys, 200, x_api_key=SHOP)
    assert caplog.messages == [
        "API keys: the Secret has no usable key; nobody is let in",
        "API keys: in order again",
    ]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_client_with_a_token_is_let_in_and_the_pod_gets_its_name_for_it(by_tokens: Guarded) -> None:
    async with serving_pod(by_tokens, **bearer(OURS.token())) as pod:
        for claims in ({"sub": "bank"}, {"sub": "bank", "aud": ["x", "other"]}, {"sub": "bank", "nbf": 1}):
            status, body = await ask(by_tokens, **bearer(OURS.token(**claims)), x_headgate_client="root")
            assert (status, body) == (200, pod.name)
            assert pod.headers["x-headgate-client"] == "bank"
            assert "authorization" not in pod.headers
        assert (await ask(by_tokens, **bearer(OURS.token(sub=None)), x_headgate_client="root"))[0] == 200
        assert "x-headgate-client" not in pod.headers


NOW = int(time.time())
FORGED = OURS.token().split(".")
BAD_TOKENS = {
    "none": "",
    "no token": "hello",
    "expired": OURS.token(exp=NOW - 120),
    "without an end": OURS.token(exp=None),
    "not yet": OURS.token(nbf=NOW + 3600),
    "for another": OURS.token(aud="elsewhere"),
    "for nobody": OURS.token(aud=None),
    "of another issuer": OURS.token(iss="https://other.example/"),
    "of no issuer": OURS.token(iss=None),
    "signed by another": OTHERS.token(),
    "of an unknown key": NEW.token(),
    "unsigned": unsigned({"alg": "none"}) + ".",
    "without its signature": ".".join(FORGED[:2]) + ".",
    "with other claims": f"{FORGED[0]}.{OURS.token(sub='root').split('.')[1]}.{FORGED[2]}",
    "signed by the public key": by_secret("ours", json.dumps(OURS.jwk).encode()),
    "signed by an empty secret": by_secret("ours", b""),
    "huge": OURS.token(sub="x" * 30_000)[:-5],
    "of three dots": "...",
    "no JSON": ".".join(encoded(part) for part in (b"{", b"}", b"x")),
}
FOR_OTHERS = {BAD_TOKENS["for another"], BAD_TOKENS["for nobody"]}
"""They say truly who asks, and that is not enough."""


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_tokens_that_prove_nothing_are_refused(by_tokens: Guarded, token: str) -> None:
    async with serving_pod(by_tokens, **bearer(OURS.token())) as pod:
        for headers in (bearer(token), {"authorization": token}):
            for path in (INFER, "/v2/models/fraud"):
                status, body = await ask(by_tokens, path, **headers)
                assert status == (403 if token in FOR_OTHERS and headers == bearer(token) else 401)
                assert set(json.loads(body)) == {"error"}
        assert pod.requests == 0


async def test_a_token_is_not_taken_from_where_others_log_it(by_tokens: Guarded) -> None:
    async with serving_pod(by_tokens, **bearer(OURS.token())) as pod:
        assert (await ask(by_tokens, f"{INFER}?access_token={OURS.token()}"))[0] == 401
        assert (await ask(by_tokens, cookie=f"access_token={OURS.token()}"))[0] == 401
        assert pod.requests == 0
        assert await ask(by_tokens, "/healthz") == (200, "ok")


async def test_a_name_can_not_smuggle_a_header(by_tokens: Guarded) -> None:
    async with serving_pod(by_tokens, **bearer(OURS.token())) as pod:
        for name in ("x\r\nx-evil: 1", "x\nx-evil: 1", "x\0y", "\u00fc", "a" * 20_000):
            with contextlib.suppress(aiohttp.ClientError):
                await ask(by_tokens, **bearer(OURS.token(sub=name)))
            assert "x-evil" not in pod.headers
        assert (await ask(by_tokens, **bearer(OURS.token())))[0] == 200


async def test_keys_of_tokens_change_without_a_failure(by_tokens: Guarded) -> None:
    async with serving_pod(by_tokens, **bearer(OURS.token())):
        statuses, over = list[int](), asyncio.Event()

        async def keep_asking() -> None:
            while not over.is_set():
                statuses.append((await ask(by_tokens, **bearer(OURS.token())))[0])

        asking = asyncio.create_task(keep_asking())
        by_tokens.replace(jwks_json=jwks(OURS, NEW))
        await until_status(by_tokens, 200, **bearer(NEW.token()))
        over.set()
        await asking
        assert set(statuses) == {200}
        by_tokens.replace(jwks_json=jwks(NEW))
        await until_status(by_tokens, 401, **bearer(OURS.token()))
        assert (await ask(by_tokens, **bearer(NEW.token())))[0] == 200
        by_tokens.replace(jwks_json=jwks(OURS))
        await until_status(by_tokens, 200, **bearer(OURS.token()))


@pytest.mark.parametrize("broken", [{}, {"jwks_json": "nonsense"}, {"jwks_json": '{"keys": []}'}])
async def test_keys_of_tokens_that_can_not_be_used_let_nobody_in(
    by_tokens: Guarded, broken: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    good = bearer(OURS.token())
    async with serving_pod(by_tokens, **good) as pod:
        by_tokens.replace(**broken)
        await until_status(by_tokens, 401, **good)
        pod.requests = 0
        assert (await ask(by_tokens, **good))[0] == 401
        assert pod.requests == 0
        assert by_tokens.usable == {"keys of tokens": False}
        assert "nobody is let in" in caplog.text
        by_tokens.replace(jwks_json=jwks(OURS))
        await until_status(by_tokens, 200, **good)


async def test_without_the_agent_nobody_is_let_in(tmp_path: Path) -> None:
    """An Envoy that nobody told who may ask."""
    authentication = ApiKeys(tmp_path / "mount")
    router = prepared(tmp_path / "xds", Protection(authentication=authentication))
    with answering(router), running_envoy(router):
        found = Guarded(
            router, Mount(authentication.mount), SecretWatcher(router.protection, router.folder, lambda *_: None)
        )
        for key in ("", SHOP):
            assert (await ask(found, x_api_key=key))[0] == 401
        found.replace(shop=SHOP)
        await until_status(found, 503, x_api_key=SHOP)  # there is no version


printable = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=256)
names = st.text("abcXYZ019-_", min_size=1, max_size=100).filter(lambda name: name[0].isalnum())
clients = st.text("abcXYZ019-._", min_size=1, max_size=253)
credentials = st.dictionaries(printable, clients, max_size=5).map(lambda owners: {c: key for key, c in owners.items()})
documents = st.one_of(
    st.builds(api_keys_document, names, credentials),
    st.builds(
        lambda issuer, audiences: tokens_document(Tokens(Path("/"), issuer, tuple(audiences)), [OURS.jwk, NEW.jwk]),
        printable,
        st.lists(printable, min_size=1, max_size=20),
    ),
)


@given(documents)
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_OR_SHARED)
def test_envoy_takes_whatever_the_api_server_and_the_agent_take(by_keys: Guarded, document: dict[str, Any]) -> None:
    text, version = discovery_response(document)
    by_keys.router.folder.put_in_memory(by_keys.router.layout.extension(FILTER), text)

    async def followed() -> None:
        async with asyncio.timeout(PATIENCE):
            while version not in str(await by_keys.router.admin._ask("GET", "/config_dump?resource=ecds_filters")):  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.01)

    asyncio.run(followed())
