"""A real `headgate-serve` process on loopback ports, for the tests that talk to it as clients do."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from patience import PATIENCE
from ports import free_ports

LABELS = {"HEADGATE_NAMESPACE": "ns", "HEADGATE_MODEL": "fraud", "HEADGATE_REVISION": "fraud-1a2b3c4d"}


class Served:
    """Starts the process and waits until it says that it is ready (or something else), or has ended.

    `before` is Python that the process runs first, for what can't be had from outside.
    """

    def __init__(self, model: Path, *options: str, log: Path, before: str = "pass", until: str = "ready: ") -> None:
        http_port, grpc_port, metrics_port = free_ports(3)
        self.address = f"127.0.0.1:{http_port}"
        self.grpc_address = f"127.0.0.1:{grpc_port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.termination_log = log
        start = "import sys\nfrom headgate_serving.server import main\nsys.exit(main())"
        command = [
            *(sys.executable, "-c", f"{before}\n{start}"),
            *("--model", str(model), "--name", "fraud", "--version", "7", "--host", "127.0.0.1"),
            *("--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)),
            *options,
        ]
        self.home = log.parent / "home"
        own = {"HOME": str(self.home), "TMPDIR": str(self.home), "XDG_CACHE_HOME": str(self.home)}
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
        environ |= {**own, **LABELS, "HEADGATE_TERMINATION_LOG": str(log), "HEADGATE_DRAIN_DELAY": "0"}
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._ended = False
        self._spoke = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for(until)
        self.client = httpx.Client(base_url=f"http://{self.address}")

    def wait_for(self, text: str) -> None:
        """Return when the process has logged `text` or ended."""
        with self._spoke:
            said = self._spoke.wait_for(
                lambda: self._ended or any(text in line for line in self.lines), timeout=PATIENCE
            )
        assert said, self.lines

    @property
    def child(self) -> int:
        """The serving process, as long as there is one."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    @property
    def last_words(self) -> dict[str, str]:
        words: dict[str, str] = json.loads(self.termination_log.read_text())
        return words

    def metrics(self) -> dict[str, float]:
        text = httpx.get(self.metrics_url).text
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] != "#"
        }

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=PATIENCE)
        finally:
            self._reader.join()
            if self.process.stderr:
                self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._spoke:
                self.lines.append(line.rstrip())
                self._spoke.notify_all()
        with self._spoke:
            self._ended = True
            self._spoke.notify_all()
