"""Whether a model answers golden samples as they were made, by the rules of the preflight."""

from pathlib import Path

from headgate_serving.codec.lenient import Tensor
from headgate_serving.preflight.golden import read_samples
from headgate_serving.runtime.model import Model


def deviations(model: Model, folder: Path) -> list[str]:
    """Where the model answers otherwise than the `samples.json` of a folder: one line each, none if it agrees."""
    samples = read_samples(folder)
    assert samples, f"there are no samples in {folder}"
    found = []
    for sample in samples.samples:
        answers = model.run({name: given.values for name, given in sample.request.items()}, list(sample.outputs))
        for name, wanted in sample.outputs.items():
            told = Tensor(answers[name].shape, answers[name].ravel())
            if not samples.tolerance.agree(told, wanted):
                found.append(f"row {sample.row}: {name} is {told.values[:8]}, and was {wanted.values[:8]}")
    return found
