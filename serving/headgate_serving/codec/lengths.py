"""Which lengths of the outputs are the same in all answers of a version, and which depend on what was asked."""

from dataclasses import dataclass, field

from .lenient import Tensor, Tensors


@dataclass
class Lengths:
    """The lengths that stable's answers have. A dimension of which two were seen depends on the data, as the number of
    things that were found in a picture does. The first one is not looked at, for it may be that of rows."""

    _seen: dict[str, tuple[int | None, ...]] = field(default_factory=dict)

    def learn(self, stable: Tensors) -> None:
        """From an answer of stable."""
        for name, output in stable.items():
            before = self._seen.get(name, output.shape)
            if len(before) == len(output.shape):
                both = zip(before, output.shape, strict=True)
                self._seen[name] = tuple(was if was == now else None for was, now in both)

    def differ(self, name: str, stable: Tensor, candidate: Tensor) -> bool:
        """Whether an output has another number of dimensions than stable's, or another length where that is fixed."""
        known = self._seen.get(name, stable.shape)
        if len(stable.shape) != len(candidate.shape) or len(known) != len(stable.shape):
            return len(stable.shape) != len(candidate.shape)
        lengths = zip(known[1:], candidate.shape[1:], strict=True)
        return any(fixed is not None and fixed != length for fixed, length in lengths)
