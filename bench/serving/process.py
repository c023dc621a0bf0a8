"""A server as a process: started in a session of its own, ready or not, what it costs, and its end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from . import proc
from .servers import Command

READY_WITHIN, END_WITHIN = 60.0, 15.0


class ServerFailed(Exception):
    """A server that did not start, or answered wrongly; the message says which and how."""


class Running:
    """A started server. Ends with everything that it started when the `with` block does."""

    def __init__(self, name: str, command: Command, folder: Path, http_port: int, ready_path: str) -> None:
        self.address = f"127.0.0.1:{http_port}"
        self._name = name
        self._log = folder / "output.log"
        self._ready_url = f"http://{self.address}{ready_path}"
        kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        env = {**kept, "ORT_DISABLE_TELEMETRY": "1", "HOME": str(folder), **command.env}
        env = {key: value for key, value in env.items() if key != "PYTHONPATH" or key in command.env}
        with self._log.open("w") as log:
            self._began = time.perf_counter()
            self._process = subprocess.Popen(
                command.argv,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> float:
        """Seconds from exec to the first answer that says ready."""
        with httpx.Client(trust_env=False, timeout=2) as client:
            while time.perf_counter() - self._began < READY_WITHIN:
                if self._process.poll() is not None:
                    raise ServerFailed(f"{self._name} ended with {self._process.returncode}: {self.last_words()}")
                with contextlib.suppress(httpx.TransportError):
                    if client.get(self._ready_url).status_code == 200:
                        return time.perf_counter() - self._began
                time.sleep(0.005)
        raise ServerFailed(f"{self._name} was not ready within {READY_WITHIN:g} s: {self.last_words()}")

    def cpu_seconds(self) -> float:
        """Of the whole tree, until now."""
        return proc.cpu_seconds(self.pid)

    def memory(self) -> proc.Memory:
        """Of the whole tree, now."""
        return proc.memory(self.pid)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None if it still runs after that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End it and everything that it started."""
        started = proc.tree(self.pid, proc.running())
        if self._process.poll() is None:
            self.terminate()
            self.wait(END_WITHIN)
        # What is left of its session is ours to end; so is what left its session but was seen below it.
        left = {stat.pid for stat in proc.running() if stat.session == self.pid} | {
            now.pid for now in proc.running() for then in started if (now.pid, now.started) == (then.pid, then.started)
        }
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of its output."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


def end_cleanly() -> None:
    """Let SIGTERM end this program as Ctrl-C does, through the `with` blocks that end the servers."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at right now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
