"""What the router was told about its own protection when its pod was made: the arguments of the agent.

The operator writes them from `spec.traffic`. They are arguments, and not read from the resource as the split is,
because listeners and mounted Secrets are made once in the life of a pod; and because an agent that does not know one
of them doesn't start, rather than serve without it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from headgate.api import contract
from headgate_serving.router.policy.pod_tls import NO_SECRETS, PodTls

AccessLog = Literal["All", "Errors"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the certificate is mounted, and whether clients need one too."""

    mount: Path
    verify_clients: bool = False


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Where the clients' keys are mounted, and the header that a client sends its key in."""

    mount: Path
    header: str = "x-api-key"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where the keys are mounted that have signed the clients' tokens (JWT), who makes those, and for whom."""

    mount: Path
    issuer: str
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Protection:
    """The choices. `memory_mib` is what Envoy's container may use."""

    tls: Tls | None = None
    authentication: ApiKeys | Tokens | None = None
    access_log: AccessLog = "All"
    memory_mib: int = 512
    pods: PodTls = NO_SECRETS


UNPROTECTED = Protection()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line's part."""
    parser.add_argument(contract.AgentArgument.TLS, type=Path, help="mount of a Secret with tls.crt and tls.key")
    parser.add_argument(
        contract.AgentArgument.VERIFY_CLIENTS, action="store_true", help="only clients whom its ca.crt vouches for"
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(contract.AgentArgument.API_KEYS, type=Path, help="mount of a Secret with clients' names and keys")
    who.add_argument(contract.AgentArgument.JWKS, type=Path, help="mount of a Secret with jwks.json")
    parser.add_argument(contract.AgentArgument.API_KEY_HEADER, default="x-api-key", help="where a client sends its key")
    parser.add_argument(contract.AgentArgument.JWT_ISSUER, help="who makes the tokens")
    parser.add_argument(
        contract.AgentArgument.JWT_AUDIENCE, action="append", default=[], help="for whom a token has to be made"
    )
    parser.add_argument(contract.AgentArgument.ACCESS_LOG, default=UNPROTECTED.access_log, choices=get_args(AccessLog))
    parser.add_argument(
        contract.AgentArgument.POD_SECRET,
        action="append",
        default=[],
        metavar="IDENTITY=FOLDER",
        help="mount of a Secret to ask pods with that speak TLS",
    )
    parser.add_argument(
        contract.AgentArgument.ENVOY_MEMORY, default=UNPROTECTED.memory_mib, type=int, help="what Envoy may use"
    )


def protection_of(options: argparse.Namespace) -> Protection:
    """What the command line says. ValueError where it asks for protection and doesn't say how."""
    if options.verify_clients and not options.tls:
        raise ValueError(f"{contract.AgentArgument.VERIFY_CLIENTS} needs {contract.AgentArgument.TLS}")
    if options.jwks and not (options.jwt_issuer and options.jwt_audience):
        raise ValueError(
            f"{contract.AgentArgument.JWKS} needs {contract.AgentArgument.JWT_ISSUER} and "
            f"{contract.AgentArgument.JWT_AUDIENCE}"
        )
    authentication: ApiKeys | Tokens | None = None
    if options.api_keys:
        authentication = ApiKeys(options.api_keys, options.api_key_header)
    elif options.jwks:
        authentication = Tokens(options.jwks, options.jwt_issuer, tuple(options.jwt_audience))
    return Protection(
        Tls(options.tls, options.verify_clients) if options.tls else None,
        authentication,
        cast("AccessLog", options.access_log),
        options.envoy_memory_mib,
        PodTls.of(options.namespace, options.model, options.pod_secret),
    )
