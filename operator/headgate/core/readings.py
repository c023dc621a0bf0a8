"""From what a data plane has read to the blocks of the signals. Pure; called by `observe`."""

from headgate.core.dataplane import Read
from headgate.core.model import MetricsUnavailable, NewSamples, NoNewSamples, Reading
from headgate.core.signals import SIGNALS
from headgate.core.signals.signal import History


def new_samples(
    read: Read | NoNewSamples | MetricsUnavailable,
    reading: Reading,
    history: History | None,
    uncounted_since: float | None = None,
    *,
    last: bool = True,
) -> NewSamples | NoNewSamples | MetricsUnavailable:
    """Each signal's block, and with a `history` what is known of stable from before.

    `uncounted_since` is when something began that was passed over; `last` if there is nothing newer to be read.
    """
    if not isinstance(read, Read):
        return read
    kind = Reading.PAIRS if reading is Reading.PAIRS else Reading.COMPARISON
    blocks = {signal.name: signal.block(read.samples) for signal in SIGNALS if signal.reading is kind}
    baselines = (
        {signal.name: signal.baseline(history, blocks.get(signal.name)) for signal in SIGNALS} if history else {}
    )
    caught_up = last and uncounted_since is None
    return NewSamples(read.cursor, blocks, baselines, read.interval, read.behind, reading, uncounted_since, caught_up)
