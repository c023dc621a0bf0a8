"""The programs of a cluster: their command lines and the configuration files that they read.

`instance.py` writes `configuration` before it starts `components`. Both depend on nothing but their arguments, so
that a running cluster can be compared with what would be started now.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.setup import packages, tools
from tools.setup.errors import Missing

from . import audit
from .layout import (
    API_PORT,
    DNS_IP,
    ETCD_URL,
    NODE,
    NODE_IP,
    POD_RANGE,
    SERVICE_RANGE,
    Layout,
)

# Answers live shortly, since tests change them often.
COREFILE = """.:53 {{
    bind {address}
    errors
    ready {address}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
    cache 5
}}
"""


AUDIT_POLICY = "audit.yaml"


@dataclass(frozen=True)
class Component:
    """One process of the cluster."""

    name: str
    argv: tuple[str, ...]

    @property
    def needs_api(self) -> bool:
        """Whether it is started only once the API server answers."""
        return self.name not in {"etcd", "containerd", "kube-apiserver"}


def components(layout: Layout) -> list[Component]:
    """All processes of a cluster, in the order in which they are started."""
    kube = str(tools.ensure("kube") / "kube")
    pki, config, state = layout.certificates, layout.config, layout.state
    return [
        Component("etcd", (kube, "etcd", *_etcd(state))),
        Component("containerd", (_program("containerd"), "--config", str(config / "containerd.toml"))),
        Component("kube-apiserver", (kube, "kube-apiserver", *_apiserver(layout))),
        Component("kube-controller-manager", (kube, "kube-controller-manager", *_controller_manager(pki))),
        Component(
            "kube-scheduler",
            (kube, "kube-scheduler", f"--kubeconfig={pki / 'scheduler.kubeconfig'}", "--leader-elect=false"),
        ),
        Component(
            "kubelet",
            (
                kube,
                "kubelet",
                f"--config={config / 'kubelet.yaml'}",
                f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
                f"--root-dir={state / 'kubelet'}",
                f"--hostname-override={NODE}",
                f"--node-ip={NODE_IP}",
            ),
        ),
        Component("kube-proxy", (kube, "kube-proxy", f"--config={config / 'kube-proxy.yaml'}")),
        Component("coredns", (str(tools.ensure("coredns") / "coredns"), "-conf", str(config / "Corefile"))),
    ]


def _program(name: str) -> str:
    if (path := packages.which(name)) is None:
        raise Missing(f"{name} is not installed. `make setup` installs it or says how.")
    return str(path)


def _etcd(state: Path) -> list[str]:
    return [
        f"--data-dir={state / 'etcd'}",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:0",
        # Nothing here must survive a power cut, and every write would wait for the disk.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(layout: Layout) -> list[str]:
    pki = layout.certificates
    return [
        f"--etcd-servers={ETCD_URL}",
        f"--bind-address={NODE_IP}",
        f"--advertise-address={NODE_IP}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        # The node's name resolves nowhere.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-account.key'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
        *audit.arguments(layout.config / AUDIT_POLICY, layout.audit_log),
    ]


def _controller_manager(pki: Path) -> list[str]:
    kubeconfig = pki / "controller-manager.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        # It makes an account for every controller first, and at 20 requests a second nothing starts for seconds.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--leader-elect=false",
    ]


def configuration(layout: Layout, pause_image: str) -> dict[Path, str]:
    """What the components read: path -> content."""
    config = layout.config
    corefile = COREFILE.format(address=NODE_IP, kubeconfig=layout.certificates / "coredns.kubeconfig")
    return {
        config / "containerd.toml": _containerd(layout, pause_image),
        config / "kubelet.yaml": yaml.safe_dump(_kubelet(layout)),
        config / "kube-proxy.yaml": yaml.safe_dump(_kube_proxy(layout)),
        config / "Corefile": corefile,
        config / AUDIT_POLICY: yaml.safe_dump(audit.POLICY),
        config / "resolv.conf": f"nameserver {DNS_IP}\n",
        config / "cni" / "10-headgate.conflist": json.dumps(_cni(layout), indent=2),
    }


def _containerd(layout: Layout, pause_image: str) -> str:
    state = layout.state
    cni = packages.cni_folder()
    if cni is None:
        raise Missing("The CNI plugins are not installed. `make setup` installs them or says how.")
    return f"""version = 2
root = "{state}/containerd"
state = "{state}/run"

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Lowering it is not allowed everywhere, and runc fails without a word about it.
  restrict_oom_score_adj = true
  # All mounts below one folder, so that `down` finds them after a crash.
  netns_mounts_under_state_dir = true
  disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{state}/runc"
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "{layout.config}/cni"
"""


def _cni(layout: Layout) -> dict[str, object]:
    # ptp and not bridge: answers to a Service's address must pass the node, or nobody translates them back.
    return {
        "cniVersion": "0.4.0",
        "name": layout.namespace,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.state / "addresses"),
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
        ],
    }


def _kubelet(layout: Layout) -> dict[str, object]:
    pki = layout.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-serving.key"),
        "address": NODE_IP,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "podLogsDir": str(layout.pod_logs),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "resolvConf": str(layout.config / "resolv.conf"),
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "maxPods": 110,
        # A test's pods start together, and the default of 5 requests a second makes them queue.
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        # The images can't be pulled again: keep them however full the disk is.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
    }


def _kube_proxy(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.certificates / "kube-proxy.kubeconfig")},
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE,
        "bindAddress": NODE_IP,
        # These settings belong to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
