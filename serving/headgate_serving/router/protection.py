"""What the router was told about its own protection when its pod was made: the arguments of the agent.

The operator writes them from `spec.traffic`. They are arguments, and not read from the resource as the split is,
because listeners and mounted Secrets are made once in the life of a pod; and because an agent that does not know one
of them doesn't start, rather than serve without it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

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


UNPROTECTED = Protection()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line's part."""
    parser.add_argument("--tls", type=Path, help="mount of a Secret with tls.crt and tls.key")
    parser.add_argument("--verify-clients", action="store_true", help="only clients whom its ca.crt vouches for")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--api-keys", type=Path, help="mount of a Secret with clients' names and keys")
    who.add_argument("--jwks", type=Path, help="mount of a Secret with jwks.json")
    parser.add_argument("--api-key-header", default="x-api-key", help="where a client sends its key")
    parser.add_argument("--jwt-issuer", help="who makes the tokens")
    parser.add_argument("--jwt-audience", action="append", default=[], help="for whom a token has to be made")
    parser.add_argument("--access-log", default=UNPROTECTED.access_log, choices=get_args(AccessLog))
    parser.add_argument("--envoy-memory-mib", default=UNPROTECTED.memory_mib, type=int, help="what Envoy may use")


def protection_of(options: argparse.Namespace) -> Protection:
    """What the command line says. ValueError where it asks for protection and doesn't say how."""
    if options.verify_clients and not options.tls:
        raise ValueError("--verify-clients needs --tls")
    if options.jwks and not (options.jwt_issuer and options.jwt_audience):
        raise ValueError("--jwks needs --jwt-issuer and --jwt-audience")
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
    )
