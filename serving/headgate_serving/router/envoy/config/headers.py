"""The headers that the router makes, and keeps clients from making: for `bootstrap`, `routes` and `access_log`."""

from typing import Any

from headgate.api import contract

FINAL = "x-envoy-ratelimited"
"""Envoy tries a failed answer that has it on nobody else: nobody is left, or somebody would be asked twice."""

_TYPE = "type.googleapis.com/envoy."


def from_clients() -> dict[str, Any]:
    """Of the connection manager: what is taken from a request before anything looks at it."""
    kept_out = [
        {"remove_on_match": {"key_matcher": {"prefix": contract.OWN_HEADERS}}},
        {"remove": contract.REQUEST_ID_HEADER},
    ]
    return {
        # A client is not to choose its own timeouts and retries by x-envoy-* headers.
        "use_remote_address": True,
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": _TYPE + "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": kept_out,
                },
            }
        ],
    }


def of_answers(revision: str) -> list[dict[str, Any]]:
    """Of the routes: what is added to each answer; `revision` as Envoy finds it."""
    values = {contract.REVISION_HEADER: revision, contract.PREDICTION_HEADER: "%REQ(X-REQUEST-ID)%"}
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]
