"""How this router asks pods that speak TLS: which name their certificates have, and which certificates it can show.

Arguments of the agent, as `protection` has them, for the Secrets are mounted when its pod is made. Pods that want a
certificate that is not mounted here are not asked: `reachable` leaves them out.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headgate.api import contract, pod_tls
from headgate_serving.router.policy.endpoints import Endpoint, Endpoints


@dataclass(frozen=True, slots=True)
class PodTls:
    """`mounts`: where each Secret is, by the identity (`headgate.api.pod_tls`) that pods name."""

    server_name: str = ""
    mounts: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, namespace: str, model: str, given: Sequence[str]) -> "PodTls":
        """From the arguments, `IDENTITY=FOLDER` each; ValueError for one that is none."""
        mounts = dict[str, Path]()
        for text in given:
            identity, _, folder = text.partition("=")
            if not identity or not folder:
                raise ValueError(f"{contract.AgentArgument.POD_SECRET} {text}: expected IDENTITY=FOLDER")
            mounts[identity] = Path(folder)
        return cls(pod_tls.server_name(model, namespace), mounts) if mounts else cls()


NO_SECRETS = PodTls()


def reachable(
    endpoints: Endpoints, pods: PodTls, routed: Collection[str], complain: Callable[[str], None] = lambda _: None
) -> dict[str, tuple[Endpoint, ...]]:
    """Those that this router can ask. `complain` hears of `routed` revisions some of which it can't."""
    found = {
        revision: tuple(pod for pod in known if not pod.identity or pod.identity in pods.mounts)
        for revision, known in endpoints.items()
    }
    for revision in sorted(routed):
        if len(found.get(revision, ())) < len(endpoints.get(revision, ())):
            complain(f"pods of {revision} want a certificate of a Secret that is not mounted in this router")
    return found
