"""A real Prometheus that scrapes nothing: what it makes of a query."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from patience import PATIENCE
from ports import free_port
from tools.setup import tools


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Its address, while it runs."""
    configuration = folder / "prometheus.yml"
    configuration.write_text("scrape_configs: []\n")
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            tools.ensure("prometheus") / "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def parsed(client: httpx.Client, url: str, query: str) -> Any:
    """The syntax tree of a query. Raises AssertionError where it is none."""
    answer = client.post(f"{url}/api/v1/parse_query", data={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    return answer["data"]


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _is_ready(url):
        assert time.monotonic() < deadline, f"Prometheus was not ready within {PATIENCE} s"
        time.sleep(0.01)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False
