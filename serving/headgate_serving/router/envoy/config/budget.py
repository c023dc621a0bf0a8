"""The edges of the latency histogram, and the shares of the time budget that the tries get. Used by `bootstrap` and
`routes`.

The answer has to be there within the whole budget, so no try after which another one follows may take all of it.
Without a fallback the candidate has half of it, and stable the rest. A fallback has the last quarter: stable has three
quarters where it is asked first, and half of that where it rescues a candidate that has had as much.

The agent means to give a fallback's answer before the budget ends, but where a node is busy it may be late by some
ten milliseconds. So Envoy waits an eighth longer for it (`whole_ms`): users get an answer that is a little late, and
no 504. More would do nothing, for the agent too has no longer than a try.

The two belong together. The candidate is given up after its share, stable only at the end of the whole budget, so
"too late" doesn't mean the same for both. As the share is an edge of the histogram, stable's requests that took
longer than the share can be counted too, and the two be compared.
"""

from headgate_serving.router.policy.traffic import Intent

CANDIDATE_SHARE = 0.5
CANDIDATE_SHARE_BEFORE_FALLBACK = 0.375
STABLE_SHARE_BEFORE_FALLBACK = 0.75

LATE_SHARE = 0.125
LEAST_LATE_MS = 50
"""How much later than `timeout` a fallback's answer may come."""

LATENCY_EDGES_MS = (
    1, 2, 3, 4, 5, 7.5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 400, 500, 600, 750,
    1000, 1250, 1500, 2000, 2500, 3000, 4000, 5000, 7500, 10_000, 15_000, 20_000, 30_000, 45_000, 60_000, 90_000,
    120_000, 180_000, 300_000,
)  # fmt: skip


def candidate_try_ms(timeout_ms: int, *, fallback: bool = False) -> int:
    """How long the candidate may take before stable is asked, and stable after it before a fallback is.

    The largest whole edge within the candidate's share: stable then has at least as much as the candidate had.
    """
    share = timeout_ms * (CANDIDATE_SHARE_BEFORE_FALLBACK if fallback else CANDIDATE_SHARE)
    return max((int(edge) for edge in LATENCY_EDGES_MS if edge <= share and edge == int(edge)), default=1)


def stable_try_ms(timeout_ms: int) -> int:
    """How long stable may take before a fallback is asked."""
    return max(1, int(timeout_ms * STABLE_SHARE_BEFORE_FALLBACK))


def whole_ms(timeout_ms: int, *, fallback: bool = False) -> int:
    """How long Envoy waits in all, for whoever answers."""
    return timeout_ms + (max(LEAST_LATE_MS, int(timeout_ms * LATE_SHARE)) if fallback else 0)


def latency_edges(intent: Intent) -> list[float]:
    """The histogram's edges in milliseconds, one of them where the ModelDeployment says that answers become slow.

    Not where the candidate is not waited for: the largest edge up to there has to stay what it is. Envoy keeps times
    with two digits, and between two of those an edge is as good as a guess.
    """
    policy = intent.policy
    waited_for = stable_try_ms(policy.timeout_ms) if policy.fallback else policy.timeout_ms
    if policy.retry_on_stable:
        waited_for = candidate_try_ms(policy.timeout_ms, fallback=bool(policy.fallback))
    slow = {policy.slow_ms} if policy.slow_ms is not None and policy.slow_ms < waited_for else set()
    return sorted(slow.union(LATENCY_EDGES_MS))
