"""RDS: who gets a request, and how long it may take. What is tried again is a matter of the clusters.

`config.render` calls `route_document`. A new weight is a new route table and nothing else: it is live at the
next request, and no listener, cluster or connection is touched.
"""

from typing import Any

from headgate_serving.router.config import names
from headgate_serving.router.config.budget import try_timeout_ms
from headgate_serving.router.config.layout import duration
from headgate_serving.router.traffic import Intent, Target

ROUTES = "headgate"
REVISION_HEADER = "x-headgate-revision"
NOT_LIVE = "no version is live yet"

TRY_TIMEOUT_FILTER = "envoy.filters.http.header_mutation"

_TYPE = "type.googleapis.com/envoy."


def route_document(intent: Intent) -> dict[str, Any]:
    """The route table: `/v2` goes to the model, `/healthz` is the router itself, anything else is unknown."""
    return {
        "@type": _TYPE + "config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": "model",
                "domains": ["*"],
                "routes": [
                    _answer({"path": "/healthz"}, 200, "ok"),
                    _model_route(intent),
                    _answer({"prefix": "/"}, 404, "not found: a model is served below /v2"),
                ],
            }
        ],
        "response_headers_to_add": [
            {
                "header": {
                    "key": REVISION_HEADER,
                    "value": f"%UPSTREAM_METADATA({names.METADATA}:revision)%",
                },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _answer(match: dict[str, str], status: int, text: str) -> dict[str, Any]:
    """An answer of the router itself; the listener's local reply format makes JSON of the text."""
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _model_route(intent: Intent) -> dict[str, Any]:
    match = {"path_separated_prefix": "/v2"}
    if intent.stable is None:
        return _answer(match, 503, NOT_LIVE)
    # The candidate first: a growing weight then never moves a user of the candidate back.
    order = [target for target in (intent.candidate, intent.stable) if target is not None]
    return {
        "match": match,
        "route": {
            "timeout": duration(intent.timeout_ms),
            "idle_timeout": duration(intent.timeout_ms + 60_000),
            "weighted_clusters": {"clusters": [_weighted(target, intent) for target in order]},
        },
    }


def _weighted(target: Target, intent: Intent) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": names.assigned(target.revision), "weight": target.weight}
    if target == intent.candidate and intent.retry_on_stable:
        entry["typed_per_filter_config"] = {TRY_TIMEOUT_FILTER: _try_timeout(try_timeout_ms(intent.timeout_ms))}
    return entry


def _try_timeout(milliseconds: int) -> dict[str, Any]:
    """The time for one try, by the one way that Envoy has to give it to one of the weighted clusters only."""
    header = {"key": "x-envoy-upstream-rq-per-try-timeout-ms", "value": str(milliseconds)}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {
        "@type": _TYPE + "extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
        "mutations": {"request_mutations": [mutation]},
    }
