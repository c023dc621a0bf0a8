"""From the spec to what a router does with requests, in the units that it counts in. `decide` calls `resolved`.

The routers read it from `status.policy`, so that text such as `1m30s` or `64Mi` is understood in one place.
"""

from collections.abc import Iterable

from headgate.api import policy as api
from headgate.api import spec as user
from headgate.api.quantities import nanoseconds, size_bytes

SECONDS = {"Second": 1, "Minute": 60, "Hour": 3600}


def resolved(name: str, spec: user.Spec) -> api.Policy:
    """The policy of the ModelDeployment with this name."""
    traffic, rollout = spec.traffic, spec.rollout
    return api.Policy(
        timeout_ms=_milliseconds(traffic.timeout),
        retry_on_stable=traffic.retryOnStable,
        slow_ms=_slow_ms(rollout.latency),
        matches=tuple(map(_match, traffic.match)),
        affinity=_selector(traffic.affinity) if traffic.affinity else None,
        max_body_bytes=size_bytes(traffic.maxBody),
        rate_limit=_rate_limit(traffic.rateLimit) if traffic.rateLimit else None,
        agreement=_agreement(rollout),
        fallback=_fallback(name, traffic.fallback, traffic.fallbackOnLowConfidence),
    )


def _milliseconds(duration: str) -> int:
    return nanoseconds(duration) // 1_000_000


def _slow_ms(latency: user.Latency) -> int | None:
    """Where the routers' histogram needs an edge; None: one of those that it has anyway will do."""
    return _milliseconds(latency.threshold) if latency.enabled and latency.threshold else None


def _selector(selector: user.Selector) -> api.Selector:
    if selector.header is not None:
        return api.Selector("header", selector.header.lower())
    return api.Selector("cookie", selector.cookie or "")


def _match(match: user.Match) -> api.Match:
    if match.exact is not None:
        return api.Match(_selector(match), "exact", match.exact, match.role)
    if match.prefix is not None:
        return api.Match(_selector(match), "prefix", match.prefix, match.role)
    return api.Match(_selector(match), role=match.role)


def _rate_limit(limit: user.RateLimit) -> api.RateLimit:
    return api.RateLimit(limit.requests, SECONDS[limit.unit], limit.header.lower() if limit.header else None)


def _agreement(rollout: user.Rollout) -> api.Agreement:
    shadow = rollout.shadow
    outputs = (
        api.ComparedOutput(each.name, shadow.tolerance if each.tolerance is None else each.tolerance)
        for each in shadow.outputs
    )
    return api.Agreement(shadow.tolerance, tuple(outputs), same_outputs=rollout.schemaChange == "Refused")


def _fallback(name: str, fallbacks: Iterable[user.Fallback], on_low_confidence: bool) -> api.Fallback:
    """A model is never its own fallback: it would be asked without end."""
    models, static = list[str](), None
    for each in fallbacks:
        if each.static is not None:
            static = _static(each.static)
        elif each.modelDeployment and each.modelDeployment != name:
            models.append(each.modelDeployment)
    return api.Fallback(tuple(models), static, on_low_confidence)


def _static(answer: user.StaticAnswer) -> api.StaticAnswer:
    outputs = (
        api.StaticOutput(each.name, each.datatype, tuple(each.shape), tuple(each.data), tuple(each.text))
        for each in answer.outputs
    )
    return api.StaticAnswer(answer.name, tuple(outputs))
