"""Authentication: the filter that clients have to pass, and the documents that bring its keys to Envoy (ECDS).

`bootstrap` uses the filter, `secret_watcher` the documents, `routes` what is exempt. The documents are apart from
the routes, so that a Secret that Envoy doesn't take can never hold up a rollback. Without a document nobody passes.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from headgate.api import contract
from headgate_serving.router.envoy.config.layout import duration, from_agent
from headgate_serving.router.policy.protection import Tokens

FILTER = "headgate.authentication"

START_WITHOUT_MS = 2000
"""How long Envoy waits for its first document before it starts, and lets nobody pass."""

_TYPE = "type.googleapis.com/envoy."
_KEYS = _TYPE + "extensions.filters.http.api_key_auth.v3.ApiKeyAuth"
_TOKENS = _TYPE + "extensions.filters.http.jwt_authn.v3.JwtAuthentication"

EXEMPT = {FILTER: {"@type": _TYPE + "config.route.v3.FilterConfig", "disabled": True}}
"""Of a route."""


def authentication_filter() -> dict[str, Any]:
    """The filter, which follows the document named `FILTER`."""
    return {
        "name": FILTER,
        "config_discovery": {
            "config_source": from_agent() | {"initial_fetch_timeout": duration(START_WITHOUT_MS)},
            "default_config": _nobody(),
            "type_urls": [_KEYS, _TOKENS],
        },
    }


def nobody_document() -> dict[str, Any]:
    """ECDS: 401 for everybody."""
    return _document(_nobody())


def api_keys_document(header: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """ECDS: a client passes by its key in `header`; `keys` by the client's name."""
    credentials = [{"key": key, "client": client} for client, key in sorted(keys.items())]
    return _document(
        _nobody()
        | {
            "credentials": credentials,
            "key_sources": [{"header": header}],
            "forwarding": {"header": contract.CLIENT_HEADER, "hide_credentials": True},
        }
    )


def tokens_document(tokens: Tokens, keys: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """ECDS: a client passes by a token that one of the public `keys` (as in a JWKS) has signed."""
    provider = {
        "issuer": tokens.issuer,
        "audiences": list(tokens.audiences),
        "local_jwks": {"inline_string": json.dumps({"keys": list(keys)}, sort_keys=True)},
        # Not in the query either, where others log it.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "forward": False,
        "require_expiration": True,
        "claim_to_headers": [{"header_name": contract.CLIENT_HEADER, "claim_name": "sub"}],
    }
    needed = {"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}
    return _document({"@type": _TOKENS, "providers": {"issuer": provider}, "rules": [needed]})


def _nobody() -> dict[str, Any]:
    return {"@type": _KEYS, "key_sources": [{"header": "x-api-key"}]}


def _document(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"@type": _TYPE + "config.core.v3.TypedExtensionConfig", "name": FILTER, "typed_config": config}
