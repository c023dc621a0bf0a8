"""`python -m demo`: play the story on a cluster and report. Exit status 0 only if it came out right."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tools.cluster import Cluster, ClusterError
from tools.setup.errors import SetupError

from . import artifacts, report, scene, screen, story
from .api import Api
from .claims import came_out_right
from .recording import Recording
from .watch import DEMO, MODEL, SYSTEM, Watcher

EPILOGUE = f"""
Look around:
  make cluster-shell                                 a shell with kubectl and helm; in there, for example:
    kubectl get modeldeployment -n {DEMO}      what is served, and what was on its way
    kubectl describe modeldeployment {MODEL} -n {DEMO}  the whole story, in events and conditions
    kubectl get modelrevisions -n {DEMO} -o yaml   each decision with its evidence
    kubectl logs -n {SYSTEM} -l app.kubernetes.io/component=operator
`make clean` ends it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live view")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="make the report of an earlier run's report.json anew"
    )
    parser.add_argument("--artifacts", action="store_true", help="only make the models and print where they are")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if arguments.report:
        return _finish(report.read(arguments.report), arguments.report.parent, console)
    try:
        if arguments.artifacts:
            made = artifacts.build()
            console.print(str(made.folder), made.facts, soft_wrap=True)
            return 0
        return _play(console, plain=arguments.plain)
    except (ClusterError, SetupError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped; the cluster stays up, `make clean` ends it", file=sys.stderr)
        return 130


def _play(console: Console, *, plain: bool) -> int:
    made = artifacts.build()
    cluster = Cluster.ensure()
    images = cluster.load_images(scene.IMAGES)
    cluster.enter()
    recording = Recording(facts=made.facts)
    with screen.opened(console, plain=plain) as shown:
        _introduce(shown, made)
        stage = scene.Scene(cluster, shown, images, made.digests)
        stage.clear()
        stage.install()
        story.play(stage, Watcher(Api(cluster.kubeconfig), recording, shown))
    right = came_out_right(recording)
    if not right:
        console.print(f"What there is to see of the fault: {stage.diagnose()}", soft_wrap=True)
    _finish(recording, scene.BUILD, console)
    console.print(EPILOGUE, soft_wrap=True)
    return 0 if right else 1


def _introduce(shown: screen.Screen, made: artifacts.Artifacts) -> None:
    facts = made.facts
    shown.say("Headgate's demo: who is employed? Four versions of a model of the American census.")
    for text in (
        f"On the rows to come v1 is right in {100 * facts['accuracy_v1']:.1f} % and v2 in "
        f"{100 * facts['accuracy_v2']:.1f} %; v2 shifts the labels by {100 * facts['label_shift_v2']:.1f} points "
        f"and the scores by up to {100 * facts['score_shift_v2']:.1f}.",
        f"v3 fails on {100 * facts['failing_v3']:.1f} % of them; v4 shifts the labels by "
        f"{100 * facts['label_shift_v4']:.0f} points. Headgate knows none of this.",
        "Not as by default: a soak of 20 s instead of 10 minutes, because nobody wants to watch that; 10 points",
        "instead of 5 by which predictions may move, because v2 has learnt from twenty times as many people; and",
        "a rollout may cost 2 bad answers instead of 20, with a margin of 0.2 % for errors: stable has none at all.",
    ):
        shown.say(f"  {text}")


def _finish(recording: Recording, folder: Path, console: Console) -> int:
    page = report.write(recording, folder)
    report.show(recording, console)
    console.print(f"\nThe whole report: {page}", soft_wrap=True)
    return 0 if came_out_right(recording) else 1


if __name__ == "__main__":
    sys.exit(main())
