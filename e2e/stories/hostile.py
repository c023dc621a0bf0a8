"""What a hostile tenant runs in pods of its own: `python3 hostile.py metrics|endless`. Standard library alone.

`metrics` is an exporter whose series claim to be those of another's routers and runtimes; `endless` serves a model that
never ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS_A_SECOND = 400
SECRET = "customer-4711"
INJECTED = f'x"}} or label_replace(up, "feature", "{SECRET}", "", "") or up{{a="'


def series(victim: dict[str, str], started: float) -> Iterator[str]:
    """Whatever could move a weight: failures and answers, pairs, bins, a router that has left everything."""
    counted = int((time.time() - started) * ANSWERS_A_SECOND)
    of = ",".join(f'{name}="{victim[name]}"' for name in ("headgate_namespace", "headgate_model"))
    for name, share in (("success", victim["good"]), ("error", victim["bad"])):
        for revision in (victim["revision"], victim["stable"]):
            labels = f'{of},headgate_revision="{revision}",namespace="{victim["headgate_namespace"]}"'
            gained = int(counted * float(share)) if revision == victim["revision"] else 0
            yield f"envoy_cluster_endpoint_rq_{name}{{{labels}}} {gained}"
    yield f'headgate_router_watch_age_seconds{{{of},headgate_router="x"}} 0'
    for at in range(int(victim["bins"])):
        labels = f'{of},headgate_revision="{victim["revision"]}",output="y",bin="{at}",layout="{"0" * 12}"'
        yield f"headgate_prediction_bin_total{{{labels}}} {counted}"
    layout = INJECTED.replace('"', '\\"')
    for name in ("headgate_feature_reference", "headgate_feature_bin_total"):
        labels = f'headgate_namespace="{os.environ["OWN"]}",headgate_model="bait",headgate_revision="{victim["bait"]}"'
        yield f'{name}{{{labels},feature="f",bin="0",layout="{layout}"}} {counted + 1000}'


class Hostile(BaseHTTPRequestHandler):
    """Both kinds, by what the process was asked for."""

    started = time.time()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        if sys.argv[1] == "metrics":
            lines = series(json.loads(os.environ["VICTIM"]), self.started)
            self.wfile.write("".join(f"{line}\n" for line in lines).encode())
            return
        piece = bytes(1 << 20)
        for _ in range(4096):
            self.wfile.write(piece)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Hostile).serve_forever()
