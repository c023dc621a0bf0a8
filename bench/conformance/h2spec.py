"""`python -m bench.conformance.h2spec`: how well the gRPC port keeps to HTTP/2, and grpcio's own server beside it.

h2spec sends what HTTP/2 and HPACK forbid or require, a case at a time on a connection of its own, and looks at the
answer. Its cases are those of RFC 7540; what RFC 9113 has changed since is among the reasons of `STAYS`. With `--write`
the table goes into docs/conformance.md. Exit status 1 if a case of ours has another outcome than `STAYS` says.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from bench.document import put, table
from bench.serving.cases import CASES, write_model
from bench.serving.process import Running, free_ports
from bench.serving.servers import OURS, Place
from tools.setup import tools

from .__main__ import DOCUMENT

COMMAND = "python -m bench.conformance.h2spec --write"
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_QUICK, _PATIENT = 2, 20  # seconds that h2spec waits for an answer: its own default, and for what is not as expected
_WITHIN = 600.0  # seconds for all cases

_REFUSED = (
    "h2spec's request is no gRPC call, so the answer (415, and a reset) is sent before the request has ended; what "
    "comes on a stream after our reset has to be ignored (RFC 9113, 5.1). The unit tests see it refused in a gRPC call"
)
_WITHDRAWN = "RFC 9113 (5.3) has withdrawn priorities, and with them this rule; what they say is ignored"
STAYS = {
    "http2/4.2: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE": (
        "the frame of 20 KB is no larger than our SETTINGS_MAX_FRAME_SIZE, 256 KiB; h2spec takes it for 16 KiB"
    ),
    "http2/5.3.1: Sends HEADERS frame that depend on itself": _WITHDRAWN,
    "http2/5.3.1: Sends PRIORITY frame that depend on itself": _WITHDRAWN,
    "http2/6.9.1: Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream": (
        _REFUSED
    ),
    "http2/8.1: Sends a second HEADERS frame without the END_STREAM flag": _REFUSED,
    "http2/8.1.2.1: Sends a HEADERS frame that contains a pseudo-header field as trailers": _REFUSED,
    'http2/8.1.2.6: Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame '
    "payload length": _REFUSED,
    'http2/8.1.2.6: Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the '
    "multiple DATA frames payload length": _REFUSED,
}
"""Cases that fail, by the section of h2spec and its name of the case: why that stays so."""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="bench.conformance.h2spec", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/conformance.md")
    arguments = parser.parse_args()
    ours, grpcio = _of_ours(), _of_grpcio()
    text = told(ours, grpcio)
    print(text)
    if arguments.write:
        put(text, COMMAND, DOCUMENT)
    return 1 if wrong(ours) else 0


def outcomes(port: int) -> dict[str, str]:
    """What came of each case against the server at that port of 127.0.0.1, by its name.

    What is not as `STAYS` says is tried again with more patience, in case that the machine was busy.
    """
    found = _run(port, _QUICK)
    if again := sorted({name.partition(":")[0] for name in wrong(found)}):
        found |= _run(port, _PATIENT, again)
    return found


def wrong(found: dict[str, str]) -> list[str]:
    """Cases of ours that fail or are skipped and should not be, and those that pass though `STAYS` has them."""
    return sorted({name for name, outcome in found.items() if outcome != PASSED} ^ set(STAYS))


def _run(port: int, seconds: int, sections: Sequence[str] = ()) -> dict[str, str]:
    program = tools.ensure("h2spec") / "h2spec"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        argv = [str(program), "--host=127.0.0.1", f"--port={port}", f"--timeout={seconds}", f"--junit-report={report}"]
        # Its status is 1 where a case has failed: the report tells which.
        done = subprocess.run([*argv, *sections], check=False, capture_output=True, text=True, timeout=_WITHIN)
        if not report.exists():
            raise RuntimeError(f"h2spec has written no report against port {port}: {done.stdout}{done.stderr}")
        cases = [(suite.get("package"), case) for suite in ET.parse(report).getroot() for case in suite]
    found = {f"{section}: {case.get('classname')}": _outcome(case) for section, case in cases}
    if len(found) < len(cases):
        raise RuntimeError("two cases of h2spec have the same name; tell them apart before they are counted")
    return found


def _outcome(case: ET.Element) -> str:
    if case.find("skipped") is not None:
        return SKIPPED
    return FAILED if len(case) else PASSED


def told(ours: dict[str, str], grpcio: dict[str, str]) -> str:
    """As Markdown: both servers' counts, and what stays."""
    kinds = (PASSED, SKIPPED, FAILED)
    servers = (("ours", ours), (f"grpcio {grpc.__version__}", grpcio))
    counts = [[name, *(str(list(found.values()).count(kind)) for kind in kinds)] for name, found in servers]
    failing = {name: reason for name, reason in STAYS.items() if ours.get(name) != PASSED}
    stays = [
        (reason, "; ".join(name for name, its in failing.items() if its == reason))
        for reason in dict.fromkeys(failing.values())
    ]
    return f"{table(('server', *kinds), counts)}\n\n{table(('why it stays', 'fails with ours'), stays)}"


def _of_ours() -> dict[str, str]:
    (case,) = (case for case in CASES if case.name == "tabular")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(case, folder / "model")
        http_port, grpc_port, metrics_port = free_ports(3)
        place = Place(folder, model, case, http_port, grpc_port, metrics_port)
        with Running(OURS.name, OURS.command(place), folder, http_port, OURS.ready_path) as process:
            process.wait_ready()
            return outcomes(grpc_port)


def _of_grpcio() -> dict[str, str]:
    server = grpc.server(ThreadPoolExecutor(len(os.sched_getaffinity(0))))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        return _run(port, _QUICK)
    finally:
        server.stop(None)


if __name__ == "__main__":
    sys.exit(main())
