"""The artifact server: the folders of `artifacts.py` over HTTP, as a pod. `python -m demo.files FOLDER`

Reading only, no listings: over HTTP an artifact is what its manifest names.
"""

from __future__ import annotations

import argparse
import functools
import signal
import threading
from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Files(SimpleHTTPRequestHandler):
    """Files of one folder."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def list_directory(self, path: object) -> None:
        """No listings."""
        self.send_error(404, "No listing")


def server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Bound, not yet serving."""
    return ThreadingHTTPServer((host, port), functools.partial(Files, directory=str(folder)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("demo.files", description="Serve the files of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    args = parser.parse_args(argv)
    with server(args.folder, args.host, args.port) as serving:
        # shutdown() waits for the loop, which runs in this very thread.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=serving.shutdown).start())
        serving.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
