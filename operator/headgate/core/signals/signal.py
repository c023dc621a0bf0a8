"""What a signal is: one way in which a candidate can be worse than stable, and how that is shown.

A module of this package defines one signal and its state; `headgate.core.signals.SIGNALS` lists them. Everything that
concerns all signals (combining them under one alpha, verdicts, conditions, messages, metrics, status) loops over that
list, so a new signal is one module, one line in the list, and its field in the spec.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
from pydantic import ValidationError

from headgate.api.spec import Spec
from headgate.api.status import Evidence, SignalEvidence
from headgate.api.stored import adapter
from headgate.core.model import BaselineRate, Capabilities, NewSamples, Reading
from headgate.core.statistics.counters import Increment, Series
from headgate.core.statistics.rates import AttemptBlock

log = logging.getLogger("headgate.signals")


class EvidenceState(Protocol):
    """What every state has."""

    @property
    def logHarm(self) -> float:  # noqa: N802 - as in the status
        """ln of the e-value against "not worse than the margin allows"."""

    @property
    def logSafe(self) -> float:  # noqa: N802
        """ln of the e-value against "worse than the margin allows"."""


State = TypeVar("State", bound=EvidenceState)
Block = TypeVar("Block")

PASS = float(np.log(20.0))
"""ln of the e-value at which a version counts as not worse."""


@dataclass(frozen=True)
class Comparison:
    """Which revisions are compared, and what counts as late."""

    stable: str
    candidate: str
    give_up_after: float | None = None
    """Seconds after which the router gives up a candidate's attempt; None: only when the budget ends."""
    slow_after: float | None = None
    """Seconds after which an answer is a slow one; None: that is not compared."""
    rescues: bool = True
    """Whether stable is asked for what the candidate failed or refused."""


@dataclass(frozen=True)
class SlowAnswers:
    """Answers of both versions, and those later than an edge that the data plane measures, in milliseconds."""

    edge: float
    answers: AttemptBlock = field(default_factory=AttemptBlock)


@dataclass(frozen=True)
class PairBlock:
    """Requests that both versions were asked: all, those answered alike, those that the candidate did not answer well,
    and those of which most rows got another label."""

    pairs: int = 0
    agreed: int = 0
    failed: int = 0
    few: int = 0


@dataclass(frozen=True)
class Samples(ABC):
    """What a data plane and the runtimes counted between two cursors."""

    series: Sequence[Series]
    """All that were read, whether they gained anything or not."""
    increments: Sequence[Increment]
    compared: Comparison

    @abstractmethod
    def attempts(self) -> AttemptBlock:
        """Attempts on pods of both versions, and those that failed."""

    @abstractmethod
    def slow_answers(self) -> SlowAnswers | None:
        """Answers in time, and the slow ones among them; None: not asked for, or nothing was timed yet."""

    @abstractmethod
    def pairs(self) -> PairBlock:
        """Requests of a shadow that both versions were asked."""


class History(Protocol):
    """Stable before the rollout."""

    def failures(self) -> BaselineRate:
        """Its failed attempts."""

    def slow_answers(self, edge: float) -> BaselineRate:
        """Its answers later than `edge` milliseconds."""

    def time_of(self, part: float) -> float | None:
        """Milliseconds within which it gave this part (0 to 1) of its answers, as far as the data plane measures them;
        None where it gave none."""


class Signal(ABC, Generic[State, Block]):
    """One signal. `State` is what it keeps in the status between two blocks, a pydantic dataclass with defaults."""

    name: str
    """In the status and in the label `test` of `headgate_evidence_log_e`."""
    capital: float
    """How much of alpha it may use where all signals are compared, in any unit."""
    reading: ClassVar[Reading] = Reading.COMPARISON
    """What it is read from. A canary has to pass the signals of a comparison; others have passed before it."""
    series: ClassVar[tuple[str, ...]] = ()
    """Names of Headgate's own series that it needs. What the data plane counts is read in any case."""
    queries: tuple[str, ...] = ()
    """PromQL of the user's that it is read from, instead: each gives a number for each revision. Its block is then
    `user_queries.Asked`."""
    about_stable: bool = True
    """Whether those have to give a number for stable, too. One that needs none goes on when the candidate alone serves,
    and is waited for where stable answers nothing."""
    advisory: bool = False
    """Whether it is only told, and decides nothing."""
    state: type[State]

    @abstractmethod
    def block(self, samples: Samples) -> Block | None:
        """What it takes from new samples; None: nothing can be compared."""

    def unread(self) -> Block | None:
        """The block of a time in which its own series were too much to be read."""
        return None

    @abstractmethod
    def wanted(self, spec: Spec, block: Block | None, can: Capabilities) -> bool:
        """Whether a rollout that begins now gives it a share of alpha. `can`: what the data plane can do."""

    @abstractmethod
    def fold(self, state: State, block: Block | None, spec: Spec, seconds: float, ceiling: float) -> State:
        """The state after one more block, which took `seconds`. `ceiling` is the ln e-value that decides alone."""

    def baseline(self, history: History, block: Block | None) -> BaselineRate:
        """What is known of stable from before the rollout."""
        return BaselineRate()

    def begin(self, spec: Spec, baseline: BaselineRate, block: Block | None) -> State | None:
        """The state when the candidate gets its first requests; None: it is not compared in this rollout."""
        return self.state()

    def alone(self, state: State, block: Block | None, spec: Spec, stable_rate: float) -> State:
        """The state after a block in which only the candidate served, against stable's earlier rate."""
        return state

    def dropped(self, spec: Spec) -> bool:
        """Whether a rollout that compares it goes on without it, for the spec asks for it no more."""
        return False

    def is_due(self, state: State, spec: Spec) -> bool:
        """Whether the candidate has to pass it: there is, or should be, something to compare."""
        return not self.advisory

    def trouble(self, state: State) -> str:
        """Why it could not be read, in words; a rollout that has to pass it waits."""
        return ""

    def is_harm(self, state: State) -> bool:
        """Whether the candidate has to go by it alone, without a share of alpha: a bound that the user has set."""
        return False

    @abstractmethod
    def counts(self, state: State) -> Mapping[str, float]:
        """What was seen, for programs."""

    @abstractmethod
    def summary(self, state: State, stable: str) -> str:
        """What was seen, in a sentence without its full stop. `stable` names the other version."""

    @abstractmethod
    def harm(self, state: State, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        """Reason and message of a rollback. `strength` is a sentence on how strong the evidence is."""

    @abstractmethod
    def passed(self, state: State, spec: Spec) -> str:
        """The sentence of a promotion."""

    def note(self, state: State, spec: Spec) -> str:
        """What people should know while both versions are compared; nothing that changes with each request."""
        return ""

    # What follows is the same for all signals.

    def state_in(self, evidence: Evidence) -> State | None:
        """The signal's state; None where it is not compared, or not yet."""
        entry = evidence.of(self.name)
        return self.decoded(entry) if entry else None

    def decoded(self, entry: SignalEvidence) -> State | None:
        """What `entry` keeps. What another version of Headgate kept in another form is lost, and the comparison begins
        anew; what the rollout has cost stays in its budget."""
        if not entry.state:
            return None
        try:
            state: State = adapter(self.state).validate_json(entry.state)
        except ValidationError as error:
            log.warning("the evidence on %s begins anew, for it can't be read: %s", self.name, error)
            return self.state()
        return state

    def entry(self, before: SignalEvidence, state: State) -> SignalEvidence:
        """`before` with the new state in it, and what people and programs read of it."""
        return replace(
            before,
            state=adapter(self.state).dump_json(state, exclude_defaults=True).decode(),
            summary=self.summary(state, "stable"),
            counts=" ".join(f"{name}={number:.12g}" for name, number in self.counts(state).items()),
            logHarm=round(state.logHarm, 4),
            logSafe=round(state.logSafe, 4),
        )

    def block_in(self, samples: NewSamples) -> Block | None:
        """The signal's block."""
        block: Block | None = samples.blocks.get(self.name)
        return block


def share(events: int, total: int) -> str:
    """`3 of 1200 (0.25 %)`."""
    return f"{events} of {total} ({100 * events / total:.2f} %)" if total else "0 of 0"
