"""What it takes to add a signal, a phase, an engine, a data plane: these files, and a whole rollout works with it.

For the first three a copy of the operator is changed as `docs/architecture.md` says, and a rollout runs in it.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

OPERATOR = Path(__file__).parents[3] / "operator" / "headgate"
TESTS = Path(__file__).parents[2]
ADDITIONS = TESTS / "operator" / "additions"


@dataclass(frozen=True)
class Addition:
    """A new module, and lines in files that are there."""

    module: str
    edits: dict[Any, Any] = field(default_factory=dict)
    """File -> what is written after which line."""
    documented: tuple[Any, ...] = ()
    """Files besides, which a rollout does not need."""

    @property
    def files(self) -> Any:
        return {self.module, *self.edits, *self.documented}


ADDED = {
    "signal": Addition(
        "core/signals/refusals.py",
        {
            "core/signals/__init__.py": [
                ("import PREDICTION_SHIFT\n", "from headgate.core.signals.refusals import REFUSALS\n"),
                ("(ERRORS, LATENCY, SHADOW, ", "REFUSALS, "),
            ],
            "api/spec.py": [
                ("    latency: Latency = Latency()\n", '    refusals: Margin | None = None\n    """New."""\n')
            ],
        },
        ("docs/evidence.md",),
    ),
    "phase": Addition(
        "core/phases/holding.py",
        {
            "core/phases/__init__.py": [
                ("import Pending\n", "from headgate.core.phases.holding import Holding\n"),
                ("        Pending(),\n", "        Holding(),\n"),
            ],
            "api/status.py": [('    "Pending", ', '"Holding", ')],
            "core/phases/pending.py": [
                (
                    "look_first(status, now)\n",
                    "        if status.stable:\n"
                    '            return transitions.enter(status, "Holding", "Holding", "Wait.", now)\n',
                )
            ],
        },
    ),
    "command": Addition(
        "core/commands/pause.py",
        {
            "core/commands/__init__.py": [
                ("from headgate.api.status import Status\n", "from headgate.core.commands.pause import Pause\n"),
                ("    return (", "Pause.from_spec(spec), "),
            ],
            "api/spec.py": [("    latency: Latency = Latency()\n", '    paused: bool = False\n    """New."""\n')],
        },
    ),
    "engine": Addition(
        "core/engines/echo.py",
        {
            "core/engines/__init__.py": [
                ("import Custom\n", "from headgate.core.engines.echo import Echo\n"),
                ("(OnnxRuntime(), ", "Echo(), "),
            ],
            "api/spec.py": [('EngineName = Literal["onnxruntime", ', '"echo", ')],
        },
        ("docs/serving.md",),
    ),
}


def changed_copy(folder: Any, kind: Any, addition: Any) -> None:
    """The operator with the addition in it."""
    shutil.copytree(OPERATOR, folder / "headgate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ADDITIONS / f"{kind}.py", folder / "headgate" / addition.module)
    for name, edits in addition.edits.items():
        path = folder / "headgate" / name
        text = path.read_text()
        for after, new in edits:
            assert text.count(after) == 1, f"{name}: {after!r} stands there {text.count(after)} times"
            text = text.replace(after, after + new)
        path.write_text(text)


@pytest.mark.parametrize("kind", ADDED)
def test_a_rollout_works_with_what_was_added(tmp_path: Any, kind: Any) -> None:
    changed_copy(tmp_path, kind, ADDED[kind])
    paths = [tmp_path, TESTS / "helpers", OPERATOR.parents[1] / "serving"]
    ran = subprocess.run(
        [sys.executable, ADDITIONS / f"run_{kind}.py"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.mark.parametrize("kind", ADDED)
def test_it_takes_at_most_four_files_and_those_that_the_documentation_names(kind: Any) -> None:
    assert len(ADDED[kind].files) <= 4
    text = (OPERATOR.parents[1] / "docs" / "architecture.md").read_text()
    (row,) = re.findall(rf"^\| an? {kind} \|(.*)$", text, re.MULTILINE)
    named = set(re.findall(r"`([\w/.]+\.(?:py|md))`", row))
    assert {ADDED[kind].module.rsplit("/", 1)[0], *ADDED[kind].edits} <= {
        *named,
        *(name.rsplit("/", 1)[0] for name in named),
    }
