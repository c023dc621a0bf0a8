"""What Envoy's and the runtimes' counters say of both versions between two cursors.

Attempts are those that pods really had: `rq_success + rq_error` by pod, a rescue by stable not among them. The
router gives up a candidate's attempt after a share of the time budget, so that stable can still rescue it, but
waits for stable until the budget ends. To be fair, an answer of stable that took longer than that share counts
against stable as well. Times are those of a version's own answers, so there is no rescue among them either.

A request whose user got a refusal is nobody's attempt, for the client has to mend it. What a candidate refused, or
answered with NaN, and stable answered is a failure, which the router counts by itself. Where stable said nothing good
either the attempt is taken out again; but an answer that is invalid on both is one that has not failed. Where stable is
not asked for what a candidate fails (`retryOnStable: false`) nobody knows whose fault a refusal is, so those of both
versions count as failures: the clients' own are as many on either side.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cached_property
from statistics import median

from headgate.api.contract import BASELINE, REVISION, RUNTIME_READY, SHADOW_PAIRS, Rejection
from headgate.core.dataplane import Read
from headgate.core.dataplane.envoy.histogram import common_edges, edge_of, give_up_edge, slow_edge
from headgate.core.dataplane.envoy.series import ANSWERED, ANSWERED_WITHIN, ERRORS, REFUSED, REJECTED, SUCCESSES
from headgate.core.model import MetricsUnavailable, NoNewSamples
from headgate.core.signals.signal import Comparison, PairBlock, Samples, SlowAnswers
from headgate.core.statistics.counters import TARGET_POD, Increment, Series, read_since, scrape_interval
from headgate.core.statistics.rates import AttemptBlock

_Gained = defaultdict[tuple[str, str, float | None], int]
"""What all routers and pods counted, by series, revision and, for the histogram, edge in milliseconds."""


class EnvoySamples(Samples):
    """By the counters of Envoy and of the agents beside it."""

    def attempts(self) -> AttemptBlock:
        gained, who, rejected = self._gained, self.compared, self._rejected
        late = _answers(gained, who.stable, None) - _answers(gained, who.stable, self._give_up)
        undecided = rejected[Rejection.UNDECIDED]
        failures = gained[ERRORS, who.candidate, None] - undecided - rejected[Rejection.ALIKE]
        attempts = self._attempted(who.candidate) - undecided
        stable_attempts, stable_failures = self._attempted(who.stable), gained[ERRORS, who.stable, None] + max(0, late)
        if not who.rescues:
            failures += gained[REFUSED, who.candidate, None]
            stable_failures += gained[REFUSED, who.stable, None]
        # A scrape may have come after the router counted an attempt, and before it knew whose fault the failure was.
        return AttemptBlock(
            candidate_attempts=max(0, attempts),
            candidate_failures=min(max(0, failures), max(0, attempts)),
            stable_attempts=max(0, stable_attempts),
            stable_failures=min(max(0, stable_attempts), stable_failures),
            candidate_rejections=min(max(0, failures), max(0, attempts), rejected[Rejection.ANSWERED]),
        )

    def slow_answers(self) -> SlowAnswers | None:
        """Of the answers within the time that a candidate has. A later one of stable is a failure, as the candidate's
        would have been."""
        gained, who, give_up = self._gained, self.compared, self._give_up
        edge = slow_edge(self._edges, who.slow_after, give_up)
        if edge is None:
            return None
        counts: list[int] = []
        for revision in (who.candidate, who.stable):
            answers = _answers(gained, revision, give_up)
            counts += [answers, max(0, answers - _answers(gained, revision, edge))]
        return SlowAnswers(edge, AttemptBlock(*counts))

    def pairs(self) -> PairBlock:
        """As the routers' agents count them."""
        counted = Counter[str]()
        for i in self.increments:
            whose = tuple(i.labels.get(name) for name in ("__name__", REVISION, BASELINE))
            if whose == (SHADOW_PAIRS, self.compared.candidate, self.compared.stable):
                counted[i.labels.get("agree", "")] += i.gained
        every = sum(counted[verdict] for verdict in ("yes", "no", "few", "error"))
        return PairBlock(every, counted["yes"], counted["error"], counted["few"])

    def _attempted(self, revision: str) -> int:
        """Attempts; without those of which the user got a refusal, if it is known whose fault it was."""
        gained = self._gained
        tried = gained[SUCCESSES, revision, None] + gained[ERRORS, revision, None]
        return tried - gained[REFUSED, revision, None] if self.compared.rescues else tried

    @cached_property
    def _rejected(self) -> Counter[str]:
        """What the candidate rejected and stable was asked, by outcome."""
        found = Counter[str]()
        for i in self.increments:
            if (i.labels.get("__name__"), i.labels.get(REVISION)) == (REJECTED, self.compared.candidate):
                found[i.labels.get(Rejection.OUTCOME, "")] += i.gained
        return found

    @cached_property
    def _gained(self) -> _Gained:
        return _by_name(self.increments)

    @cached_property
    def _edges(self) -> list[float]:
        return common_edges(self.series)

    @cached_property
    def _give_up(self) -> float | None:
        return give_up_edge(self._edges, self.compared.give_up_after)


def read(
    series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
) -> Read | NoNewSamples | MetricsUnavailable:
    """See `DataPlane.read`."""
    given = [s for s in series if s.samples]
    routers = [s for s in given if s.labels.get("__name__") == SUCCESSES]
    if not routers:
        return MetricsUnavailable("Prometheus has no recent samples of the routers.")
    newest = max(s.samples[-1][0] for s in routers)
    if now - newest > stale_after:
        return MetricsUnavailable(f"Prometheus has no sample of the routers from the last {stale_after:g} seconds.")
    if not any(s.labels.get("__name__") == RUNTIME_READY and s.labels.get(REVISION) == compared.stable for s in given):
        return MetricsUnavailable("Prometheus has no recent samples of stable's runtimes.")
    reading = read_since(cursor, given, stale_after)
    if reading is None:
        return NoNewSamples()
    intervals = [every for s in routers if (every := scrape_interval(t for t, _ in s.samples))]
    return Read(
        cursor=reading.cursor,
        samples=EnvoySamples(given, reading.increments, compared),
        interval=median(intervals) if intervals else 1.0,
        behind=_behind(reading.increments, compared),
    )


def _behind(increments: Iterable[Increment], compared: Comparison) -> tuple[str, ...]:
    """Pods of routers that have sent stable more than what the candidate had failed there."""
    too_many = Counter[str]()
    for i in increments:
        name, revision = i.labels.get("__name__"), i.labels.get(REVISION)
        router = i.labels.get(TARGET_POD, "")
        if name in (SUCCESSES, ERRORS) and revision == compared.stable:
            too_many[router] += i.gained
        elif name == ERRORS and revision == compared.candidate:
            too_many[router] -= i.gained
    return tuple(sorted(router for router, attempts in too_many.items() if attempts > 0))


def _answers(gained: _Gained, revision: str, within: float | None) -> int:
    """A revision's answers within an edge of the histogram; None: all."""
    return gained[ANSWERED, revision, None] if within is None else gained[ANSWERED_WITHIN, revision, within]


def _by_name(increments: Iterable[Increment]) -> _Gained:
    gained: _Gained = defaultdict(int)
    for i in increments:
        name = i.labels.get("__name__", "")
        edge = edge_of(i.labels) if name == ANSWERED_WITHIN else None
        gained[name, i.labels.get(REVISION, ""), edge] += i.gained
    return gained
