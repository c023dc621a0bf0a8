"""What carries users' requests to the versions of a model, and counts what became of them.

A data plane is a folder of this package. It has manifests (what runs in the cluster), readings (what its series say of
both versions), and says who still sends requests where. The core knows no series, port or setting of any.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from headgate.api.spec import Spec
from headgate.api.status import Retiring
from headgate.core.model import Capabilities, MetricsUnavailable, NoNewSamples, Observation, Workload
from headgate.core.signals.signal import Comparison, History, Samples
from headgate.core.statistics.counters import TARGET_POD, Series

Manifest = dict[str, Any]


class ChildName(NamedTuple):
    """A child object of a ModelDeployment."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True)
class Read:
    """What was counted between two cursors."""

    cursor: float
    """The new one: seconds since the epoch, by Prometheus' clock."""
    samples: Samples
    interval: float = 1.0
    """Seconds between two scrapes."""
    behind: tuple[str, ...] = ()
    """Routers that have sent stable more than what the candidate had failed."""


class DataPlane(ABC):
    """One kind of data plane. All methods are pure."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    comparison_series: ClassVar[tuple[str, ...]]
    """Names of the series that `read` wants while both versions answer users."""
    pair_series: ClassVar[tuple[str, ...]]
    """Names of those that `read_pairs` wants while the candidate gets copies."""
    history_series: ClassVar[tuple[str, ...]]
    """Names of those that `history` wants."""
    release_series: ClassVar[tuple[str, ...]]
    """Names of those that `released` wants."""

    @abstractmethod
    def compared(self, spec: Spec, stable: str, candidate: str) -> Comparison:
        """Two revisions, and when an answer is late or slow under this spec."""

    @abstractmethod
    def read(
        self, series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
    ) -> Read | NoNewSamples | MetricsUnavailable:
        """Since `cursor` (None: nothing yet, begin at the newest time). `now` by Prometheus' clock."""

    @abstractmethod
    def read_pairs(
        self, series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
    ) -> Read | NoNewSamples | MetricsUnavailable:
        """The same for a candidate that gets copies of requests."""

    @abstractmethod
    def history(self, series: Iterable[Series], cursor: float, compared: Comparison) -> History:
        """Stable up to `cursor`."""

    @abstractmethod
    def released(
        self, retiring: Iterable[Retiring], routers: Iterable[str], series: Iterable[Series], clock_ahead: float
    ) -> frozenset[str]:
        """The retiring revisions that no router sends requests to any more."""

    @abstractmethod
    def pods(self, name: str, pods: Sequence[Mapping[str, Any]]) -> frozenset[str]:
        """The names of its own pods, among all that have the label of model `name`."""

    def is_own(self, labels: Mapping[str, str], pods: frozenset[str]) -> bool:
        """Whether a series is from the data plane itself, by the labels that the scraper writes. `pods` are its own."""
        return labels.get(TARGET_POD) in pods

    @abstractmethod
    def workload(
        self, name: str, deployments: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]
    ) -> Workload:
        """The model's own routers, among its Deployments and its pods without a revision. A data plane that has none
        is always available."""

    @abstractmethod
    def unwanted(self, o: Observation) -> Sequence[ChildName]:
        """Children that an earlier spec asked for and this one doesn't."""

    def protects(self, o: Observation, manifest: Manifest) -> bool:
        """Whether nothing of the same component may be there without this child, for this spec."""
        return False

    @abstractmethod
    def manifests(self, o: Observation) -> Sequence[Manifest]:
        """Everything that routes to the model, whatever its versions."""
