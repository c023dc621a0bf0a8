"""Where the demo shows itself: a live view on a terminal, plain lines elsewhere.

`watch.py` hands over a `Look` every second, `story.py` says what it does. `live.py` draws.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from . import live
from .reading import View
from .recording import Recording

PLAIN_EVERY = 10


@dataclass(frozen=True)
class Look:
    """What is to be shown."""

    title: str
    view: View
    recording: Recording


class Screen(Protocol):
    """Anything that can show a run."""

    console: Console

    def say(self, text: str) -> None:
        """A line of the story."""

    def command(self, text: str) -> None:
        """A command that is run now, as the user could."""

    def show(self, look: Look) -> None:
        """The state of things."""


class Lines:
    """Plain lines: one for each change, and one now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._before = ""
        self._silent = 0

    def say(self, text: str) -> None:
        """See `Screen`."""
        self.console.print(Text(text), soft_wrap=True)

    def command(self, text: str) -> None:
        """See `Screen`."""
        self.console.print(Text(f"$ {text}"), soft_wrap=True)

    def show(self, look: Look) -> None:
        """See `Screen`."""
        state = f"{look.view.phase} {dict(look.view.weights)}"
        self._silent += 1
        if state != self._before or self._silent >= PLAIN_EVERY:
            self.console.print(Text("  " + live.line(look.view, look.recording)), soft_wrap=True)
            self._before, self._silent = state, 0


class Panel:
    """A view that is drawn anew every second, with the story's lines above it."""

    def __init__(self, console: Console, drawn: Live) -> None:
        self.console = console
        self._live = drawn

    def say(self, text: str) -> None:
        """See `Screen`."""
        self.console.print(Text(text, style="bold"))

    def command(self, text: str) -> None:
        """See `Screen`."""
        self.console.print(Text.assemble(("$ ", "cyan"), text))

    def show(self, look: Look) -> None:
        """See `Screen`."""
        self._live.update(live.panel(look.title, look.view, look.recording), refresh=True)


@contextmanager
def opened(console: Console, *, plain: bool) -> Iterator[Screen]:
    """The screen that fits."""
    if plain or not console.is_terminal or os.environ.get("CI"):
        yield Lines(console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as drawn:
        yield Panel(console, drawn)
