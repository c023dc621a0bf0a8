"""What a router starts with when it can't reach the API server: a ConfigMap that is mounted into its pods.

It holds the objects that the agent would have read, cut down to what it needs, so that it reads both alike. Stable
gets all requests in it: who can't hear of a rollback must not send anybody to a candidate.
"""

import json

from headgate.api import API_VERSION, REVISION_LABEL, contract
from headgate.api.pod_tls import port_name
from headgate.api.status import RevisionRef
from headgate.core.dataplane.envoy.router import router_name
from headgate.core.dataplane.policy import resolved
from headgate.core.manifests.metadata import Manifest, metadata
from headgate.core.model import Observation, Workload


def published_state(o: Observation, stable: RevisionRef) -> Manifest:
    """The ConfigMap. It changes when stable, its ready pods or the policy change."""
    state = {"modelDeployment": _deployment(o, stable), "endpointSlices": _slices(o, stable)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(o, router_name(o), "router"),
        "data": {contract.PUBLISHED_FILE: json.dumps(state, sort_keys=True, separators=(",", ":"))},
    }


def _deployment(o: Observation, stable: RevisionRef) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": o.name, "namespace": o.namespace},
        "status": {
            "traffic": [{"revision": stable.revision, "role": "stable", "weight": 100}],
            "policy": resolved(o.name, o.spec).manifest(),
        },
    }


def _slices(o: Observation, stable: RevisionRef) -> list[Manifest]:
    """One for each family of addresses, as the API server has them."""
    identity = o.revisions[stable.revision].identity
    addresses = o.workloads.get(stable.revision, Workload()).addresses
    families = {"IPv4": [a for a in addresses if ":" not in a.ip], "IPv6": [a for a in addresses if ":" in a.ip]}
    return [
        {
            "metadata": {"name": f"{stable.revision}-{family.lower()}", "labels": {REVISION_LABEL: stable.revision}},
            "addressType": family,
            "ports": [
                {"name": port_name(contract.HTTP_PORT_NAME, identity), "port": contract.RUNTIME_HTTP_PORT},
                {"name": port_name(contract.GRPC_PORT_NAME, identity), "port": contract.RUNTIME_GRPC_PORT},
            ],
            "endpoints": [
                {"addresses": [a.ip], "conditions": {"ready": True}, "targetRef": {"name": a.pod}} for a in found
            ],
        }
        for family, found in families.items()
        if found
    ]
