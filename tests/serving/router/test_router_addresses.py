"""A router in a pod with addresses of IPv4, of IPv6, or of both: the real Envoy answers at all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from headgate.api.policy import RateLimit
from headgate_serving.listening import bind_address, listening_socket
from headgate_serving.router.envoy.config import bootstrap_document
from headgate_serving.router.policy.traffic import Intent, Target
from patience import eventually
from router_envoy import MODEL, NAMESPACE, Router, answering, prepared, running_envoy
from router_policies import with_policy
from router_upstreams import Upstream, serving

INFER = "/v2/models/fraud/infer"
POD = Upstream("fraud-1a2b3c4d")


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Router]:
    try:
        listening_socket("::1", 0).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    router = prepared(tmp_path)
    router.layout = router.folder.layout = replace(router.layout, bind=bind_address())
    router.folder.start_with(bootstrap_document(NAMESPACE, MODEL, router.layout, Intent(), router.protection))
    async with AsyncExitStack() as stack:
        stack.enter_context(answering(router))
        stack.enter_context(running_envoy(router))
        await stack.enter_async_context(serving(POD))
        yield router


async def ask(router: Router, host: str) -> int:
    url = f"http://{host}:{router.layout.inference_port}{INFER}"
    async with aiohttp.ClientSession() as session, session.post(url, data=b"{}") as answer:
        return answer.status


async def test_envoy_answers_at_both_and_tells_clients_apart(both: Router) -> None:
    async def follow(intent: Intent) -> None:
        await both.follow(intent, {POD.name: (POD.endpoint,)})

        async def followed() -> bool:
            return await both.admin.versions() == both.folder.versions

        await eventually(followed, "Envoy follows")

    async def live() -> bool:
        return [await ask(both, host) for host in ("127.0.0.1", "[::1]")] == [200, 200]

    intent = Intent((Target(POD.name, "stable", 1000),))
    await follow(intent)
    await eventually(live, "both are answered")
    for host in ("127.0.0.1", "[::1]"):
        url = f"http://{host}:{both.layout.metrics_port}/healthz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200
    await follow(with_policy(intent, rate_limit=RateLimit(5, 3600)))

    async def limited() -> bool:
        return await ask(both, "127.0.0.1") == 429

    await eventually(limited, "the address of IPv4 has asked too often")
    assert await ask(both, "[::1]") == 200


async def test_the_agent_can_hold_its_port_open_beside_it(both: Router) -> None:
    listening_socket(both.layout.bind, both.layout.inference_port, reuse_port=True).close()
