"""Children of ModelDeployments: nothing is changed or deleted that belongs to somebody else.

A ModelDeployment's name gives its children their names, and whoever may create one must not get hold of a Service, a
Role or a Deployment of the namespace that way. So before a child is touched for the first time it is asked whose it is
(its first owner has to be the ModelDeployment), and from then on each request is about the uid that was found. Called
by `reconcile`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from headgate.core.children import deployment_of, revision_of
from headgate.core.dataplane import ChildName
from headgate.core.manifests.metadata import Manifest
from headgate.edges.kube import Kube
from headgate.errors import Conflict, KubernetesError, NameTaken, NotFound
from headgate.observe import Children


class Ident(NamedTuple):
    """An object of the cluster."""

    kind: str
    namespace: str
    name: str


Standing = str | KubernetesError
"""What is there with the name of a child: the uid of our object, nothing (an empty text), or why it isn't known or not
ours."""

_NOBODY_NEEDS = frozenset({"HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"})
"""Children that others of the same name work without."""


@dataclass
class OwnedChildren:
    """Asks, applies and deletes."""

    kube: Kube
    _uids: dict[Ident, tuple[str, str]] = field(default_factory=dict)
    """The uids of a child's owner and of the child."""

    async def standing(self, manifests: Iterable[Manifest]) -> dict[Ident, Standing]:
        """Of each of them; those that are not known yet are asked for, at the same time."""
        asked = {ident_of(manifest): manifest for manifest in manifests}
        answers = await asyncio.gather(
            *(self._uid(manifest["apiVersion"], ident, _owner(manifest)) for ident, manifest in asked.items()),
            return_exceptions=True,
        )
        found = dict[Ident, Standing]()
        for ident, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, Standing):
                raise answer
            found[ident] = answer
        return found

    async def apply(self, manifest: Manifest, uid: str) -> Manifest:
        """Apply a child that has this uid, or (an empty text) is not there. Raises Conflict if that has changed."""
        ident = ident_of(manifest)
        try:
            if uid:
                applied = await self.kube.apply({**manifest, "metadata": {**manifest["metadata"], "uid": uid}})
            else:
                applied = await self.kube.apply(manifest, force=False)
        except Conflict:
            self.forget(ident)
            raise
        self._uids[ident] = (_owner(manifest), applied["metadata"]["uid"])
        return applied

    async def delete(self, child: ChildName, namespace: str, owner: str) -> None:
        """Delete a child, if it is there and has this owner."""
        ident = Ident(child.kind, namespace, child.name)
        try:
            uid = await self._uid(child.api_version, ident, owner)
        except NameTaken:
            return
        if uid:
            await self.kube.delete(child.api_version, *ident, uid)
        self.forget(ident)

    def forget(self, ident: Ident) -> None:
        """A child may be gone: it is asked for the next time."""
        self._uids.pop(ident, None)

    def forget_all(self, of: Callable[[Ident], bool]) -> None:
        """Of a ModelDeployment that is gone."""
        for ident in [ident for ident in self._uids if of(ident)]:
            del self._uids[ident]

    async def _uid(self, api_version: str, ident: Ident, owner: str) -> str:
        """The uid of a child; an empty text where there is none. Raises NameTaken."""
        known_owner, uid = self._uids.get(ident, ("", ""))
        if known_owner == owner:
            return uid
        try:
            found = await self.kube.owned(api_version, *ident, owner)
        except NotFound:
            return ""
        self._uids[ident] = (owner, found["metadata"]["uid"])
        return str(found["metadata"]["uid"])


def blocked(standing: Mapping[Ident, Standing]) -> frozenset[str]:
    """Names that somebody else has: what else has such a name is a part of the same thing and would be built on a
    stranger's object, such as routers on a ServiceAccount or an autoscaler on a Deployment."""
    return frozenset(
        ident.name
        for ident, found in standing.items()
        if isinstance(found, NameTaken) and ident.kind not in _NOBODY_NEEDS
    )


def ident_of(manifest: Mapping[str, Any]) -> Ident:
    """Of an object with kind, namespace and name."""
    meta = manifest["metadata"]
    return Ident(manifest["kind"], meta["namespace"], meta["name"])


def own(children: Children, owner: str) -> Children:
    """Those that belong to the ModelDeployment with this uid, and not those that only look like it.

    A Deployment with a revision's label is that revision's only under its name, and a pod with it only from there: a
    copy that somebody made to look into a fault has all labels of the original. Pods without a revision, such as
    routers, all count: whoever has a router's labels gets users' requests.
    """
    deployments = [d for d in children.deployments if is_owned(d, owner) and _is_what_it_says(d)]
    names = {d["metadata"]["name"] for d in deployments}
    return replace(
        children,
        deployments=deployments,
        pods=[pod for pod in children.pods if not revision_of(pod) or deployment_of(pod) in names],
        revisions=[revision for revision in children.revisions if is_owned(revision, owner)],
    )


def is_owned(item: Mapping[str, Any], owner: str) -> bool:
    """Whether the first owner of an object has this uid."""
    owners = item["metadata"].get("ownerReferences") or [{}]
    return bool(owners[0].get("uid") == owner)


def _is_what_it_says(deployment: Mapping[str, Any]) -> bool:
    return revision_of(deployment) in ("", deployment["metadata"]["name"])


def _owner(manifest: Manifest) -> str:
    return str(manifest["metadata"]["ownerReferences"][0]["uid"])
