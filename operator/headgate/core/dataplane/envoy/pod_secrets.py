"""The Secrets that routers show to pods which speak TLS: those that the revisions in use name, whatever the spec says.

`protection` mounts them and tells the agent; `EnvoyDataPlane.workload` reads back what a Deployment of routers mounts,
by which `phases` knows when all routers have what a candidate wants to see.
"""

from collections.abc import Mapping
from typing import Any

from headgate.api.pod_tls import identity_of
from headgate.core.model import Observation

VOLUME = "pods-"
"""How the names of these volumes begin; the identity follows."""


def pod_secrets(o: Observation) -> dict[str, str]:
    """Identity -> Secret.

    What is mounted stays where the record of a revision in use can't be read: to drop what it needs would be to lose
    its pods.
    """
    views = [o.revisions.get(name) for name in o.status.needed]
    wanted = {view.spec.runtime.tls.routerSecret for view in views if view and view.spec.runtime.tls}
    if None in views:
        wanted |= o.router.pod_secrets
    return {identity_of(secret): secret for secret in sorted(wanted)}


def mounted(deployment: Mapping[str, Any] | None) -> frozenset[str]:
    """The Secrets of `pod_secrets` that the template of a Deployment of routers mounts."""
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    volumes = (template.get("spec") or {}).get("volumes") or ()
    return frozenset(
        volume["secret"]["secretName"] for volume in volumes if "secret" in volume and volume["name"].startswith(VOLUME)
    )
