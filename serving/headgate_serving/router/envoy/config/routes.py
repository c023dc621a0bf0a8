"""RDS: who gets a request, and how long it may take. What is tried again is a matter of the clusters.

`config.render` calls `route_document`. A new weight is a new route table and nothing else: it is live at the
next request, and no listener, cluster or connection is touched.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headgate.api import contract
from headgate.api.policy import Match, RateLimit, Selector
from headgate_serving.router.envoy.config import headers, names
from headgate_serving.router.envoy.config.authentication import EXEMPT
from headgate_serving.router.envoy.config.budget import candidate_try_ms, stable_try_ms, whole_ms
from headgate_serving.router.envoy.config.copying import copied, sampled
from headgate_serving.router.envoy.config.layout import duration
from headgate_serving.router.policy.traffic import TOTAL_WEIGHT, Intent, Target

ROUTES = "headgate"
NOT_LIVE = "no version is live yet"

RATE_LIMIT_FILTER = "envoy.filters.http.local_ratelimit"
TRY_TIMEOUT_FILTER = "envoy.filters.http.header_mutation"

SLOW_CLIENT_MS = 60_000
"""How long a client may pause in a request or an answer. For all of a request the listener has a limit."""

_UNLIMITED = (1 << 32) - 1

MAX_CLIENTS = 10_000
"""How many clients a limit is kept for; of more, the ones that asked longest ago start anew."""

_TYPE = "type.googleapis.com/envoy."
_OFF = {"@type": _TYPE + "config.route.v3.FilterConfig", "disabled": True}


@dataclass(frozen=True)
class RouteRule:
    """One kind of request to the model: which ones, for which port of its pods, counted where.

    `endless` for calls that last as long as the client likes; only idleness ends them.
    """

    match: dict[str, Any]
    protocol: names.Protocol
    kind: names.Kind
    endless: bool = False

    def degradable(self, intent: Intent) -> bool:
        """Whether a fallback may answer in stable's place: inference, one request and one answer."""
        return self.kind == "assigned=true" and bool(intent.policy.fallback)


def _path(regex: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": regex}}


_GRPC: dict[str, Any] = {"grpc": {}}

ROUTE_RULES = (
    RouteRule(_path(r"/v2/models/[^/]+(/versions/[^/]+)?/infer"), "http", "assigned=true"),
    RouteRule({"path_separated_prefix": "/v2"}, "http", "uncounted"),
    RouteRule(_path(r"/inference\.GRPCInferenceService/ModelInfer") | _GRPC, "grpc", "assigned=true"),
    RouteRule(_path(r"/inference\.GRPCInferenceService/ModelStreamInfer") | _GRPC, "grpc", "streams", endless=True),
    # Nothing that changes the server: Triton would load and unload models for anybody.
    RouteRule(
        _path(
            r"/inference\.GRPCInferenceService/"
            r"(Server(Live|Ready|Metadata)|Model(Ready|Metadata|Config|Statistics)|RepositoryIndex)"
            r"|/grpc\.health\.v1\.Health/Check"
        )
        | _GRPC,
        "grpc",
        "uncounted",
    ),
    RouteRule(
        _path(r"/grpc\.(health\.v1\.Health/Watch|reflection\..*)") | _GRPC,
        "grpc",
        "uncounted",
        endless=True,
    ),
)


def route_document(intent: Intent) -> dict[str, Any]:
    """The route table: `/v2` goes to the model, `/healthz` is the router itself, anything else is unknown."""
    return {
        "@type": _TYPE + "config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": "model",
                "domains": ["*"],
                **_per_filter(RATE_LIMIT_FILTER, _rate_limit(intent.policy.rate_limit)),
                "routes": [
                    _answer({"path": "/healthz"}, 200, "ok")
                    | {"typed_per_filter_config": {RATE_LIMIT_FILTER: _OFF, **EXEMPT}},
                    _answer(_larger_than(intent.policy.max_body_bytes), 413, "the request is too large"),
                    *(route for rule in ROUTE_RULES for route in _routes(rule, intent)),
                    _answer({"prefix": "/"}, 404, "not found: a model is served below /v2"),
                ],
            }
        ],
        # Between Envoy and the agent.
        "response_headers_to_remove": ["x-envoy-upstream-service-time", headers.FINAL, contract.REJECTED_HEADER],
        "response_headers_to_add": headers.of_answers(f"%UPSTREAM_METADATA({names.METADATA}:revision)%"),
    }


def _answer(match: dict[str, Any], status: int, text: str) -> dict[str, Any]:
    """An answer of the router itself; the listener's local reply format makes JSON of the text."""
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _routes(rule: RouteRule, intent: Intent) -> Iterator[dict[str, Any]]:
    """First the requests that don't follow the weights, in the user's order, then those that do."""
    whole = whole_ms(intent.policy.timeout_ms, fallback=rule.degradable(intent))
    times = {
        "timeout": duration(0 if rule.endless else whole),
        "idle_timeout": duration(intent.policy.timeout_ms + SLOW_CLIENT_MS),
    }
    if intent.stable is None:
        if rule.degradable(intent):
            yield {"match": rule.match, "route": times | {"cluster": names.FALLBACK[rule.protocol]}}
        else:
            yield _answer(rule.match, 503, NOT_LIVE)
        return
    testers: names.Kind = "testers" if rule.degradable(intent) else "uncounted"
    by_role = {target.role: target for target in intent.targets}
    for match in intent.policy.matches:
        if intent.shadowed and match.role == "candidate":
            continue  # not even testers, before it is known how it answers
        if intent.candidate and (target := by_role.get(match.role)):
            yield {
                "match": rule.match | {"headers": [_matcher(match)]},
                "route": times | {"cluster": str(names.Cluster(target.revision, testers, rule.protocol))},
                **_filters(target, rule, intent),
            }
    clusters = [
        {
            "name": str(names.Cluster(target.revision, rule.kind, rule.protocol)),
            "weight": weight,
            **_filters(target, rule, intent),
        }
        for target, weight in _shares(intent)
    ]
    split: dict[str, Any] = {"weighted_clusters": {"clusters": clusters}}
    if intent.policy.affinity is not None:
        split["weighted_clusters"]["use_hash_policy"] = True
        split["hash_policy"] = [_hashed(intent.policy.affinity)]
    if intent.copied and rule.kind == "assigned=true":
        yield {"match": sampled(rule.match, intent.copied), "route": times | split, **copied()}
    yield {"match": rule.match, "route": times | split}


def _shares(intent: Intent) -> list[tuple[Target, int]]:
    """Each version's parts of the range from 0 to 1000. A request, or its user, is hashed into that range.

    The candidate's part begins where its name says and grows from there. So a growing weight moves no user of the
    candidate back, and it is not the same users who get every candidate first.
    """
    stable, candidate = intent.stable, intent.candidate
    if stable is None or candidate is None:
        return [(target, target.weight) for target in intent.targets]
    begin = zlib.crc32(candidate.revision.encode()) % TOTAL_WEIGHT if intent.policy.affinity else 0
    over = max(0, begin + candidate.weight - TOTAL_WEIGHT)
    upper = candidate.weight - over
    parts = [(candidate, over), (stable, begin - over), (candidate, upper), (stable, TOTAL_WEIGHT - begin - upper)]
    nothing = [(target, 0) for target in intent.targets if not target.weight]
    return [(target, weight) for target, weight in parts if weight] + nothing


def _filters(target: Target, rule: RouteRule, intent: Intent) -> dict[str, Any]:
    """The time-out of a try: a part of the budget where stable or a fallback is tried next."""
    fallback = rule.degradable(intent)
    if target == intent.candidate:
        if not intent.policy.retry_on_stable or rule.endless:
            return {}
        milliseconds = candidate_try_ms(intent.policy.timeout_ms, fallback=fallback)
    elif fallback:
        milliseconds = stable_try_ms(intent.policy.timeout_ms)
    else:
        return {}
    return _per_filter(TRY_TIMEOUT_FILTER, _try_timeout(milliseconds))


def _per_filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"typed_per_filter_config": {name: config}} if config else {}


def _larger_than(size: int) -> dict[str, Any]:
    """Requests that say so; of those that don't, the runtime counts the bytes."""
    return {"prefix": "/", "headers": [{"name": "content-length", "range_match": {"start": size + 1, "end": 1 << 62}}]}


def _bucket(requests: int, seconds: int) -> dict[str, Any]:
    return {"max_tokens": requests, "tokens_per_fill": requests, "fill_interval": duration(1000 * seconds)}


def _rate_limit(limit: RateLimit | None) -> dict[str, Any]:
    """Nothing where there is no limit. Buckets are filled all the time, not once a unit."""
    if limit is None:
        return {}
    if limit.header is None:
        key, action = "remote_address", dict[str, Any](remote_address={})
    else:
        key = "client"
        action = {"request_headers": {"header_name": limit.header, "descriptor_key": key}}
    always = {"default_value": {"numerator": 100}}
    return {
        "@type": _TYPE + "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "inference",
        "filter_enabled": always,
        "filter_enforced": always,
        # Without a value an entry stands for each value that there is.
        "descriptors": [{"entries": [{"key": key}], "token_bucket": _bucket(limit.requests, limit.seconds)}],
        # For whom nothing names.
        "token_bucket": _bucket(_UNLIMITED, 1),
        "always_consume_default_token_bucket": False,
        "rate_limits": [{"actions": [action]}],
        "max_dynamic_descriptors": MAX_CLIENTS,
        "rate_limited_as_resource_exhausted": True,
        "response_headers_to_add": [
            {"header": {"key": "retry-after", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


def _matcher(match: Match) -> dict[str, Any]:
    selector = match.selector
    if selector.kind == "cookie":
        value = {"exact": re.escape(match.value), "prefix": re.escape(match.value) + "[^;]*", "present": "[^;]*"}
        cookie = rf"(?:.*;\s*)?{re.escape(selector.name)}={value[match.how]}(?:;.*)?"
        return {"name": "cookie", "string_match": {"safe_regex": {"regex": cookie}}}
    if match.how == "present":
        return {"name": selector.name, "present_match": True}
    return {"name": selector.name, "string_match": {match.how: match.value}}


def _hashed(selector: Selector) -> dict[str, Any]:
    """Requests without it are split at random."""
    if selector.kind == "header":
        return {"header": {"header_name": selector.name}}
    return {"cookie": {"name": selector.name}}


def _try_timeout(milliseconds: int) -> dict[str, Any]:
    """The time for one try, by the one means that Envoy has to give it to one of the weighted clusters only."""
    header = {"key": "x-envoy-upstream-rq-per-try-timeout-ms", "value": str(milliseconds)}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {
        "@type": _TYPE + "extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
        "mutations": {"request_mutations": [mutation]},
    }
