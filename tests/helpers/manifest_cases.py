"""Manifests that the API server takes, and manifests that it refuses, with what `headgate validate` says of them.

One table for two readers: the unit tests put it before `headgate validate` and before the CRD's schema, an e2e story
before a real API server (server-side dry run, unknown fields refused), and all three have to agree.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal

Manifest = dict[str, Any]

DIGEST = "sha256:" + "0123456789abcdef" * 4

MINIMAL: Manifest = {
    "apiVersion": "headgate.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "fraud"},
    "spec": {"model": {"version": "2026-11-20", "uri": "pvc://models/fraud/2026-11-20"}},
}

_ABSENT = object()


def manifest(*changes: tuple[str, Any]) -> Manifest:
    """`MINIMAL` with values put at dotted paths."""
    found = copy.deepcopy(MINIMAL)
    for path, value in changes:
        *parents, last = path.split(".")
        place = found
        for part in parents:
            place = place.setdefault(part, {})
        if value is _ABSENT:
            place.pop(last)
        else:
            place[last] = value
    return found


@dataclass(frozen=True)
class Bad:
    """A manifest that has to be refused."""

    name: str
    manifest: Manifest
    field: str
    """The field that `headgate validate` names."""
    reason: str
    """A part of the reason that it gives."""
    by: Literal["schema", "rule", "unknown field", "name", "key"] = "schema"
    """What makes the API server refuse it."""


def _bad(name: str, path: str, value: Any, reason: str, by: Any = "schema", field: str | None = None) -> Bad:
    return Bad(name, manifest((path, value)), field or path, reason, by)


def _static(*outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """A chain that is a static answer."""
    return [{"static": {"outputs": list(outputs)}}]


def _values(**of: list[float]) -> list[dict[str, Any]]:
    """An output of each datatype with these values."""
    return [
        {"name": datatype, "datatype": datatype, "shape": [len(values)], "data": values}
        for datatype, values in of.items()
    ]


def _bad_output(name: str, reason: str, by: Any = "rule", where: str = "", **changes: Any) -> Bad:
    output = {"name": "y", "datatype": "INT64", "shape": [-1], "data": [0]} | changes
    field = "spec.traffic.fallback.0.static.outputs.0" + where
    return _bad(name, "spec.traffic.fallback", _static(output), reason, by, field=field)


BAD_QUANTITIES: tuple[Any, ...] = (
    *("1 GB", "-1", "", " ", "1GB", "1gi", "1KI", "1K", "many", "1Mi ", "0x10", "1,5", "1_000", "٣", "1e", "1e1000"),
    *(-1, 0.5, True, [], {}, "9" * 400),
)
"""None of them is an amount of CPU or memory. (Fractions have to be in quotes.)"""

_POD = "spec.runtime.podTemplate"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _nodes(*requirements: dict[str, Any]) -> dict[str, Any]:
    """Affinity to nodes with these labels."""
    return {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": list(requirements)}]}}}


def _bad_resources(name: str, resources: Any, inside: str, reason: str, by: Any = "schema") -> tuple[Bad, ...]:
    places = ("spec.runtime.resources", "spec.traffic.routerResources")
    return tuple(
        _bad(f"{name}, of {place.split('.')[1]}", place, resources, reason, by, field=place + inside)
        for place in places
    )


def _bad_variable(name: str, variable: Any, inside: str, reason: str, by: Any = "schema") -> Bad:
    return _bad(f"a variable {name}", f"{_POD}.env", [variable], reason, by, field=f"{_POD}.env.0{inside}")


def _bad_toleration(name: str, toleration: Any, inside: str, reason: str, by: Any = "schema") -> Bad:
    place = f"{_POD}.tolerations"
    return _bad(f"a toleration {name}", place, [toleration], reason, by, field=f"{place}.0{inside}")


def _bad_affinity(name: str, affinity: Any, inside: str, reason: str, by: Any = "schema") -> Bad:
    return _bad(f"affinity {name}", f"{_POD}.affinity", affinity, reason, by, field=f"{_POD}.affinity.{inside}")


GOOD_PODS: dict[str, dict[str, Any]] = {
    "names that a template left empty": {"serviceAccountName": "", "priorityClassName": ""},
    "variables": {
        "env": [
            {"name": "A", "value": "64"},
            {"name": "a.b-c_D", "value": ""},
            {"name": "EMPTY"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "L", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['a/b']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "C", "value": "", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": True}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s.t", "key": ".k_1"}}},
        ],
        "imagePullSecrets": [{"name": "a"}, {"name": "b.c"}],
    },
    "places": {
        "nodeSelector": {"gpu": "a100", "topology.kubernetes.io/zone": "", "a_b.C": "x_Y.z"},
        "tolerations": [
            {"operator": "Exists"},
            {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 60},
            {"key": "a.b/c", "value": "", "effect": "PreferNoSchedule"},
            {"key": "a", "operator": "Exists", "value": "", "effect": "NoExecute", "tolerationSeconds": -1},
        ],
        "affinity": {
            "nodeAffinity": {
                _REQUIRED: {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]},
                        {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["3"]}]},
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
                    ]
                },
                _PREFERRED: [{"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}],
            },
            "podAffinity": {
                _REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]
            },
            "podAntiAffinity": {
                _PREFERRED: [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "topologyKey": "zone",
                            "namespaces": ["x"],
                            "namespaceSelector": {},
                            "labelSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]},
                        },
                    }
                ],
            },
        },
    },
}
"""Pod templates that the API server takes."""

GOOD_RESOURCES: dict[str, dict[str, Any]] = {
    "none": {"requests": {}, "limits": {}},
    "whole numbers": {"requests": {"cpu": 1, "memory": 1073741824}},
    "fractions": {"requests": {"cpu": "0.5", "memory": "1.5Gi"}, "limits": {"cpu": "500m", "memory": "2e9"}},
    "devices": {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": "1", "amd.com/gpu": "2"}},
    "huge pages": {"requests": {"hugepages-2Mi": "4Mi"}, "limits": {"hugepages-2Mi": "4096Ki"}},
    "nothing": {"requests": {"cpu": 0, "memory": "0"}, "limits": {"ephemeral-storage": "1G"}},
}
"""Resources of a container that the API server takes."""

_SCALED = (("runtime", "autoscaling", "resources"), ("traffic", "routerAutoscaling", "routerResources"))

COUNTERS: Manifest = {"name": "cancelled", "events": "bad_total", "trials": "all_total", "margin": "2%"}
GAUGE: Manifest = {"name": "backlog", "query": "backlog", "max": 10, "for": "2m"}


def _bad_signal(name: str, signal: Manifest, reason: str, inside: str = "", by: Any = "rule") -> Bad:
    return _bad(name, "spec.rollout.signals", [signal], reason, by, f"spec.rollout.signals.0{inside}")


_KINDS = "must have events, trials and a margin; or a query, max or min, and for"

GOOD: dict[str, Manifest] = {
    **{
        f"{part} that scales, with {name}": manifest((f"spec.{part}", {scaling: {"maxReplicas": 4}, resources: each}))
        for part, scaling, resources in _SCALED
        for name, each in {
            "nothing": None,
            "memory": {"requests": {"memory": "1Gi"}},
            "a limit": {"limits": {"cpu": "1m"}},
            "a request": {"requests": {"cpu": "1n"}, "limits": {"cpu": 1}},
        }.items()
    },
    **{f"a pod's {name}": manifest((_POD, template)) for name, template in GOOD_PODS.items()},
    **{
        f"resources: {name}": manifest(("spec.runtime.resources", each), ("spec.traffic.routerResources", each))
        for name, each in GOOD_RESOURCES.items()
    },
    "six lines": MINIMAL,
    "empty sections": manifest(
        *((f"spec.{s}", {}) for s in ("runtime", "traffic", "rollout", "monitoring", "governance"))
    ),
    "sections that are null": manifest(
        *((f"spec.{s}", None) for s in ("runtime", "traffic", "rollout", "monitoring", "governance"))
    ),
    "fields that are null": manifest(
        ("spec.model.digest", None),
        ("spec.runtime", {"replicas": None, "image": None, "autoscaling": None, "podTemplate": {"nodeSelector": None}}),
        ("spec.rollout", {"margins": None, "steps": None, "soak": None}),
    ),
    "a shadow of nothing but defaults": manifest(("spec.rollout.shadow", {})),
    "the largest shadow": manifest(
        (
            "spec.rollout.shadow",
            {
                "fraction": "100%",
                "minPairs": 1_000_000,
                "minAgreement": "99.9%",
                "tolerance": 0,
                "outputs": [{"name": "score", "tolerance": 0.05}, {"name": "label"}],
            },
        )
    ),
    "tokens": manifest(
        (
            "spec.traffic",
            {
                "authentication": {
                    "jwt": {"secret": "issuer", "issuer": "https://issuer.example/", "audiences": ["fraud", "$(HOME)"]}
                },
                "rateLimit": {"requests": 5, "header": "x-headgate-client"},
            },
        ),
    ),
    "every field": manifest(
        ("spec.model.uri", "https://models.example/fraud"),
        ("spec.model.digest", DIGEST),
        ("spec.model.maxSize", "500Mi"),
        (
            "spec.runtime",
            {
                "engine": "onnxruntime",
                "image": "registry.example/serving@" + DIGEST,
                "replicas": 3,
                "autoscaling": {"minReplicas": 2, "maxReplicas": 10, "targetCPUUtilization": 60},
                "resources": {"requests": {"cpu": 1}, "limits": {"nvidia.com/gpu": 1}},
                "podTemplate": {
                    "nodeSelector": {"gpu": "a100"},
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "affinity": {"podAntiAffinity": {}},
                    "priorityClassName": "high",
                    "serviceAccountName": "models",
                    "imagePullSecrets": [{"name": "pull"}],
                    "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
                },
            },
        ),
        (
            "spec.traffic",
            {
                "timeout": "1m30s",
                "retryOnStable": False,
                "match": [
                    {"header": "x-tester"},
                    {"header": "x-tenant", "prefix": "internal-", "role": "stable"},
                    {"cookie": "beta", "exact": "yes", "role": "candidate"},
                ],
                "affinity": {"header": "x-user-id"},
                "maxBody": "10Mi",
                "rateLimit": {"requests": 600, "unit": "Minute", "header": "x-api-key"},
                "tls": {"secret": "fraud.example-tls", "verifyClients": True},
                "authentication": {"apiKeys": {"secret": "fraud-keys", "header": "X-Key"}},
                "clients": [
                    {"podSelector": {"matchLabels": {"app": "shop"}}},
                    {"namespaceSelector": {}, "podSelector": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                ],
                "accessLog": "Errors",
                "fallback": [
                    {"modelDeployment": "fraud-simple"},
                    {
                        "static": {
                            "name": "safe",
                            "outputs": [
                                {"name": "label", "datatype": "INT64", "shape": [-1], "data": [0]},
                                {"name": "scores", "datatype": "FP32", "shape": [-1, 2], "data": [0.5, 0.5]},
                                {"name": "why", "datatype": "BYTES", "shape": [1], "text": ["no model"]},
                            ],
                        }
                    },
                ],
                "fallbackOnLowConfidence": True,
                "routers": 3,
            },
        ),
        (
            "spec.rollout",
            {
                "alpha": 0.05,
                "riskBudget": 100,
                "maxWeight": 12.5,
                "steps": [{"weight": 1, "hold": "30s"}, {"weight": 50.5, "hold": "1h"}],
                "margins": {"errors": "0.25%", "predictions": "10%"},
                "latency": {"threshold": "30s", "margin": "2.5%"},
                "soak": "0s",
                "deadline": "12h",
            },
        ),
        ("spec.monitoring", {"drift": {"tolerance": 0.2}, "sample": "2.5%"}),
        ("spec.governance", {"owner": "risk", "contact": "risk@models.example", "runbook": "https://runbooks.example"}),
    ),
    "a custom engine": manifest(
        (
            "spec.runtime",
            {
                "engine": "custom",
                "image": "registry.example/own:1",
                "command": ["/server"],
                "args": ["--models", "/artifact", "", "a" * 4096],
            },
        )
    ),
    "a custom engine that its image starts": manifest(
        ("spec.runtime", {"engine": "custom", "image": "registry.example/own:1"})
    ),
    "pods that speak TLS": manifest(("spec.runtime", {"tls": {"secret": "pods", "routerSecret": "routers"}})),
    "a custom engine that speaks no TLS": manifest(
        ("spec.runtime", {"engine": "custom", "image": "registry.example/own:1", "tls": None})
    ),
    "nothing to start": manifest(("spec.runtime", {"command": [], "args": None})),
    "a monitor that gets everything": manifest(("spec.monitoring.sample", "100%")),
    "the longest name": manifest(("metadata.name", "a" + "b" * 39)),
    "a name of one letter": manifest(("metadata.name", "a")),
    "plain http with a digest": manifest(
        ("spec.model.uri", "http://models.example/m.onnx"), ("spec.model.digest", DIGEST)
    ),
    "a claim with dots in its name": manifest(("spec.model.uri", "pvc://my.claim/fraud/1")),
    "all of a claim": manifest(("spec.model.uri", "pvc://my-claim")),
    "the longest name of a claim": manifest(("spec.model.uri", "pvc://" + "a" * 253 + "/fraud")),
    "brackets in a path": manifest(("spec.model.uri", "s3://models/[fraud]/a b/ü")),
    "an IPv6 address": manifest(("spec.model.uri", "https://[fd00::1]:8443/m.onnx")),
    "a user and a query": manifest(("spec.model.uri", "https://me:secret@models.example/m.onnx?x=[1]#y")),
    "the shortest and the longest time": manifest(
        ("spec.traffic.timeout", "1h"),
        ("spec.rollout.latency", {"threshold": "1ms"}),
        ("spec.rollout.soak", "0s"),
        ("spec.rollout.deadline", "8760h"),
        ("spec.rollout.steps", [{"weight": 5, "hold": "1ms"}, {"weight": 6, "hold": "8760h"}]),
    ),
    "a timeout of a millisecond": manifest(("spec.traffic.timeout", "1ms")),
    "a file": manifest(("spec.model.uri", "file:///models/m.onnx")),
    "a folder in a bucket": manifest(("spec.model.uri", "s3://models/fraud/2026-11-20")),
    "an artifact in a registry": manifest(("spec.model.uri", "oci://registry.example/models/fraud:2026-11-20")),
    "a folder of a hub's repository": manifest(("spec.model.uri", "hf://owner/fraud@v1/onnx")),
    "a version in MLflow's registry": manifest(("spec.model.uri", "models:/fraud/3")),
    "a logged model of MLflow's": manifest(("spec.model.uri", "models:/m-0123abc/onnx")),
    "dots that lead nowhere": manifest(("spec.model.uri", "s3://models/fraud..v1/a..b/..c")),
    "a folder of an MLflow run": manifest(("spec.model.uri", "runs:/0123456789abcdef/model")),
    "the widest margin": manifest(("spec.rollout.margins.errors", "50%")),
    "the narrowest margin": manifest(("spec.rollout.margins.errors", "0.0001%")),
    "the largest alpha": manifest(("spec.rollout.alpha", 0.2)),
    "fractions of seconds": manifest(("spec.traffic.timeout", "0.5s")),
    "milliseconds": manifest(("spec.traffic.timeout", "200ms")),
    "all the traffic": manifest(("spec.rollout.maxWeight", 100)),
    "a threshold of slow answers below half of the time": manifest(
        ("spec.rollout.latency", {"threshold": "99ms"}), ("spec.traffic.timeout", "0.2s")
    ),
    "a later threshold where nobody is rescued": manifest(
        ("spec.rollout.latency", {"threshold": "1m20s"}), ("spec.traffic", {"timeout": "1.5m", "retryOnStable": False})
    ),
    "a threshold below 3/8 of the time before a fallback": manifest(
        ("spec.rollout.latency", {"threshold": "74ms"}),
        ("spec.traffic", {"timeout": "0.2s", "fallback": [{"modelDeployment": "fraud-simple"}]}),
    ),
    "another model alone": manifest(("spec.traffic.fallback", [{"modelDeployment": "fraud-simple"}])),
    "no fallback": manifest(("spec.traffic", {"fallback": [], "fallbackOnLowConfidence": False})),
    "the largest values": manifest(
        (
            "spec.traffic.fallback",
            _static(
                *_values(UINT8=[0, 255], INT8=[-128, 127], BOOL=[0, 1], INT64=[-(2**53), 2**53]),
                *_values(FP16=[-65504, 65504], BF16=[-3.38e38, 1e-40], FP32=[-3.4e38, 0.5], FP64=[1.7e308, -2.5]),
                *_values(UINT16=[0, 65535], INT16=[-32768, 0], UINT32=[0, 2**32 - 1], INT32=[-(2**31), 1]),
            ),
        )
    ),
    "a static answer of four dimensions": manifest(
        (
            "spec.traffic.fallback",
            _static({"name": "y", "datatype": "FP32", "shape": [-1, 2, 1, 5], "data": [0.5] * 10}),
        )
    ),
    "no signals of one's own": manifest(("spec.rollout.signals", [])),
    "signals of both kinds": manifest(
        (
            "spec.rollout.signals",
            [
                COUNTERS | {"events": "b" * 1000},
                COUNTERS | {"name": "a", "required": False},
                GAUGE,
                GAUGE | {"name": "b" * 40, "max": None, "min": -1.5, "for": "1h30m"},
            ],
        )
    ),
    "the most signals": manifest(("spec.rollout.signals", [COUNTERS | {"name": f"s-{n}"} for n in range(8)])),
    "slow answers without a threshold": manifest(("spec.rollout.latency", {"margin": "1%"})),
    "a threshold that is null": manifest(("spec.rollout.latency", None)),
    "affinity by a cookie": manifest(("spec.traffic.affinity", {"cookie": "session", "header": None})),
    "as few pods as many": manifest(("spec.runtime.autoscaling", {"minReplicas": 3, "maxReplicas": 3})),
}

BAD: tuple[Bad, ...] = (
    *(
        bad
        for which, name in (("requests", "cpu"), ("limits", "memory"))
        for amount in BAD_QUANTITIES
        for bad in _bad_resources(f"{which} of {amount!r:.12}", {which: {name: amount}}, f".{which}.{name}", "quantity")
    ),
    *_bad_resources("claims", {"claims": [{"name": "x"}]}, ".claims", "unknown field", "unknown field"),
    *_bad_resources("a misspelt limit", {"limit": {"cpu": 1}}, ".limit", "unknown field", "unknown field"),
    *_bad_resources("requests that are a number", {"requests": 4}, ".requests", "valid dictionary"),
    *_bad_resources("requests that are a list", {"requests": ["cpu"]}, ".requests", "valid dictionary"),
    *(
        bad
        for name in ("cpus", "gpu", "storage", "Memory", "hugepages-x", "requests.cpu", "kubernetes.io/gpu", "a b/c")
        for bad in _bad_resources(f"a resource {name}", {"limits": {name: 1}}, ".limits", "that containers", "rule")
    ),
    *_bad_resources("half a GPU", {"limits": {"nvidia.com/gpu": "500m"}}, ".limits", "whole numbers", "rule"),
    *_bad_resources(
        "requests above limits",
        {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}},
        "",
        "must not have requests above limits",
        "rule",
    ),
    *_bad_resources("a GPU without a limit", {"requests": {"nvidia.com/gpu": 1}}, "", "must have limits equal", "rule"),
    *_bad_resources(
        "other huge pages than the limit",
        {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "4Mi"}},
        "",
        "must have limits equal",
        "rule",
    ),
    *(
        _bad(
            f"{part} that scales by {which} of no CPU ({amount!r})",
            f"spec.{part}",
            {scaling: {"maxReplicas": 4}, resources: {which: {"cpu": amount, "memory": "1Gi"}}},
            "needs a CPU request above 0",
            "rule",
        )
        for part, scaling, resources in _SCALED
        for which in ("requests", "limits")
        for amount in (0, "0", "0m", "0.0")
    ),
    *(
        _bad_variable(f"of {value!r}", {"name": "A", "value": value}, ".value", "put it in quotes")
        for value in (64, True, 1.5)
    ),
    *(
        _bad_variable(f"of {value!r}", {"name": "A", "value": value}, ".value", "valid string")
        for value in (list[object](), dict[str, object]())
    ),
    _bad_variable("without a name", {"value": "64"}, ".name", "required"),
    _bad_variable("with a number for a name", {"name": 1}, ".name", "put it in quotes"),
    _bad_variable("with a name of two words", {"name": "A B"}, ".name", "match pattern"),
    _bad_variable("with a name that begins with a digit", {"name": "1A"}, ".name", "match pattern"),
    _bad_variable("with a misspelt value", {"name": "A", "valeu": "1"}, ".valeu", "unknown field", "unknown field"),
    _bad_variable("that Headgate sets", {"name": "HEADGATE_MODEL", "value": "x"}, "", "itself", "rule"),
    _bad_variable("from nowhere", {"name": "A", "valueFrom": {}}, ".valueFrom", "must have one of", "rule"),
    _bad_variable(
        "from two places",
        {
            "name": "A",
            "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "fieldRef": {"fieldPath": "spec.nodeName"}},
        },
        ".valueFrom",
        "must have one of",
        "rule",
    ),
    _bad_variable(
        "with a value from two places",
        {"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        "",
        "and not both",
        "rule",
    ),
    _bad_variable(
        "from a Secret without a key",
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}},
        ".valueFrom.secretKeyRef.key",
        "required",
    ),
    _bad_variable(
        "from a Secret, perhaps",
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": "yes"}}},
        ".valueFrom.secretKeyRef.optional",
        "valid boolean",
    ),
    _bad_variable(
        "from a field that there is not",
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodename"}}},
        ".valueFrom.fieldRef.fieldPath",
        "match pattern",
    ),
    _bad_variable(
        "from a resource in no unit",
        {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1 m"}}},
        ".valueFrom.resourceFieldRef.divisor",
        "quantity",
    ),
    _bad(
        "the same variable twice",
        f"{_POD}.env",
        [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "must have different names",
        "key",
    ),
    _bad(
        "the same pull secret twice",
        f"{_POD}.imagePullSecrets",
        [{"name": "a"}, {"name": "a"}],
        "must have different names",
        "key",
    ),
    _bad("a pull secret as text", f"{_POD}.imagePullSecrets", ["a"], "valid d", field=f"{_POD}.imagePullSecrets.0"),
    _bad(
        "a pull secret in capitals",
        f"{_POD}.imagePullSecrets",
        [{"name": "A"}],
        "match pattern",
        field=f"{_POD}.imagePullSecrets.0.name",
    ),
    _bad("a node's label with a space", f"{_POD}.nodeSelector", {"a": "b c"}, "match", field=f"{_POD}.nodeSelector.a"),
    _bad("a node's label of no name", f"{_POD}.nodeSelector", {"a b": "c"}, "labels can have", "rule"),
    _bad_toleration(
        "of a minute as text", {"operator": "Exists", "tolerationSeconds": "60"}, ".tolerationSeconds", "integer"
    ),
    _bad_toleration("of a number", {"key": "a", "value": 1}, ".value", "put it in quotes"),
    _bad_toleration("in lower case", {"key": "a", "operator": "exists"}, ".operator", "should be 'Exists'"),
    _bad_toleration("of no effect", {"key": "a", "effect": "NoRun"}, ".effect", "should be 'NoSchedule'"),
    _bad_toleration("of a misspelt key", {"kye": "a", "operator": "Exists"}, ".kye", "unknown field", "unknown field"),
    _bad_toleration("of a key that can't be one", {"key": "a b"}, ".key", "match pattern"),
    _bad_toleration("of nothing", {}, "", "must have a key", "rule"),
    _bad_toleration("of any value and one", {"key": "a", "operator": "Exists", "value": "b"}, "", "no value", "rule"),
    _bad_toleration(
        "that evicts later, but not",
        {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 60},
        "",
        "the effect NoExecute",
        "rule",
    ),
    _bad_affinity("to nothing that there is", {"hostAffinity": {}}, "hostAffinity", "unknown field", "unknown field"),
    _bad_affinity("that is a list", {"nodeAffinity": []}, "nodeAffinity", "valid dictionary"),
    _bad_affinity(
        "to no nodes",
        {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": []}}},
        f"nodeAffinity.{_REQUIRED}.nodeSelectorTerms",
        "at least 1 item",
    ),
    *(
        _bad_affinity(
            f"that {requirement['operator']} does not fit",
            _nodes(requirement),
            f"nodeAffinity.{_REQUIRED}.nodeSelectorTerms.0.matchExpressions.0",
            "must have values with In",
            "rule",
        )
        for requirement in (
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "NotIn", "values": []},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Gt", "values": ["x"]},
        )
    ),
    _bad_affinity(
        "to a number",
        _nodes({"key": "a", "operator": "In", "values": [3]}),
        f"nodeAffinity.{_REQUIRED}.nodeSelectorTerms.0.matchExpressions.0.values.0",
        "put it in quotes",
    ),
    _bad_affinity(
        "to pods anywhere",
        {"podAffinity": {_REQUIRED: [{"labelSelector": {}}]}},
        f"podAffinity.{_REQUIRED}.0.topologyKey",
        "required",
    ),
    _bad_affinity(
        "of no weight",
        {"podAntiAffinity": {_PREFERRED: [{"weight": 0, "podAffinityTerm": {"topologyKey": "zone"}}]}},
        f"podAntiAffinity.{_PREFERRED}.0.weight",
        "greater than or equal to 1",
    ),
    _bad_affinity(
        "to pods with a number for a label",
        {"podAffinity": {_REQUIRED: [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": 1}}}]}},
        f"podAffinity.{_REQUIRED}.0.labelSelector.matchLabels.a",
        "put it in quotes",
    ),
    _bad("no spec", "spec", _ABSENT, "is required"),
    _bad("no model", "spec", {}, "Field required", field="spec.model"),
    _bad("no version", "spec.model.version", _ABSENT, "Field required"),
    _bad("no uri", "spec.model.uri", _ABSENT, "Field required"),
    _bad("a model that is null", "spec.model", None, "Field required"),
    _bad("a scheme that nobody fetches", "spec.model.uri", "ftp://models/fraud", "must be a URI with one", "rule"),
    _bad("an empty uri", "spec.model.uri", "", "at least 1 character"),
    _bad("a path instead of a uri", "spec.model.uri", "/models/fraud", "must be a URI with one", "rule"),
    _bad("a uri without a place", "spec.model.uri", "pvc://", "must be a URI with one", "rule"),
    _bad("a model of MLflow's without a name", "spec.model.uri", "models:/", "must be a URI with one", "rule"),
    *(
        _bad(
            f"a claim that can't be one: {claim}",
            "spec.model.uri",
            f"pvc://{claim}/fraud",
            "must be pvc://CLAIM",
            "rule",
        )
        for claim in ("[x", "My", "a..b", "-a", "a_b", "a:1", "a?b", "ü", "a" * 254)
    ),
    *(
        _bad(f"a place that can't be one: {uri}", "spec.model.uri", uri, "that can be one", "rule")
        for uri in (
            "https://[x/m.onnx",
            "https://[::1]x/m.onnx",
            "s3://[/m",
            "oci://]/m:1",
            "models://[x/1",
            "hf://a b/c",
        )
    ),
    *(
        _bad(f"a way up: {uri}", "spec.model.uri", uri, "must not have ..", "rule")
        for uri in ("s3://models/fraud/../1", "file:///models/..", "pvc://claim/../other", "gs://../models")
    ),
    *(
        _bad(f"what may be another version tomorrow: {uri}", "spec.model.uri", uri, "another version tomorrow", "rule")
        for uri in ("models:/fraud@champion", "models:/fraud/Production", "models:/fraud/latest", "models:/fraud")
    ),
    _bad("a uri of two lines", "spec.model.uri", "s3://models/fraud\n/1", "that can be one", "rule"),
    _bad("a uri with a bell", "spec.model.uri", "s3://models/fraud\a", "that can be one", "rule"),
    _bad("a service account that can't be one", "spec.runtime.podTemplate.serviceAccountName", "Me!", "match pattern"),
    _bad("a priority class that can't be one", "spec.runtime.podTemplate.priorityClassName", "Me!", "match pattern"),
    _bad("a uri without end", "spec.model.uri", "file://" + "a" * 2048, "at most 2048 characters"),
    _bad(
        "plain http without a digest",
        "spec.model.uri",
        "http://models.example/m.onnx",
        "a plain http:// uri needs a digest",
        "rule",
        field="spec.model",
    ),
    _bad("a short digest", "spec.model.digest", "sha256:abc", "64 hexadecimal digits"),
    _bad("a digest in capitals", "spec.model.digest", DIGEST.upper(), "64 hexadecimal digits"),
    _bad("a version with a space", "spec.model.version", "v 1", "a letter or digit at both ends"),
    _bad("a version that ends with a dash", "spec.model.version", "v1-", "a letter or digit at both ends"),
    _bad("a version that is too long", "spec.model.version", "v" * 64, "at most 63 characters"),
    _bad("a version that is a number", "spec.model.version", 1.0, "put it in quotes"),
    _bad("an empty version", "spec.model.version", "", "at least 1 character"),
    _bad("a name that is too long", "metadata.name", "a" * 41, "at most 40 characters", "name"),
    _bad("a name that starts with a digit", "metadata.name", "1fraud", "starts with a letter", "name"),
    _bad("a name that ends with a dash", "metadata.name", "fraud-", "DNS label", "name"),
    _bad("a name with a dot", "metadata.name", "fraud.v1", "DNS label", "name"),
    _bad("a misspelt section", "spec.rolout", {}, "unknown field", "unknown field"),
    _bad("a misspelt field", "spec.rollout.riskbudget", 20, "unknown field", "unknown field"),
    _bad("a field of another engine", "spec.runtime.batching", {"maxSize": 4}, "unknown field", "unknown field"),
    _bad("a field beside the spec", "sepc", {}, "unknown field", "unknown field"),
    _bad("an engine that there is not", "spec.runtime.engine", "tensorflow", "should be 'onnxruntime'"),
    _bad(
        "a custom engine without an image",
        "spec.runtime",
        {"engine": "custom"},
        "a custom engine needs an image",
        "rule",
    ),
    _bad(
        "a custom engine that is to speak TLS",
        "spec.runtime",
        {"engine": "custom", "image": "registry.example/own:1", "tls": {"secret": "pods", "routerSecret": "routers"}},
        "spoken by Headgate's own engine alone",
        "rule",
    ),
    _bad(
        "TLS without the routers' certificate",
        "spec.runtime.tls",
        {"secret": "pods"},
        "Field required",
        field="spec.runtime.tls.routerSecret",
    ),
    _bad(
        "a command for Headgate's own server",
        "spec.runtime",
        {"image": "registry.example/own:1", "command": ["/server"]},
        "set engine to custom",
        "rule",
    ),
    _bad(
        "arguments for Headgate's own server",
        "spec.runtime",
        {"engine": "onnxruntime", "args": ["--threads", "4"]},
        "command and args are a custom engine's",
        "rule",
    ),
    _bad("arguments in one line", "spec.runtime.args", "--threads 4", "should be a valid list"),
    _bad("too many arguments", "spec.runtime.args", ["a"] * 51, "at most 50 items"),
    _bad(
        "an argument without end",
        "spec.runtime.args",
        ["a" * 4097],
        "at most 4096 characters",
        field="spec.runtime.args.0",
    ),
    _bad(
        "an argument that is a number",
        "spec.runtime.command",
        ["/server", 4],
        "put it in quotes",
        field="spec.runtime.command.1",
    ),
    _bad("a monitor that gets nothing", "spec.monitoring.sample", "0%", "must be above 0%", "rule"),
    _bad("a monitor that gets more than all", "spec.monitoring.sample", "100.1%", "at most 100%", "rule"),
    _bad("a sample without a sign", "spec.monitoring.sample", "10", "must be a percentage"),
    _bad("fewer than no pods", "spec.runtime.replicas", -1, "greater than or equal to 1"),
    _bad("no pods", "spec.runtime.replicas", 0, "greater than or equal to 1"),
    _bad("too many pods", "spec.runtime.replicas", 1001, "less than or equal to 1000"),
    _bad("pods as text", "spec.runtime.replicas", "2", "should be a valid integer"),
    _bad("half a pod", "spec.runtime.replicas", 1.5, "should be a valid integer"),
    _bad("an empty image", "spec.runtime.image", "", "at least 1 character"),
    _bad(
        "an autoscaler without a limit",
        "spec.runtime.autoscaling",
        {},
        "Field required",
        field="spec.runtime.autoscaling.maxReplicas",
    ),
    _bad(
        "fewest pods above most pods",
        "spec.runtime.autoscaling",
        {"minReplicas": 4, "maxReplicas": 2},
        "minReplicas must not be above maxReplicas",
        "rule",
    ),
    _bad("resources as a list", "spec.runtime.resources", [], "should be a valid dictionary"),
    _bad(
        "a node's label that is no text",
        "spec.runtime.podTemplate.nodeSelector",
        {"gpu": True},
        "put it in quotes",
        field="spec.runtime.podTemplate.nodeSelector.gpu",
    ),
    _bad(
        "tolerations that are no list",
        "spec.runtime.podTemplate.tolerations",
        {"key": "gpu"},
        "should be a valid list",
    ),
    _bad("a timeout without a unit", "spec.traffic.timeout", "5", "must be a duration"),
    _bad("a timeout in days", "spec.traffic.timeout", "1d", "must be a duration"),
    _bad("a timeout of nothing", "spec.traffic.timeout", "0s", "from 1ms to 1h", "rule"),
    _bad("a timeout of half a millisecond", "spec.traffic.timeout", "0.5ms", "from 1ms to 1h", "rule"),
    _bad("a timeout of a million years", "spec.traffic.timeout", "9999999999h", "from 1ms to 1h", "rule"),
    _bad("a timeout of more than an hour", "spec.traffic.timeout", "1h0.0001ms", "from 1ms to 1h", "rule"),
    _bad("a timeout that is a number", "spec.traffic.timeout", 5, "put it in quotes"),
    _bad("yes as text", "spec.traffic.retryOnStable", "yes", "should be a valid boolean"),
    _bad("too many routers", "spec.traffic.routers", 101, "less than or equal to 100"),
    _bad("an alpha of nothing", "spec.rollout.alpha", 0, "greater than 0"),
    _bad("an alpha of one half", "spec.rollout.alpha", 0.5, "less than or equal to 0.2"),
    _bad("a budget of nothing", "spec.rollout.riskBudget", 0, "greater than or equal to 1"),
    _bad("more than all the traffic", "spec.rollout.maxWeight", 101, "less than or equal to 100"),
    _bad("a margin of nothing", "spec.rollout.margins.errors", "0%", "must be above 0%", "rule"),
    _bad("a margin beyond sense", "spec.rollout.margins.predictions", "51%", "at most 50%", "rule"),
    _bad("a margin without a sign", "spec.rollout.margins.errors", "0.5", "must be a percentage"),
    _bad("a margin as a number", "spec.rollout.margins.errors", 0.005, "put it in quotes"),
    _bad(
        "a step of more than all the traffic",
        "spec.rollout.steps",
        [{"weight": 101}],
        "less than or equal to 100",
        field="spec.rollout.steps.0.weight",
    ),
    _bad(
        "a step without weight",
        "spec.rollout.steps",
        [{"weight": 5}, {"weight": 0}],
        "greater than 0",
        field="spec.rollout.steps.1.weight",
    ),
    _bad(
        "a step that is not held",
        "spec.rollout.steps",
        [{"weight": 5, "hold": "0m"}],
        "from 1ms to 8760h",
        "rule",
        field="spec.rollout.steps.0.hold",
    ),
    _bad(
        "a step with an unknown field",
        "spec.rollout.steps",
        [{"weight": 5, "pause": "1m"}],
        "unknown field",
        "unknown field",
        field="spec.rollout.steps.0.pause",
    ),
    _bad("a ladder without end", "spec.rollout.steps", [{"weight": 5}] * 51, "at most 50 items"),
    _bad(
        "a threshold of slow answers at half of the time",
        "spec.rollout.latency",
        {"threshold": "500ms"},
        "must be below half of traffic.timeout",
        "rule",
        field="spec",
    ),
    Bad(
        "a threshold beyond the time",
        manifest(
            ("spec.rollout.latency", {"threshold": "2s"}), ("spec.traffic", {"timeout": "2s", "retryOnStable": False})
        ),
        "spec",
        "below all of it without traffic.retryOnStable",
        "rule",
    ),
    _bad(
        "a threshold of nothing",
        "spec.rollout.latency",
        {"threshold": "0ms"},
        "from 1ms to 1h",
        "rule",
        field="spec.rollout.latency.threshold",
    ),
    _bad("a soak of a negative time", "spec.rollout.soak", "-1s", "must be a duration"),
    _bad("a deadline of nothing", "spec.rollout.deadline", "0.0h", "from 1ms to 8760h", "rule"),
    _bad("a deadline of more than a year", "spec.rollout.deadline", "8760h1ms", "from 1ms to 8760h", "rule"),
    _bad("a soak of a million years", "spec.rollout.soak", "9999999999h", "from 0s to 8760h", "rule"),
    _bad(
        "a step for a million years",
        "spec.rollout.steps",
        [{"weight": 5, "hold": "9999999999h"}],
        "from 1ms to 8760h",
        "rule",
        field="spec.rollout.steps.0.hold",
    ),
    Bad(
        "a threshold of less than a millisecond",
        manifest(("spec.rollout.latency", {"threshold": "0.9ms"})),
        "spec.rollout.latency.threshold",
        "from 1ms to 1h",
        "rule",
    ),
    _bad(
        "a tolerance of everything",
        "spec.monitoring.drift.tolerance",
        1,
        "less than 1",
    ),
    _bad("an owner that is too long", "spec.governance.owner", "x" * 254, "at most 253 characters"),
    _bad("a spec that is a list", "spec", [], "should be a valid dictionary"),
    _bad(
        "a match of nothing",
        "spec.traffic.match",
        [{"exact": "yes"}],
        "must name a header or a cookie",
        "rule",
        field="spec.traffic.match.0",
    ),
    _bad(
        "a match of two things",
        "spec.traffic.match",
        [{"header": "x-tester", "cookie": "tester"}],
        "must name a header or a cookie",
        "rule",
        field="spec.traffic.match.0",
    ),
    _bad(
        "a match of two values",
        "spec.traffic.match",
        [{"header": "x-tester", "exact": "yes", "prefix": "y"}],
        "must have an exact value or a prefix",
        "rule",
        field="spec.traffic.match.0",
    ),
    _bad(
        "a match of a pseudo-header",
        "spec.traffic.match",
        [{"header": ":path", "prefix": "/"}],
        "should match pattern",
        field="spec.traffic.match.0.header",
    ),
    _bad(
        "a cookie's value with a semicolon",
        "spec.traffic.match",
        [{"cookie": "a", "exact": "b;c"}],
        "should match pattern",
        field="spec.traffic.match.0.exact",
    ),
    _bad(
        "a match with a role that there is not",
        "spec.traffic.match",
        [{"header": "x-tester", "role": "shadow"}],
        "should be 'candidate' or 'stable'",
        field="spec.traffic.match.0.role",
    ),
    _bad("too many matches", "spec.traffic.match", [{"header": "a"}] * 21, "at most 20 items"),
    _bad(
        "a client that is nobody",
        "spec.traffic.clients",
        [{}],
        "must have a podSelector",
        "rule",
        field="spec.traffic.clients.0",
    ),
    _bad(
        "pods at an address",
        "spec.traffic.clients",
        [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}],
        "must have a podSelector",
        "rule",
        field="spec.traffic.clients.0",
    ),
    _bad(
        "an address without a range",
        "spec.traffic.clients",
        [{"ipBlock": {"cidr": "10.0.0.1"}}],
        "should match",
        field="spec.traffic.clients.0.ipBlock.cidr",
    ),
    _bad("affinity by nothing", "spec.traffic.affinity", {}, "must name a header or a cookie", "rule"),
    _bad("an artifact of a size without a unit", "spec.model.maxSize", "20GB", "must be a size"),
    _bad("no artifact at all", "spec.model.maxSize", "0", "must be a size"),
    _bad("a body without a unit", "spec.traffic.maxBody", "10MB", "must be a size"),
    _bad("TLS without a Secret", "spec.traffic.tls", {}, "required", field="spec.traffic.tls.secret"),
    _bad("no name of a Secret", "spec.traffic.tls.secret", "Fraud_TLS", "should match pattern"),
    _bad("clients that show nothing", "spec.traffic.authentication", {}, "must have apiKeys or jwt", "rule"),
    _bad(
        "keys and tokens",
        "spec.traffic.authentication",
        {"apiKeys": {"secret": "keys"}, "jwt": {"secret": "issuer", "issuer": "i", "audiences": ["a"]}},
        "must have apiKeys or jwt, and not both",
        "rule",
    ),
    _bad(
        "tokens for anybody",
        "spec.traffic.authentication",
        {"jwt": {"secret": "issuer", "issuer": "i", "audiences": []}},
        "at least 1 item",
        field="spec.traffic.authentication.jwt.audiences",
    ),
    _bad(
        "a limit by the key that is taken away",
        "spec.traffic",
        {"authentication": {"apiKeys": {"secret": "keys"}}, "rateLimit": {"requests": 5, "header": "X-API-Key"}},
        "use x-headgate-client",
        "rule",
    ),
    _bad(
        "a limit by names that nobody has",
        "spec.traffic.rateLimit",
        {"requests": 5, "header": "x-headgate-client"},
        "needs authentication",
        "rule",
        field="spec.traffic",
    ),
    _bad(
        "a match by the router's own header",
        "spec.traffic.match",
        [{"header": "X-Headgate-Client"}],
        "router's own",
        "rule",
        field="spec.traffic.match.0",
    ),
    _bad(
        "affinity by the router's own header",
        "spec.traffic.affinity",
        {"header": "x-headgate-client"},
        "router's own",
        "rule",
    ),
    _bad(
        "keys in the router's own header",
        "spec.traffic.authentication.apiKeys",
        {"secret": "keys", "header": "x-headgate-key"},
        "router's own",
        "rule",
    ),
    _bad(
        "a limit by the token that is taken away",
        "spec.traffic",
        {
            "authentication": {"jwt": {"secret": "issuer", "issuer": "i", "audiences": ["a"]}},
            "rateLimit": {"requests": 5, "header": "Authorization"},
        },
        "use x-headgate-client",
        "rule",
    ),
    _bad("a log of nothing", "spec.traffic.accessLog", "None", "should be 'All' or 'Errors'"),
    _bad("no body at all", "spec.traffic.maxBody", "0", "must be a size"),
    _bad(
        "a limit of nothing",
        "spec.traffic.rateLimit",
        {"requests": 0},
        "greater than or equal to 1",
        field="spec.traffic.rateLimit.requests",
    ),
    _bad(
        "a limit by the fortnight",
        "spec.traffic.rateLimit",
        {"requests": 1, "unit": "Fortnight"},
        "should be 'Second', 'Minute' or 'Hour'",
        field="spec.traffic.rateLimit.unit",
    ),
    *(
        _bad_signal(f"a signal of one's own: {name}", signal, _KINDS)
        for name, signal in {
            "nothing but a name": {"name": "x"},
            "no trials": COUNTERS | {"trials": None},
            "no margin": COUNTERS | {"margin": None},
            "counters for a time": COUNTERS | {"for": "1m"},
            "counters with a bound": COUNTERS | {"max": 1},
            "counters and a gauge": COUNTERS | GAUGE,
            "no bound": GAUGE | {"max": None},
            "two bounds": GAUGE | {"min": 1},
            "no time": GAUGE | {"for": None},
            "a gauge with a margin": GAUGE | {"margin": "1%"},
        }.items()
    ),
    *(
        _bad_signal(f"a signal named {name!r}", COUNTERS | {"name": name}, reason, ".name", "schema")
        for name, reason in {
            "": "at least 1 character",
            "x" * 41: "at most 40 characters",
            "Cancelled": "match pattern",
            "a_safe": "match pattern",
            "-a": "match pattern",
            "a-": "match pattern",
            "1a": "match pattern",
        }.items()
    ),
    *(
        _bad(
            f"a signal that is called {name}",
            "spec.rollout.signals",
            [COUNTERS | {"name": name}],
            "must have other names than Headgate's own signals",
            "rule",
        )
        for name in ("errors", "latency", "shadow", "predictions", "combined")
    ),
    _bad(
        "two signals of one name",
        "spec.rollout.signals",
        [COUNTERS, GAUGE | {"name": "cancelled"}],
        "different",
        "rule",
    ),
    _bad(
        "too many signals",
        "spec.rollout.signals",
        [COUNTERS | {"name": f"s{n}"} for n in range(9)],
        "at most 8 items",
    ),
    _bad_signal("a query that is too long", GAUGE | {"query": "q" * 1001}, "at most 1000", ".query", "schema"),
    _bad_signal("an empty query", COUNTERS | {"events": ""}, "at least 1", ".events", "schema"),
    _bad_signal("a bound that is text", GAUGE | {"max": "10"}, "valid number", ".max", "schema"),
    _bad_signal("no margin to speak of", COUNTERS | {"margin": "0%"}, "must be above 0%", ".margin"),
    _bad_signal("a time that is none", GAUGE | {"for": "soon"}, "a duration", ".for", "schema"),
    _bad_signal("a field by its name in Python", GAUGE | {"for_": "1m"}, "unknown field", ".for_", "unknown field"),
    _bad(
        "a shadow of nothing",
        "spec.rollout.shadow",
        {"fraction": "0%"},
        "must be above 0%",
        "rule",
        field="spec.rollout.shadow.fraction",
    ),
    _bad(
        "a shadow twice over",
        "spec.rollout.shadow",
        {"fraction": "200%"},
        "at most 100%",
        "rule",
        field="spec.rollout.shadow.fraction",
    ),
    _bad(
        "a shadow that always agrees",
        "spec.rollout.shadow",
        {"minAgreement": "100%"},
        "at most 99.9%",
        "rule",
        field="spec.rollout.shadow.minAgreement",
    ),
    _bad(
        "a shadow that may mostly differ",
        "spec.rollout.shadow",
        {"minAgreement": "50%"},
        "must be above 50%",
        "rule",
        field="spec.rollout.shadow.minAgreement",
    ),
    _bad(
        "a shadow without pairs",
        "spec.rollout.shadow",
        {"minPairs": 0},
        "greater than or equal to 1",
        field="spec.rollout.shadow.minPairs",
    ),
    _bad(
        "a negative tolerance",
        "spec.rollout.shadow",
        {"tolerance": -0.1},
        "greater than or equal to 0",
        field="spec.rollout.shadow.tolerance",
    ),
    _bad(
        "an output without a name",
        "spec.rollout.shadow",
        {"outputs": [{"tolerance": 1}]},
        "required",
        field="spec.rollout.shadow.outputs.0.name",
    ),
    _bad("a fallback of nothing", "spec.traffic.fallback", [{}], "not both", "rule", field="spec.traffic.fallback.0"),
    _bad(
        "a fallback of two kinds",
        "spec.traffic.fallback",
        [{"modelDeployment": "a", **_static(*_values(INT8=[1]))[0]}],
        "not both",
        "rule",
        field="spec.traffic.fallback.0",
    ),
    _bad(
        "a model that stands in for itself",
        "spec.traffic.fallback",
        [{"modelDeployment": "fraud"}],
        "none can stand in for itself",
        "rule",
    ),
    _bad(
        "a fallback that is no name",
        "spec.traffic.fallback",
        [{"modelDeployment": "Fraud.v1"}],
        "should match pattern",
        field="spec.traffic.fallback.0.modelDeployment",
    ),
    _bad(
        "a chain of five", "spec.traffic.fallback", [{"modelDeployment": f"m{n}"} for n in range(5)], "at most 4 items"
    ),
    _bad(
        "a model after a static answer",
        "spec.traffic.fallback",
        [*_static(*_values(INT8=[1])), {"modelDeployment": "simple"}],
        "must be the last fallback",
        "rule",
        field="spec.traffic",
    ),
    _bad(
        "two static answers",
        "spec.traffic.fallback",
        _static(*_values(INT8=[1])) * 2,
        "must be the last fallback",
        "rule",
        field="spec.traffic",
    ),
    _bad(
        "unsure answers without a fallback",
        "spec.traffic.fallbackOnLowConfidence",
        True,
        "ends with a static answer",
        "rule",
        field="spec.traffic",
    ),
    _bad(
        "unsure answers for another model alone",
        "spec.traffic",
        {"fallback": [{"modelDeployment": "simple"}], "fallbackOnLowConfidence": True},
        "ends with a static answer",
        "rule",
        field="spec.traffic",
    ),
    _bad(
        "a static answer of nothing",
        "spec.traffic.fallback",
        _static(),
        "at least 1 item",
        field="spec.traffic.fallback.0.static.outputs",
    ),
    _bad(
        "two outputs of one name",
        "spec.traffic.fallback",
        _static(*_values(INT8=[1]) * 2),
        "must have different names",
        "rule",
        field="spec.traffic.fallback.0.static.outputs",
    ),
    _bad_output("an unknown datatype", "should be 'BOOL'", "schema", ".datatype", datatype="INT9"),
    _bad_output("a shape of nothing", "at least 1 item", "schema", ".shape", shape=[]),
    _bad_output("a dimension of nothing", "must have sizes from 1", "rule", ".shape", shape=[-1, 0], data=[]),
    _bad_output("rows that come last", "-1 only as the first", "rule", ".shape", shape=[1, -1]),
    _bad_output("two kinds of rows", "-1 only as the first", "rule", ".shape", shape=[-1, -1]),
    _bad_output("a negative dimension", "greater than or equal to -1", "schema", ".shape.0", shape=[-2]),
    _bad_output("too many values", "must have as many values", shape=[2], data=[1, 2, 3]),
    _bad_output("no values", "must have as many values", data=[]),
    _bad_output("numbers that are text", "must have as many values", data=[], text=["0"]),
    _bad_output("text that is numbers", "must have as many values", datatype="BYTES"),
    _bad_output("text beside numbers", "must have as many values", text=["0"]),
    _bad_output("a fraction of a whole number", "a value that the datatype can't hold", data=[0.5]),
    _bad_output("a number that is too large", "a value that the datatype can't hold", datatype="UINT8", data=[256]),
    _bad_output("a number that is too small", "a value that the datatype can't hold", datatype="UINT8", data=[-1]),
    _bad_output("a half that is too large", "a value that the datatype can't hold", datatype="FP16", data=[65505]),
    _bad_output("a truth that is 2", "a value that the datatype can't hold", datatype="BOOL", data=[2]),
    _bad_output("a number that is true", "should be a valid number", "schema", ".data.0", data=[True]),
    _bad(
        "a threshold beyond 3/8 of the time before a fallback",
        "spec",
        {
            "model": MINIMAL["spec"]["model"],
            "traffic": {"timeout": "200ms", "fallback": [{"modelDeployment": "simple"}]},
            "rollout": {"latency": {"threshold": "75ms"}},
        },
        "3/8 with a fallback",
        "rule",
    ),
)
