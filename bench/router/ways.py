"""The ways from a client to two versions of a model, 90 % to one and 10 % to the other, each as a process on loopback.

The pods are one nginx that answers at once, so that the router is what is measured. All routers keep their connections
and have two threads. Headgate's, nginx and HAProxy write a line for each request, and give a request to the other
version when one has failed it, which none ever does here; an Envoy that does nothing but split shows what is Envoy's.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from bench.serving.process import free_ports
from bench.serving.servers import Command
from headgate.api.policy import Policy
from headgate_serving.router.envoy.admin import Admin
from headgate_serving.router.envoy.config import Layout, bootstrap_document
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.envoy.step import Memory, step
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.router.policy.protection import UNPROTECTED
from headgate_serving.router.policy.traffic import Intent, Target
from loopback import discovering
from tools.setup import envoy, packages
from tools.setup.errors import Missing

STABLE, CANDIDATE = "fraud-1a2b3c4d", "fraud-9e8d7c6b"
SHARE = 10
"""Percent of the candidate."""
THREADS = 2
TIMEOUT_MS = 1000

ANSWER = '{"model_name": "fraud", "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}]}'

_HTTP = "type.googleapis.com/envoy.extensions.filters."

_NGINX = """
worker_processes {workers};
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
{head}
  access_log {log};
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {folder}/bodies;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{servers}
}}
"""

_LOG = """
  log_format json escape=json '{"time":"$time_iso8601","path":"$uri","status":$status,"upstream":"$upstream_addr"}';
"""

_ROUTER = """
  split_clients "$request_id" $version {{ {share}% candidate; * stable; }}
  upstream stable {{ server 127.0.0.1:{stable}; keepalive 128; }}
  upstream candidate {{ server 127.0.0.1:{candidate}; server 127.0.0.1:{stable} backup; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{
      proxy_pass http://$version;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream error timeout http_500 http_502 http_503 non_idempotent;
    }}
  }}
"""

_HAPROXY = """
global
  nbthread {threads}
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 1h
  timeout server 1s
  timeout http-keep-alive 1h
  option redispatch
  retry-on conn-failure empty-response response-timeout 500 502 503
frontend model
  bind 127.0.0.1:{port}
  maxconn 4096
  use_backend candidate if {{ rand(100) lt {share} }}
  default_backend stable
backend stable
  http-reuse always
  server pod 127.0.0.1:{stable}
backend candidate
  http-reuse always
  server pod 127.0.0.1:{candidate}
  server rescue 127.0.0.1:{stable} backup
"""


@dataclass(frozen=True)
class Pods:
    """The ports of the two versions."""

    stable: int
    candidate: int


@dataclass(frozen=True)
class Way:
    """One way: how it is started, and what has to be there while it runs."""

    name: str
    label: str
    command: Callable[[Path, Pods, int], Command]
    ready_path: str
    beside: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext()


def pods_command(folder: Path, pods: Pods) -> Command:
    """The nginx that stands for the pods of both versions."""
    answer = f"location / {{ default_type application/json; return 200 '{ANSWER}'; }}"
    servers = "\n".join(
        f"  server {{ listen 127.0.0.1:{port} reuseport; {answer} }}" for port in (pods.stable, pods.candidate)
    )
    return _nginx(folder, servers, "off")


def _nginx(folder: Path, servers: str, log: str, head: str = "") -> Command:
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(workers=THREADS, folder=folder, servers=servers, log=log, head=head))
    return Command([_program("nginx"), "-c", str(config), "-e", str(folder / "error.log")])


def _nginx_router(folder: Path, pods: Pods, port: int) -> Command:
    servers = _ROUTER.format(share=SHARE, stable=pods.stable, candidate=pods.candidate, port=port)
    return _nginx(folder, servers, f"{folder}/access.log json", _LOG)


def _haproxy(folder: Path, pods: Pods, port: int) -> Command:
    config = folder / "haproxy.cfg"
    ports = {"stable": pods.stable, "candidate": pods.candidate, "port": port}
    config.write_text(_HAPROXY.format(threads=THREADS, folder=folder, share=SHARE, **ports))
    return Command([_program("haproxy"), "-db", "-f", str(config)])


def _headgate(folder: Path, pods: Pods, port: int) -> Command:
    """Envoy with what the agent writes for it; `_agent` hands it over."""
    layout = Layout(PurePosixPath(folder), "127.0.0.1", port, free_ports(1)[0])
    xds = XdsFolder(layout)
    xds.prepare()
    targets = (Target(STABLE, "stable", 1000 - 10 * SHARE), Target(CANDIDATE, "candidate", 10 * SHARE))
    intent = Intent(targets, Policy(TIMEOUT_MS))
    xds.start_with(bootstrap_document("bench", "fraud", layout, intent, UNPROTECTED))
    xds.put(layout.clusters, discovery_response()[0])
    documents, _ = step(Memory({}, {}), intent, endpoints_of(pods), 0.0)
    asyncio.run(xds.apply(documents, Admin(Path(layout.admin_socket))))
    return envoy_command(layout)


def _plain_envoy(folder: Path, pods: Pods, port: int) -> Command:
    """Envoy with the split and nothing else: no log, no second try, no counters of ours."""
    hosts = {"stable": pods.stable, "candidate": pods.candidate}
    weights = [{"name": "stable", "weight": 100 - SHARE}, {"name": "candidate", "weight": SHARE}]
    routes = [
        {"match": {"path": "/healthz"}, "direct_response": {"status": 200}},
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weights}}},
    ]
    manager = {
        "@type": _HTTP + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "http_filters": [{"name": "router", "typed_config": {"@type": _HTTP + "http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "model", "domains": ["*"], "routes": routes}]},
    }
    listener = {
        "name": "model",
        "address": _at(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _at(at)}}]}],
            },
        }
        for name, at in hosts.items()
    ]
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    return _envoy(config)


def _at(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def envoy_command(layout: Layout) -> Command:
    """Envoy as in a router's pod."""
    return _envoy(layout.bootstrap)


def _envoy(config: PurePath) -> Command:
    options = ["--disable-hot-restart", "--concurrency", str(THREADS), "--log-level", "warn"]
    return Command([str(envoy.ensure()), "-c", str(config), *options])


def endpoints_of(pods: Pods) -> dict[str, tuple[Endpoint, ...]]:
    """Where the two versions are."""
    addresses = {STABLE: pods.stable, CANDIDATE: pods.candidate}
    return {name: (Endpoint("127.0.0.1", at, f"{name}-pod"),) for name, at in addresses.items()}


@contextmanager
def _agent(folder: Path) -> Iterator[None]:
    """The agent's discovery of what `_headgate` wrote."""
    xds = XdsFolder(Layout(PurePosixPath(folder)))
    xds.prepare()
    with discovering(xds):
        yield


def _program(name: str) -> str:
    found = packages.which(name)
    if found is None:
        raise Missing(f"{name} is not installed. `python3 -m tools.setup bench` installs it or says how.")
    return str(found)


HEADGATE = Way("headgate", "Headgate's router", _headgate, "/healthz", _agent)
NGINX = Way("nginx", "nginx", _nginx_router, "/")
PLAIN_ENVOY = Way("envoy", "Envoy alone", _plain_envoy, "/healthz")
HAPROXY = Way("haproxy", "HAProxy", _haproxy, "/")
WAYS = (HEADGATE, PLAIN_ENVOY, NGINX, HAPROXY)
