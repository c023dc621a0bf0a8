"""The API server, in a few verbs over plain dicts.

`reconcile` and `lease` use the Protocol; tests put a dictionary behind it. The implementation sends server-side
applies with field manager `headgate` through the asyncio client of the `kubernetes` package; its typed models are
not used, they refuse fields that they don't know.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence, Set
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from headgate.api import API_VERSION, contract
from headgate.errors import (
    AlreadyThere,
    Conflict,
    Expired,
    KubernetesError,
    NamespaceTerminating,
    NameTaken,
    NotFound,
    cause_of,
)

Object = dict[str, Any]
Objects = list[Object]

FIELD_MANAGER = "headgate"
_OURS = (("fieldManager", FIELD_MANAGER),)
REQUEST_TIMEOUT = 10.0
"""Seconds for one request."""

ATTEMPTS = 3
"""How often a request is sent that the API server has no time for."""

LONGEST_PAUSE = 10.0
"""Seconds of a Retry-After that are waited for; after that it is asked all the same."""

PAGE = 500
"""Objects of one page of a list; each page has REQUEST_TIMEOUT."""

PLURALS = {
    ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Event"): "events",
    ("v1", "Pod"): "pods",
    ("apps/v1", "Deployment"): "deployments",
    ("batch/v1", "Job"): "jobs",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("rbac.authorization.k8s.io/v1", "Role"): "roles",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rolebindings",
    ("coordination.k8s.io/v1", "Lease"): "leases",
    ("authentication.k8s.io/v1", "TokenReview"): "tokenreviews",
    ("authorization.k8s.io/v1", "SubjectAccessReview"): "subjectaccessreviews",
    (API_VERSION, "ModelDeployment"): contract.DEPLOYMENTS,
    (API_VERSION, "ModelRevision"): "modelrevisions",
}


class Kube(Protocol):
    """What Headgate needs of an API server."""

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object:
        """One object. Raises NotFound."""

    async def list(
        self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, str | None]
    ) -> list[Object]:
        """All objects with these labels (None: any value), in one namespace or (None) in all."""

    async def resources(self, api_version: str) -> frozenset[str]:
        """The plurals of a group's resources that the API server has in its discovery; empty without the group."""

    async def create(self, manifest: Object) -> Object:
        """Create an object, in its namespace if it has one. Raises AlreadyThere."""

    async def replace(self, manifest: Object) -> Object:
        """Replace an object, if its resourceVersion is still the newest. Raises Conflict."""

    async def owned(self, api_version: str, kind: str, namespace: str, name: str, owner: str) -> Object:
        """One object whose first owner has the uid `owner`, with no more rights than to patch it.

        Raises NotFound, and NameTaken where another one is the owner, or nobody. Nothing is changed.
        """

    async def apply(self, manifest: Object, force: bool = True) -> Object:
        """Server-side apply of what Headgate owns of an object.

        Raises Conflict where the manifest has a uid and that object is gone, or without `force` where another manager
        wants other values.
        """

    async def apply_status(self, manifest: Object) -> Object:
        """Server-side apply of the status alone. With a resourceVersion in it: Conflict if it isn't the newest."""

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid and what it owns, in the background. That it isn't there is no error."""

    async def close(self) -> None:
        """Close all connections."""


def path_of(api_version: str, kind: str, namespace: str | None, name: str = "", subresource: str = "") -> str:
    """The REST path of an object or (without name) of a collection."""
    root = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
    parts = [root]
    if namespace:
        parts += ["namespaces", namespace]
    parts.append(PLURALS[api_version, kind])
    return "/".join(parts + [p for p in (name, subresource) if p])


class ApiServer:
    """`Kube` over the network. Where the API server says when to come back (Retry-After), every request waits."""

    def __init__(self, api: kubernetes_client.ApiClient) -> None:
        self._api = api
        self._not_before = 0.0

    @classmethod
    async def connect(cls) -> "ApiServer":
        """With the pod's service account, or else with the user's kubeconfig."""
        configuration = kubernetes_client.Configuration()
        try:
            kubernetes_config.load_incluster_config(client_configuration=configuration)
        except kubernetes_config.ConfigException:
            await kubernetes_config.load_kube_config(client_configuration=configuration)
        return cls(kubernetes_client.ApiClient(configuration))

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object:
        """See `Kube`."""
        return await self._request("get", path_of(api_version, kind, namespace, name))

    async def list(
        self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, str | None]
    ) -> list[Object]:
        """See `Kube`."""
        selector = ",".join(k if v is None else f"{k}={v}" for k, v in labels.items())
        query = [("limit", str(PAGE)), *([("labelSelector", selector)] if selector else [])]
        try:
            return await self._pages(path_of(api_version, kind, namespace), query)
        except Expired:  # in the middle: what was listed first is too old by now
            return await self._pages(path_of(api_version, kind, namespace), query)

    async def resources(self, api_version: str) -> frozenset[str]:
        """See `Kube`."""
        group, _, version = api_version.rpartition("/")
        groups = await self._request("get", "/apis")
        if group not in {each["name"] for each in groups.get("groups") or ()}:
            return frozenset()
        try:
            resources = await self._request("get", f"/apis/{group}/{version}")
        except NotFound:
            return frozenset()
        return frozenset(each["name"] for each in resources.get("resources") or ())

    async def _pages(self, path: str, query: Sequence[tuple[str, str]]) -> Objects:
        items, token = list[Object](), ""
        while True:
            further = [("continue", token)] if token else []
            page = await self._request("get", path, query=[*query, *further])
            items += page.get("items") or ()
            if not (token := (page.get("metadata") or {}).get("continue") or ""):
                return items

    async def create(self, manifest: Object) -> Object:
        """See `Kube`."""
        path = path_of(manifest["apiVersion"], manifest["kind"], manifest["metadata"].get("namespace"))
        return await self._request("post", path, body=manifest, query=_OURS)

    async def replace(self, manifest: Object) -> Object:
        """See `Kube`."""
        return await self._request("put", _own_path(manifest), body=manifest, query=_OURS)

    async def owned(self, api_version: str, kind: str, namespace: str, name: str, owner: str) -> Object:
        """See `Kube`. A patch that only tests: it needs no right to read, and a foreign object meets no admission."""
        test = [{"op": "test", "path": "/metadata/ownerReferences/0/uid", "value": owner}]
        path = path_of(api_version, kind, namespace, name)
        try:
            return await self._request("patch", path, body=test, content="application/json-patch+json")
        except KubernetesError as error:
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            taken = f"the {kind} {namespace}/{name} is there, and its first owner is not this ModelDeployment"
            raise NameTaken(taken) from error

    async def apply(self, manifest: Object, force: bool = True) -> Object:
        """See `Kube`."""
        return await self._apply(_own_path(manifest), manifest, force)

    async def apply_status(self, manifest: Object) -> Object:
        """See `Kube`."""
        return await self._apply(_own_path(manifest, "status"), manifest)

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, uid: str) -> None:
        """See `Kube`."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._request("delete", path_of(api_version, kind, namespace, name), body=options)
        except (NotFound, Conflict):  # another object has its name by now
            return

    async def _apply(self, path: str, manifest: Object, force: bool = True) -> Object:
        return await self._request(
            "patch",
            path,
            body=manifest,
            query=[*_OURS, ("force", "true" if force else "false")],
            content="application/apply-patch+yaml",
        )

    async def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Object | Objects | None = None,
        content: str = "application/json",
    ) -> Object:
        for _ in range(ATTEMPTS - 1):
            await self._paused()
            try:
                return await self._once(method, path, query, body, content)
            except KubernetesError as error:
                if error.retry_after is None:
                    raise
                self._pause(error.retry_after)
        await self._paused()
        return await self._once(method, path, query, body, content)

    def _pause(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + min(seconds, LONGEST_PAUSE)
        self._not_before = max(self._not_before, until)

    async def _paused(self) -> None:
        """Wait until the API server wants to be asked; not all at the same moment."""
        if (left := self._not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left * random.uniform(1.0, 1.5))

    async def _once(
        self, method: str, path: str, query: Sequence[tuple[str, str]], body: Object | Objects | None, content: str
    ) -> Object:
        try:
            request = await self._api.param_serialize(
                method.upper(),
                path,
                query_params=list(query),
                header_params={"Accept": "application/json", "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._api.call_api(*request, _request_timeout=REQUEST_TIMEOUT)
            answer = await response.read()
            if not 200 <= response.status <= 299:
                refusal = _refusal(response.status, response.reason, answer, f"{method} {path}")
                refusal.retry_after = _retry_after(response.status, response.headers.get("Retry-After"))
                raise refusal
            parsed: Object = json.loads(answer)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise KubernetesError(f"{method} {path}: {cause_of(error)}") from error
        return parsed


def _own_path(manifest: Object, subresource: str = "") -> str:
    meta = manifest["metadata"]
    return path_of(manifest["apiVersion"], manifest["kind"], meta["namespace"], meta["name"], subresource)


def _retry_after(status: int, header: str | None) -> float | None:
    """Seconds after which a request that the API server has not begun may be sent again; None: not to be repeated."""
    busy = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return float(header) if busy and header and header.isdecimal() else None


def _refusal(status: int, reason: str, answer: bytes, request: str) -> KubernetesError:
    """The error for an answer of the API server: a Status object, or what a proxy sends in its place."""
    try:
        parsed = json.loads(answer)
        detail, told = parsed["message"], parsed.get("reason")
        causes = {
            value
            for cause in (parsed.get("details") or {}).get("causes") or ()
            for value in (cause.get("reason"), cause.get("field"))
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        detail, told, causes = reason, None, set()
    error = _kind_of(status, told, causes)(f"{request}: {status} {detail}")
    error.status = status
    return error


def _kind_of(status: int, reason: object, causes: Set[object]) -> type[KubernetesError]:
    if "NamespaceTerminating" in causes:
        return NamespaceTerminating
    if "metadata.uid" in causes:  # an apply with the uid of an object whose name another one has by now
        return Conflict
    if (status, reason) == (HTTPStatus.CONFLICT, "AlreadyExists"):
        return AlreadyThere
    return {404: NotFound, 409: Conflict, 410: Expired}.get(status, KubernetesError)
