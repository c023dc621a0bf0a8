"""How routers find out that a pod speaks TLS, and by which certificate it lets them in: by names of ports.

A revision's Service calls its ports `http` and `grpc` where they are plain text. Where they are not, it calls them
`https-IDENTITY` and `grpcs-IDENTITY`, and the names come to the routers with each address, in the EndpointSlices. So
there is nothing else to agree on, pods of both kinds may stand behind one router, and a router that knows no such name
sees no pod there rather than ask it in plain text. An identity is the Secret whose certificate routers show.
"""

import hashlib

_SECURED = "s-"


def identity_of(secret: str) -> str:
    """A short name for a Secret, as the names of ports and volumes take it: 8 hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def port_name(plain: str, identity: str) -> str:
    """The name of a Service's port: (`http`, `1a2b3c4d`) -> `https-1a2b3c4d`; `http` itself without an identity."""
    return f"{plain}{_SECURED}{identity}" if identity else plain


def read_port_name(name: str) -> tuple[str, str]:
    """What `port_name` was made of: `https-1a2b3c4d` -> (`http`, `1a2b3c4d`); the name and "" for any other."""
    plain, secured, identity = name.partition(_SECURED)
    return (plain, identity) if secured and identity else (name, "")


def server_name(model: str, namespace: str) -> str:
    """The DNS name that a pod's certificate has to have, whatever its address is and whichever version it serves."""
    return f"{model}.{namespace}.svc"
