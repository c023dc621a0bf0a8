"""`python -m tools.cluster COMMAND`: the embedded cluster from a shell. See `python -m tools.cluster --help`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tools.setup.errors import SetupError

from . import ending, left, records
from .errors import ClusterError
from .layout import Layout, default_name

if TYPE_CHECKING:
    from .access import Cluster


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster", description="A Kubernetes of one node for tests and the demo."
    )
    parser.add_argument("--name", default=default_name(), help="the cluster (CLUSTER_NAME; by default the checkout's)")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start it, or keep it if it is up")
    start.add_argument("--gpus", type=int, help="let the node offer this many nvidia.com/gpu")
    commands.add_parser("down", help="end it and remove all that it left")
    commands.add_parser("clean", help="end all clusters of this checkout's path")
    commands.add_parser("others", help="say which clusters nobody ends; end none")
    commands.add_parser("status", help="show its processes; exit status 1 if it is not up")
    commands.add_parser("kubeconfig", help="print the path of its kubeconfig")
    commands.add_parser("shell", help="a shell inside its network, with kubectl and helm")
    load = commands.add_parser("load", help="build images and bring them onto the node")
    load.add_argument("images", nargs="*", help="names from the image table; all by default")
    run = commands.add_parser("run", help="run a program inside its network")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return _command(arguments)
    except (ClusterError, SetupError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _command(arguments: argparse.Namespace) -> int:
    without_packages = WITHOUT_PACKAGES.get(arguments.command)
    if without_packages is not None:
        return without_packages(Layout(arguments.name))
    from .access import Cluster

    cluster = Cluster.ensure(arguments.name)
    match arguments.command:
        case "up":
            if arguments.gpus is not None:
                cluster.set_gpus(arguments.gpus)
        case "load":
            for name, reference in cluster.load_images(arguments.images).items():
                print(f"{name}\t{reference}")
        case "shell":
            return _foreground(cluster, [os.environ.get("SHELL", "sh")])
        case "run":
            return _foreground(cluster, arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv)
    return 0


def _down(layout: Layout) -> int:
    ending.down(layout)
    return 0


def _clean(_: Layout) -> int:
    for name in left.clean():
        print(f"cluster {name} of this checkout is ended", file=sys.stderr)
    return 0


def _others(_: Layout) -> int:
    for line in left.worth_saying():
        print(line, file=sys.stderr)
    return 0


def _kubeconfig(layout: Layout) -> int:
    print(layout.kubeconfig)
    return 0


def _foreground(cluster: Cluster, argv: list[str]) -> int:
    inside = cluster.layout.enter(*argv) if cluster.layout else argv
    return subprocess.run(inside, check=False, env={**os.environ, **cluster.path_env()}).returncode


def _status(layout: Layout) -> int:
    record = records.read(layout)
    if record is None or not record.processes:
        print(f"cluster {layout.name} is not up")
        return 1
    for process in record.processes:
        print(f"{process.name:24} pid {process.pid:<8} {'running' if process.alive else 'ENDED'}")
    print(f"kubeconfig: {layout.kubeconfig}\nlogs:       {layout.logs}")
    return 0 if all(process.alive for process in record.processes) else 1


WITHOUT_PACKAGES: dict[str, Callable[[Layout], int]] = {
    "down": _down,
    "clean": _clean,
    "others": _others,
    "status": _status,
    "kubeconfig": _kubeconfig,
}
"""What has to work where nothing is installed."""


if __name__ == "__main__":
    sys.exit(main())
