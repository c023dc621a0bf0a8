"""The API server's client, against a small web server: paths, verbs, what errors become."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fakes import connected_to
from headgate.edges import kube as kube_module
from headgate.edges.kube import ATTEMPTS, PAGE, PLURALS, ApiServer, path_of
from headgate.errors import AlreadyThere, Conflict, KubernetesError, NamespaceTerminating, NameTaken, NotFound

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "models", "name": "fraud"}}
DEPLOYMENT = {**SERVICE, "apiVersion": "apps/v1", "kind": "Deployment"}


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("v1", "Pod", "models", "x"), "/api/v1/namespaces/models/pods/x"),
        (("v1", "Pod", "models"), "/api/v1/namespaces/models/pods"),
        (("v1", "Pod", None), "/api/v1/pods"),
        (("apps/v1", "Deployment", "models", "x"), "/apis/apps/v1/namespaces/models/deployments/x"),
        (
            ("headgate.dev/v1alpha1", "ModelDeployment", "models", "x", "status"),
            "/apis/headgate.dev/v1alpha1/namespaces/models/modeldeployments/x/status",
        ),
        (("headgate.dev/v1alpha1", "ModelDeployment", None), "/apis/headgate.dev/v1alpha1/modeldeployments"),
    ],
)
def test_the_path_of_an_object(arguments: tuple[Any, ...], path: str) -> None:
    assert path_of(*arguments) == path


def test_every_kind_has_its_own_plural() -> None:
    assert len(set(PLURALS.values())) == len(PLURALS)


class Server:
    """Answers every request with `status` and `body`, and remembers them."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"kind": "Something"}
        self.requests: list[Any] = []
        self.next_body: Callable[[], Any] | None = None
        self.headers: dict[str, str] = {}
        self.times: list[float] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app)

    async def _handle(self, request: Any) -> Any:
        body = await request.json() if request.can_read_body else None
        query = dict(request.query)
        self.requests.append((request.method, request.path, query, request.headers.get("Content-Type"), body))
        self.times.append(time.monotonic())
        if self.next_body:
            self.body = self.next_body()
        if isinstance(self.body, bytes):
            return web.Response(status=self.status, body=self.body, headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    await found.server.start_server()
    yield found
    await found.server.close()


@pytest.fixture
async def kube(server: Any) -> AsyncIterator[ApiServer]:
    found = connected_to(server.server.make_url(""))
    yield found
    await found.close()


async def test_an_object_is_read(server: Server, kube: ApiServer) -> None:
    assert await kube.get("v1", "Service", "models", "fraud") == server.body
    assert server.requests[0][:2] == ("GET", "/api/v1/namespaces/models/services/fraud")


async def test_a_list_is_picked_by_labels(server: Server, kube: ApiServer) -> None:
    server.body = {"items": [SERVICE]}
    assert await kube.list("v1", "Service", None, {"a": "b", "c": "d"}) == [SERVICE]
    method, path, query, *_ = server.requests[0]
    assert (method, path, query["labelSelector"]) == ("GET", "/api/v1/services", "a=b,c=d")


async def test_a_list_without_items_is_empty(kube: ApiServer) -> None:
    assert await kube.list("v1", "Service", "models", {}) == []


async def test_an_object_is_applied_by_the_server_under_our_name(server: Server, kube: ApiServer) -> None:
    await kube.apply(DEPLOYMENT)
    method, path, query, kind, body = server.requests[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/models/deployments/fraud")
    assert (query["fieldManager"], query["force"].lower()) == ("headgate", "true")
    assert kind == "application/apply-patch+yaml"
    assert body == DEPLOYMENT


async def test_a_status_is_applied_to_its_subresource(server: Server, kube: ApiServer) -> None:
    await kube.apply_status(DEPLOYMENT)
    assert server.requests[0][1].endswith("/deployments/fraud/status")


async def test_an_object_is_created_in_its_collection_and_replaced_in_its_place(
    server: Server, kube: ApiServer
) -> None:
    await kube.create(SERVICE)
    await kube.replace(SERVICE)
    assert [r[:2] for r in server.requests] == [
        ("POST", "/api/v1/namespaces/models/services"),
        ("PUT", "/api/v1/namespaces/models/services/fraud"),
    ]


async def test_an_object_is_deleted_with_what_it_owns(server: Server, kube: ApiServer) -> None:
    await kube.delete("v1", "Service", "models", "fraud", "uid-1")
    method, _, _, _, body = server.requests[0]
    assert method == "DELETE"
    assert body == {"propagationPolicy": "Background", "preconditions": {"uid": "uid-1"}}


@pytest.mark.parametrize("status", [404, 409])
async def test_to_delete_what_is_gone_or_was_replaced_is_no_error(server: Server, kube: ApiServer, status: int) -> None:
    server.status, server.body = status, {"message": "not found"}
    await kube.delete("v1", "Service", "models", "fraud", "uid-1")


async def test_whose_an_object_is_is_asked_by_a_patch_that_changes_nothing(server: Server, kube: ApiServer) -> None:
    assert await kube.owned("v1", "Service", "models", "fraud", "uid-1") == server.body
    method, path, _, kind, body = server.requests[0]
    assert (method, path) == ("PATCH", "/api/v1/namespaces/models/services/fraud")
    assert kind == "application/json-patch+json"
    assert {operation["op"] for operation in body} == {"test"}


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (422, NameTaken), (403, KubernetesError)])
async def test_an_object_that_is_not_there_or_not_ours_is_told_apart(
    server: Server, kube: ApiServer, status: int, kind: type[Any]
) -> None:
    server.status, server.body = status, {"message": "the server rejected our request", "details": {}}
    with pytest.raises(KubernetesError) as raised:
        await kube.owned("v1", "Service", "models", "fraud", "uid-1")
    assert type(raised.value) is kind


async def test_an_apply_with_a_uid_that_is_gone_is_a_conflict(server: Server, kube: ApiServer) -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]
    server.status, server.body = 422, {"message": "it is invalid", "details": {"causes": causes}}
    with pytest.raises(Conflict):
        await kube.apply(SERVICE)


async def test_who_creates_takes_nothing_over(server: Server, kube: ApiServer) -> None:
    await kube.apply(SERVICE, force=False)
    assert server.requests[0][2]["force"] == "false"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (409, Conflict), (403, KubernetesError), (422, KubernetesError), (500, KubernetesError)],
)
async def test_a_refusal_is_an_error_of_ours_with_the_servers_words(
    server: Server, kube: ApiServer, status: int, kind: type[Any]
) -> None:
    server.status, server.body = status, {"message": "because it is so"}
    with pytest.raises(KubernetesError) as raised:
        await kube.apply(SERVICE)
    assert type(raised.value) is kind
    assert str(raised.value) == f"patch /api/v1/namespaces/models/services/fraud: {status} because it is so"


@pytest.mark.parametrize(("reason", "kind"), [("AlreadyExists", AlreadyThere), ("Conflict", Conflict)])
async def test_what_is_there_is_told_from_what_changed_meanwhile(
    server: Server, kube: ApiServer, reason: str, kind: type[Any]
) -> None:
    """A quota that others count in at the same moment is a 409 as well."""
    server.status, server.body = 409, {"message": "no", "reason": reason}
    with pytest.raises(Conflict) as raised:
        await kube.create(SERVICE)
    assert type(raised.value) is kind


@pytest.mark.parametrize("body", [b"", b"Bad Gateway", b"[]", b"\xff"])
async def test_a_refusal_without_a_readable_reason_is_an_error_of_ours_too(
    server: Server, kube: ApiServer, body: bytes
) -> None:
    server.status, server.body = 502, body
    with pytest.raises(KubernetesError, match="502"):
        await kube.get("v1", "Service", "models", "fraud")


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe", b'{"a": "\xff"}'])
async def test_an_answer_that_is_no_json_is_an_error_of_ours(server: Server, kube: ApiServer, body: bytes) -> None:
    server.body = body
    with pytest.raises(KubernetesError):
        await kube.get("v1", "Service", "models", "fraud")


async def test_a_server_that_is_gone_is_an_error_of_ours(server: Server, kube: ApiServer) -> None:
    await server.server.close()
    with pytest.raises(KubernetesError):
        await kube.get("v1", "Service", "models", "fraud")


async def test_a_namespace_that_is_being_deleted_is_told_apart(server: Server, kube: ApiServer) -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "namespace models is being terminated"}]
    server.status, server.body = 403, {"message": "forbidden", "details": {"causes": causes}}
    with pytest.raises(NamespaceTerminating, match="403 forbidden"):
        await kube.create(SERVICE)
    server.body = {"message": "forbidden", "details": {"causes": None}}
    with pytest.raises(KubernetesError) as plain:
        await kube.create(SERVICE)
    assert type(plain.value) is KubernetesError


async def test_a_label_of_any_value_is_asked_for_by_its_name(server: Server, kube: ApiServer) -> None:
    await kube.list("v1", "Pod", None, {"headgate.dev/model": None})
    assert server.requests[0][2]["labelSelector"] == "headgate.dev/model"


class Rude:
    """Accepts, and closes or breaks off, as a load balancer does before an API server that starts again."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def __aenter__(self) -> Any:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        port = self._server.sockets[0].getsockname()[1]
        self.kube = connected_to(f"http://127.0.0.1:{port}")
        return self.kube

    async def __aexit__(self, *_: Any) -> None:
        await self.kube.close()
        self._server.close()

    async def _serve(self, reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answer)
        writer.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"nonsense\r\n\r\n"])
async def test_a_connection_that_breaks_is_a_failed_request_with_its_cause(answer: bytes) -> None:
    async with Rude(answer) as kube:
        with pytest.raises(KubernetesError) as failed:
            await kube.get("v1", "Service", "models", "fraud")
    assert not str(failed.value).endswith(": ")


async def test_a_long_list_comes_in_pages(server: Server, kube: ApiServer) -> None:
    pages = iter(
        [
            {"items": [{"a": 1}], "metadata": {"continue": "x"}},
            {"items": [{"a": 2}], "metadata": {"continue": "y"}},
            {"items": [{"a": 3}], "metadata": {}},
        ]
    )
    server.next_body = lambda: next(pages)
    assert await kube.list("v1", "Pod", None, {"a": None}) == [{"a": 1}, {"a": 2}, {"a": 3}]
    asked = [r[2] for r in server.requests]
    assert [q.get("continue") for q in asked] == [None, "x", "y"]
    assert all(q["limit"] == str(PAGE) and q["labelSelector"] == "a" for q in asked)


async def test_a_list_whose_pages_are_too_old_begins_anew(server: Server, kube: ApiServer) -> None:
    answers = iter([(200, {"items": [{"a": 1}], "metadata": {"continue": "x"}}), (410, {"message": "too old"})])
    newer = (200, {"items": [{"a": 4}]})

    def next_body() -> Any:
        server.status, body = next(answers, newer)
        return body

    server.next_body = next_body
    assert await kube.list("v1", "Pod", None, {}) == [{"a": 4}]


async def test_discovery_says_which_resources_there_are(server: Server, kube: ApiServer) -> None:
    answers = {
        "/apis": {"groups": [{"name": "apps"}, {"name": "headgate.dev"}]},
        "/apis/headgate.dev/v1alpha1": {
            "resources": [{"name": "modeldeployments"}, {"name": "modeldeployments/status"}]
        },
    }
    server.next_body = lambda: answers[server.requests[-1][1]]
    assert "modeldeployments" in await kube.resources("headgate.dev/v1alpha1")
    assert await kube.resources("other.dev/v1") == frozenset()
    assert [r[1] for r in server.requests] == ["/apis", "/apis/headgate.dev/v1alpha1", "/apis"]


VERBS: dict[str, Callable[[ApiServer], Any]] = {
    "get": lambda kube: kube.get("v1", "Service", "models", "fraud"),
    "list": lambda kube: kube.list("v1", "Service", None, {}),
    "create": lambda kube: kube.create(SERVICE),
    "replace": lambda kube: kube.replace(SERVICE),
    "owned": lambda kube: kube.owned("v1", "Service", "models", "fraud", "uid-1"),
    "apply": lambda kube: kube.apply(SERVICE),
    "apply_status": lambda kube: kube.apply_status(SERVICE),
    "delete": lambda kube: kube.delete("v1", "Service", "models", "fraud", "uid-1"),
}
PAUSE = 0.05


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("verb", VERBS)
async def test_who_is_asked_to_come_back_later_does(
    server: Server, kube: ApiServer, verb: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_module, "LONGEST_PAUSE", PAUSE)
    answers = iter([status, status, 200])

    def next_body() -> Any:
        server.status = next(answers)
        server.headers = {} if server.status == 200 else {"Retry-After": "1"}
        return {"message": "too many requests"}

    server.next_body = next_body
    await VERBS[verb](kube)
    assert min(b - a for a, b in pairwise(server.times)) >= PAUSE


async def test_all_requests_wait_when_one_was_told_to(
    server: Server, kube: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_module, "LONGEST_PAUSE", PAUSE)
    server.status, server.headers = 429, {"Retry-After": "1"}
    with pytest.raises(KubernetesError, match="429"):
        await VERBS["get"](kube)
    assert len(server.times) == ATTEMPTS, "then the caller decides when to try again"
    server.status, told = 200, server.times[-2]
    await VERBS["list"](kube)
    assert server.times[-1] - told >= PAUSE


async def test_a_refusal_without_a_time_is_not_repeated(server: Server, kube: ApiServer) -> None:
    server.status, server.body = 503, {"message": "etcd is down"}
    with pytest.raises(KubernetesError, match="503"):
        await VERBS["get"](kube)
    assert len(server.times) == 1
