"""How a router protects itself and its model: what it listens for, which Secrets are mounted, what the agent is told.

`router` puts it into its manifests. A Secret of clients' that does not exist holds up no pod: without a certificate
Envoy closes each connection, without keys it lets nobody in. One for pods that speak TLS does: routers that could not
ask them must not replace those that can. The mounts are the agent's alone.
"""

from headgate.api import contract
from headgate.core.dataplane.envoy.pod_secrets import VOLUME, pod_secrets
from headgate.core.manifests.metadata import Manifest
from headgate.core.manifests.secrets import READABLE, identity_volume
from headgate.core.model import Observation

_MOUNTS = "/secrets"


def inference_port(o: Observation) -> str:
    """The name of the container port. That of a listener with TLS differs, so no Service mixes up the two kinds."""
    return "https" if o.spec.traffic.tls else "http"


def service_ports(o: Observation) -> list[Manifest]:
    """Both lead to the same listener, which tells protocols apart; clients of gRPC expect their own."""
    name = inference_port(o)
    if o.spec.traffic.tls:
        web, grpc = {"port": 443, "appProtocol": "https"}, {"appProtocol": "https"}
    else:
        web, grpc = {"port": 80}, {"appProtocol": "kubernetes.io/h2c"}
    return [
        {"name": name, "targetPort": name, **web},
        {"name": "grpc", "port": contract.SERVICE_GRPC_PORT, "targetPort": name, **grpc},
    ]


def protection_arguments(o: Observation) -> list[str]:
    """The agent's arguments."""
    traffic = o.spec.traffic
    found = [
        contract.AgentArgument.ACCESS_LOG,
        traffic.accessLog,
        contract.AgentArgument.ENVOY_MEMORY,
        "$(ENVOY_MEMORY_MIB)",
    ]
    if traffic.tls:
        found += [
            contract.AgentArgument.TLS,
            f"{_MOUNTS}/tls",
            *([contract.AgentArgument.VERIFY_CLIENTS] if traffic.tls.verifyClients else []),
        ]
    if traffic.authentication and (keys := traffic.authentication.apiKeys):
        found += [
            contract.AgentArgument.API_KEYS,
            f"{_MOUNTS}/api-keys",
            contract.AgentArgument.API_KEY_HEADER,
            keys.header,
        ]
    if traffic.authentication and (jwt := traffic.authentication.jwt):
        # In one word each: they may begin with a dash. The kubelet would replace $(…).
        claims = [
            (contract.AgentArgument.JWT_ISSUER, jwt.issuer),
            *((contract.AgentArgument.JWT_AUDIENCE, audience) for audience in jwt.audiences),
        ]
        found += [contract.AgentArgument.JWKS, f"{_MOUNTS}/jwks"]
        found += [f"{argument}={value.replace('$', '$$')}" for argument, value in claims]
    for identity in pod_secrets(o):
        found += [contract.AgentArgument.POD_SECRET, f"{identity}={_MOUNTS}/{VOLUME}{identity}"]
    return found


def protection_environment() -> list[Manifest]:
    """What only the kubelet knows: how much memory Envoy may use, or the node has where nobody limits that."""
    memory = {"containerName": "envoy", "resource": "limits.memory", "divisor": "1Mi"}
    return [{"name": "ENVOY_MEMORY_MIB", "valueFrom": {"resourceFieldRef": memory}}]


def secret_volumes(o: Observation) -> list[Manifest]:
    """The pod's volumes."""
    return [
        {
            "name": name,
            "secret": {
                "secretName": secret,
                "optional": True,
                "defaultMode": READABLE,
                **({"items": [{"key": key, "path": key} for key in keys]} if keys else {}),
            },
        }
        for name, secret, keys in _secrets(o)
    ] + [identity_volume(f"{VOLUME}{identity}", secret) for identity, secret in pod_secrets(o).items()]


def secret_mounts(o: Observation) -> list[Manifest]:
    """The agent's mounts."""
    names = [*(name for name, _, _ in _secrets(o)), *(f"{VOLUME}{identity}" for identity in pod_secrets(o))]
    return [{"name": name, "mountPath": f"{_MOUNTS}/{name}", "readOnly": True} for name in names]


def _secrets(o: Observation) -> list[tuple[str, str, tuple[str, ...]]]:
    """Volume, Secret, and the keys of it that are needed; none for all of them."""
    traffic, found = o.spec.traffic, list[tuple[str, str, tuple[str, ...]]]()
    if traffic.tls:
        authority = ("ca.crt",) if traffic.tls.verifyClients else ()
        found.append(("tls", traffic.tls.secret, ("tls.crt", "tls.key", *authority)))
    if traffic.authentication and traffic.authentication.apiKeys:
        found.append(("api-keys", traffic.authentication.apiKeys.secret, ()))
    if traffic.authentication and traffic.authentication.jwt:
        found.append(("jwks", traffic.authentication.jwt.secret, ("jwks.json",)))
    return found
