"""One embedded cluster: brought up and looked at. `access.py` is what its users see, `ending.py` takes it down.

`up` keeps a cluster that is healthy and was started from the same inputs. Anything else under the name, such as
what a run that was killed left behind, is taken down first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools import images
from tools.setup import cache, progress, tools

from . import certificates, cgroups, components, containerd, ending, kernel, network, processes, records
from .errors import ComponentFailed
from .layout import DNS_IP, NODE, NODE_IP, Layout
from .processes import Process

DNS = Path(__file__).resolve().parent / "dns.yaml"
READY_TIMEOUT = 120.0
POLL = 0.05


def up(layout: Layout) -> None:
    """Bring the cluster up, or keep it."""
    ending.need_root()
    with cache.lock(f"cluster-{layout.name}"):
        inputs = _inputs(layout)
        record = records.read(layout)
        if record is not None and record.inputs == inputs and _healthy(layout):
            return
        ending.end(layout)
        _start(layout, inputs)


def status(layout: Layout) -> list[Process]:
    """The processes of the cluster as recorded; empty if there is none."""
    record = records.read(layout)
    return list(record.processes) if record is not None else []


@contextlib.contextmanager
def without(layout: Layout, name: str) -> Iterator[None]:
    """One of its processes is ended as by a crash, and started again at the end of the block.

    Returns when the API server answers again, where it is that one.
    """
    before = status(layout)
    (crashed,) = (process for process in before if process.name == name)
    (component,) = (each for each in components.components(layout) if each.name == name)
    os.kill(crashed.pid, signal.SIGKILL)
    try:
        yield
    finally:
        _ended(crashed)
        after = [processes.start(layout, component) if process is crashed else process for process in before]
        records.update(layout, after)
        _wait(layout, after, name, lambda: _api_ready(layout))


def _ended(process: Process) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while process.alive and time.monotonic() < deadline:
        time.sleep(POLL)


def kubectl(layout: Layout, *arguments: str) -> list[str]:
    """The command line of kubectl for this cluster."""
    kube = tools.ensure("kube") / "kube"
    return layout.enter(kube, "kubectl", f"--kubeconfig={layout.kubeconfig}", *arguments)


def _inputs(layout: Layout) -> str:
    """Hash of everything that a running cluster was made from."""
    pause = images.build("pause")
    commands = [part for component in components.components(layout) for part in component.argv]
    contents = components.configuration(layout, pause.reference).values()
    return cache.digest(DNS.read_text(), *commands, *contents)


def _healthy(layout: Layout) -> bool:
    """Whether every process runs and the API server answers; a busy one is given time, not taken down."""
    recorded = status(layout)
    deadline = time.monotonic() + READY_TIMEOUT
    while recorded and all(process.alive for process in recorded):
        if _api_ready(layout):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return False


def _api_ready(layout: Layout) -> bool:
    argv = kubectl(layout, "get", "--raw=/readyz", "--request-timeout=5s")
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def _start(layout: Layout, inputs: str) -> None:
    begin = time.monotonic()
    progress.say(f"cluster {layout.name}: starting (logs in {layout.logs})")
    pause = images.build("pause")
    layout.state.mkdir(parents=True)
    records.write(layout, records.new(inputs))
    certificates.issue(layout)
    for path, content in components.configuration(layout, pause.reference).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    cgroups.create(layout.cgroup)
    network.create(layout)
    started: list[Process] = []
    everything = components.components(layout)
    # The API server waits for etcd by itself, and containerd for nobody.
    started += [processes.start(layout, each) for each in everything if not each.needs_api]
    records.update(layout, started)
    _wait(layout, started, "kube-apiserver", lambda: _api_ready(layout))
    _import(layout, started, pause)
    kernel.save(layout)
    started += [processes.start(layout, each) for each in everything if each.needs_api]
    records.update(layout, started)
    _apply_dns(layout, started)
    _wait(layout, started, "kubelet", lambda: _node_ready(layout))
    _wait(layout, started, "kube-controller-manager", lambda: _default_account(layout))
    kernel.restore(layout)
    progress.say(f"cluster {layout.name}: ready after {time.monotonic() - begin:.1f} s")


def _wait(layout: Layout, started: list[Process], name: str, ready: Callable[[], bool]) -> None:
    """Wait until `ready` says so; say which component ended or did not get there, and the end of its log."""
    deadline = time.monotonic() + READY_TIMEOUT
    while not ready():
        for process in started:
            if not process.alive:
                log = processes.log_of(layout, process.name)
                raise ComponentFailed(f"{process.name} ended. {progress.tail(log)}")
        if time.monotonic() > deadline:
            log = processes.log_of(layout, name)
            raise ComponentFailed(f"{name} was not ready after {READY_TIMEOUT:.0f} s. {progress.tail(log)}")
        time.sleep(POLL)


def _import(layout: Layout, started: list[Process], image: images.Built) -> None:
    _wait(layout, started, "containerd", layout.containerd_socket.exists)
    containerd.load(layout, image)


def _apply_dns(layout: Layout, started: list[Process]) -> None:
    manifest = DNS.read_text().replace("DNS_IP", DNS_IP).replace("NODE_IP", NODE_IP)
    argv = kubectl(layout, "apply", "--server-side", "--filename=-")

    def applied() -> bool:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, input=manifest)
        return done.returncode == 0

    _wait(layout, started, "kube-apiserver", applied)


def _node_ready(layout: Layout) -> bool:
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    argv = kubectl(layout, "get", "node", NODE, f"--output=jsonpath={ready}")
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout == "True"


def _default_account(layout: Layout) -> bool:
    # Pods are refused until their namespace has its account.
    argv = kubectl(layout, "get", "serviceaccount", "default", "--namespace=default")
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0
