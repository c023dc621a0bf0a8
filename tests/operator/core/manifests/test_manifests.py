"""The children: admitted by the restricted level, named and labelled as in the contract, untouched by roles."""

import copy
import hashlib
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio.config.incluster_config import SERVICE_CERT_FILENAME, SERVICE_TOKEN_FILENAME

from headgate.core.dataplane.envoy.router import router_manifests
from headgate.core.revision_pods import runtime_children, runtime_manifests
from headgate.edges.kube import PLURALS
from headgate_serving.router.envoy.config import Layout
from headgate_serving.runtime.settings import read_settings
from manifests_of import arguments, children, container, pod, runtime, serving
from pod_security import violations
from world import DEFAULTS, DIGEST, Behaviour, World

REPOSITORY = Path(__file__).resolve().parents[4]
OWNER = "0d9fe0e5-0000-4000-8000-000000000000"


def test_a_router_is_drained_from_within_its_pod_alone() -> None:
    router = children(serving())["Deployment", "fraud-router"]
    xds = [m["mountPath"] for m in container(router, "agent")["volumeMounts"] if m["name"] == "xds"]
    (program, *options) = container(router, "agent")["lifecycle"]["preStop"]["exec"]["command"]
    assert program in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    told = dict(zip(options[::2], options[1::2], strict=True))
    layout = Layout(PurePosixPath(*xds))
    assert told["--socket"] == str(layout.drain_socket)
    assert float(told["--seconds"]) < pod(router)["terminationGracePeriodSeconds"]


def test_the_agent_alone_holds_the_token_of_the_service_account() -> None:
    router = children(serving())["Deployment", "fraud-router"]
    assert pod(router)["automountServiceAccountToken"] is False
    (volume,) = [v["name"] for v in pod(router)["volumes"] if "projected" in v]
    holders = {
        each["name"]: mount["mountPath"]
        for each in [*pod(router)["initContainers"], *pod(router)["containers"]]
        for mount in each["volumeMounts"]
        if mount["name"] == volume
    }
    assert holders == {"agent": str(Path(SERVICE_TOKEN_FILENAME).parent)}
    (projected,) = [v["projected"] for v in pod(router)["volumes"] if v["name"] == volume]
    token, authority = projected["sources"]
    assert token["serviceAccountToken"]["path"] == Path(SERVICE_TOKEN_FILENAME).name
    assert [each["path"] for each in authority["configMap"]["items"]] == [Path(SERVICE_CERT_FILENAME).name]


def test_what_runs_may_finish_until_a_moment_before_the_pod_is_killed() -> None:
    found = pod(runtime(serving()))
    before_sigterm = container(runtime(serving()), "runtime")["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = read_settings(["--model", "/artifact"], {}).grace
    assert found["terminationGracePeriodSeconds"] - before_sigterm - grace == 1


def test_all_that_a_revision_may_have_is_removed_with_it_the_deployment_last() -> None:
    world = serving(runtime={"autoscaling": {"maxReplicas": 4}})
    (view,) = world.revisions.values()
    made = [(m["apiVersion"], m["kind"], m["metadata"]["name"]) for m in runtime_manifests(world.observe(), view)]
    assert {tuple(child) for child in runtime_children(view.name)} == set(made)
    assert runtime_children(view.name)[-1].kind == "Deployment"


def test_the_checker_knows_a_bad_pod() -> None:
    bad = copy.deepcopy(pod(runtime(serving())))
    assert violations(bad) == []
    bad["containers"][0]["securityContext"]["capabilities"] = {"drop": ["NET_RAW"], "add": ["SYS_ADMIN"]}
    bad["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    bad["initContainers"][0].pop("securityContext")
    bad["securityContext"].pop("seccompProfile")
    assert len(violations(bad)) == 7


POD_TEMPLATE = {
    "nodeSelector": {"gpu": "a100"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "serviceAccountName": "models",
    "imagePullSecrets": [{"name": "pull"}],
    "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
}


CPU = {"cpu": "100m"}
LIMIT = {"limits": {"memory": "512Mi"}}
CUSTOM = {"engine": "custom", "image": "registry.example/own:1"}


@pytest.mark.parametrize("runtime", [{}, {"podTemplate": POD_TEMPLATE, "autoscaling": {"maxReplicas": 4}}, CUSTOM])
def test_every_pod_is_admitted_by_the_restricted_level(runtime: dict[str, Any]) -> None:
    world = serving(runtime=runtime)
    world.ask("v2", runtime=runtime).until("Canary")
    deployments = [m for (kind, _), m in children(world).items() if kind == "Deployment"]
    assert len(deployments) == 3
    for deployment in deployments:
        assert violations(pod(deployment)) == []
        for each in [*pod(deployment)["initContainers"], *pod(deployment)["containers"]]:
            assert each["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_child_is_owned_and_labelled_as_in_the_contract() -> None:
    world = serving(runtime={"autoscaling": {"maxReplicas": 4}})
    for (kind, name), manifest in children(world).items():
        meta = manifest["metadata"]
        (owner,) = meta["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
            "ModelDeployment",
            "fraud",
            OWNER,
            True,
        )
        revision = name if name in world.revisions else None
        assert meta["labels"] == {
            "app.kubernetes.io/managed-by": "headgate",
            "headgate.dev/model": "fraud",
            "headgate.dev/component": "runtime" if revision else "router",
            **({"headgate.dev/revision": revision} if revision else {}),
        }, kind
        assert meta["namespace"] == "models"


def test_the_children_have_the_names_of_the_contract() -> None:
    world = serving()
    (revision,) = world.revisions
    assert set(children(world)) == {
        ("Service", "fraud"),
        ("Deployment", "fraud-router"),
        ("ServiceAccount", "fraud-router"),
        ("Role", "fraud-router"),
        ("RoleBinding", "fraud-router"),
        ("PodDisruptionBudget", "fraud-router"),
        ("ModelRevision", revision),
        ("Deployment", revision),
        ("PodDisruptionBudget", revision),
        ("Service", revision),
    }


def test_every_kind_of_child_has_a_path_in_the_api() -> None:
    found = {
        (m["apiVersion"], m["kind"]) for m in children(serving(runtime={"autoscaling": {"maxReplicas": 4}})).values()
    }
    assert found <= set(PLURALS)


def test_selectors_pick_the_pods_of_one_component_alone() -> None:
    world = serving()
    world.ask("v2").until("Canary")
    found = children(world)
    templates = {
        name: m["spec"]["template"]["metadata"]["labels"] for (kind, name), m in found.items() if kind == "Deployment"
    }
    for (kind, name), manifest in found.items():
        if kind not in ("Deployment", "Service", "PodDisruptionBudget"):
            continue
        spec = manifest["spec"]["selector"]
        wanted = spec.get("matchLabels", spec)
        picked = {pods for pods, labels in templates.items() if wanted.items() <= labels.items()}
        assert picked == {"fraud-router" if name == "fraud" else name}


def test_ports_are_those_of_the_contract() -> None:
    def ports(found: Any) -> Any:
        return {p["name"]: p["containerPort"] for p in found["ports"]}

    world = serving()
    router = children(world)["Deployment", "fraud-router"]
    assert ports(container(router, "envoy")) == {"http": 8080, "metrics": 8003}
    assert ports(container(router, "agent")) == {"agent-metrics": 8081}
    assert ports(container(runtime(world), "runtime")) == {"http": 8000, "grpc": 8001, "metrics": 8002}
    service = children(world)["Service", "fraud"]["spec"]["ports"]
    assert service == [
        {"name": "http", "port": 80, "targetPort": "http"},
        {"name": "grpc", "port": 8001, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"},
    ]
    annotations = router["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == "/stats/prometheus"


def test_a_revisions_service_is_headless() -> None:
    (revision,) = (world := serving()).revisions
    assert children(world)["Service", revision]["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("engine", [{}, CUSTOM])
def test_no_change_of_role_alters_a_runtime_pod_template(engine: dict[str, Any]) -> None:
    world = serving(runtime=engine)
    seen: dict[Any, Any] = {}

    def remember() -> None:
        for name in world._started:
            template = json.dumps(runtime_template(world, name), sort_keys=True)
            assert seen.setdefault(name, template) == template, f"{world.version_of(name)} in {world.status.phase}"

    for version, behaviour in (("v2", Behaviour()), ("v3", Behaviour(failing=0.2))):
        world.ask(version, behaviour, runtime=engine)
        for _ in range(80):
            world.look(1.0 if world.status.phase != "Soaking" else 60.0)
            remember()
    assert [h.decision for h in world.status.history] == ["RolledBack", "Promoted", "Live"]
    assert len(seen) == 3


def runtime_template(world: World, name: str) -> Any:
    deployment, *_ = runtime_manifests(world.observe(), world.revisions[name])
    return deployment["spec"]["template"]


def test_no_rollout_alters_the_routers() -> None:
    world = serving()
    before = router_manifests(world.observe())
    world.ask("v2").until("Soaking")
    assert router_manifests(world.observe()) == before


def test_the_fetcher_verifies_the_digest_and_brings_the_baseline() -> None:
    world = serving()
    world.ask("v2").until("Canary")
    model = {"version": "v3", "uri": "https://models.example/fraud/v3", "digest": DIGEST}
    first = container(runtime(world), "fetch")
    assert first["args"] == ["--uri", "pvc://models/fraud/v1", "--to", "/artifact"]
    second = arguments(container(runtime(world, "v2"), "fetch"))
    assert second["--baseline-uri"] == "pvc://models/fraud/v1"
    assert second["--baseline-digest"] == DIGEST
    assert second["--baseline-to"] == "/baseline"
    world.ask("v3")
    world.spec["model"] = model
    world.look()
    third = arguments(container(runtime(world, "v3"), "fetch"))
    assert (third["--uri"], third["--digest"]) == (model["uri"], DIGEST)


def test_the_server_knows_who_it_is() -> None:
    world = serving(runtime={"podTemplate": POD_TEMPLATE})
    (revision,) = world.revisions
    server = container(runtime(world), "runtime")
    environment = {e["name"]: e["value"] for e in server["env"]}
    assert environment == {
        "HEADGATE_NAMESPACE": "models",
        "HEADGATE_MODEL": "fraud",
        "HEADGATE_REVISION": revision,
        "OMP_NUM_THREADS": "4",
    }
    told = arguments(server)
    assert (told["--name"], told["--version"], told["--model"]) == ("fraud", "v1", "/artifact")


def test_a_custom_engine_is_started_as_its_user_says() -> None:
    started = {"command": ["/server"], "args": ["--models", "/artifact"]}
    world = serving(runtime={**CUSTOM, **started, "podTemplate": POD_TEMPLATE})
    (revision,) = world.revisions
    server = container(runtime(world), "runtime")
    assert {k: server[k] for k in ("image", "command", "args")} == {"image": CUSTOM["image"], **started}
    assert {e["name"]: e["value"] for e in server["env"]} == {
        "HEADGATE_NAMESPACE": "models",
        "HEADGATE_MODEL": "fraud",
        "HEADGATE_REVISION": revision,
        "HEADGATE_VERSION": "v1",
        "OMP_NUM_THREADS": "4",
    }
    assert [(p["name"], p["containerPort"]) for p in server["ports"]] == [("http", 8000), ("grpc", 8001)]
    by_itself = container(runtime(serving(runtime=CUSTOM)), "runtime")
    assert {"command", "args"}.isdisjoint(by_itself)
    own = container(runtime(serving()), "runtime")
    for same in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "securityContext", "resources"):
        assert by_itself[same] == own[same]


def test_a_custom_engine_may_write_below_tmp_alone() -> None:
    deployment = runtime(serving(runtime=CUSTOM))
    mounts = {m["mountPath"]: m for m in container(deployment, "runtime")["volumeMounts"]}
    assert {path for path, m in mounts.items() if not m.get("readOnly")} == {"/tmp"}
    assert set(mounts) == {"/artifact", "/baseline", "/tmp"}
    assert {"name": mounts["/tmp"]["name"], "emptyDir": {"sizeLimit": "1Gi"}} in pod(deployment)["volumes"]


def test_beside_a_custom_engine_headgates_image_fetches_and_monitors() -> None:
    world = serving(runtime={**CUSTOM, "podTemplate": POD_TEMPLATE})
    (revision,) = world.revisions
    deployment = runtime(world)
    assert [c["name"] for c in pod(deployment)["initContainers"]] == ["fetch", "monitor"]
    assert "--any-model" in container(deployment, "fetch")["args"]
    monitor = container(deployment, "monitor")
    assert {container(deployment, name)["image"] for name in ("fetch", "monitor")} == {DEFAULTS.serving_image}
    assert (monitor["restartPolicy"], monitor["command"]) == ("Always", ["headgate-monitor"])
    assert arguments(monitor) == {
        "--artifact": "/artifact",
        "--baseline": "/baseline",
        "--model": "fraud",
        "--engine": "http://127.0.0.1:8000",
        "--port": "8002",
    }
    assert {e["name"]: e["value"] for e in monitor["env"]} == {
        "HEADGATE_NAMESPACE": "models",
        "HEADGATE_MODEL": "fraud",
        "HEADGATE_REVISION": revision,
    }
    assert [(p["name"], p["containerPort"]) for p in monitor["ports"]] == [("metrics", 8002)]
    assert {m["mountPath"] for m in monitor["volumeMounts"]} == {"/artifact", "/baseline"}
    assert all(m["readOnly"] for m in monitor["volumeMounts"])


def test_only_a_custom_engines_service_takes_copies() -> None:
    def ports(**spec: Any) -> Any:
        (revision,) = (world := serving(**spec)).revisions
        return {p["name"]: (p["port"], p["targetPort"]) for p in children(world)["Service", revision]["spec"]["ports"]}

    inference = {"http": (8000, "http"), "grpc": (8001, "grpc")}
    assert ports() == inference
    assert ports(runtime=CUSTOM) == inference | {"samples": (8002, 8002)}


def test_the_pods_of_headgates_own_server_are_what_they_were() -> None:
    (view,) = (world := serving()).revisions.values()
    frozen = view.spec.runtime.model_copy(update={"diskLimits": False})
    before = replace(view, spec=view.spec.model_copy(update={"runtime": frozen}))
    template = runtime_manifests(world.observe(), before)[0]["spec"]["template"]
    canonical = json.dumps(template, sort_keys=True)
    unchanged = hashlib.sha256(canonical.encode()).hexdigest()[:16] == "a67e1dd0848ec492"
    assert unchanged, "an upgrade to this template restarts every serving pod"


def test_neither_the_sample_nor_another_operator_alters_a_custom_engines_pods() -> None:
    world = serving(runtime=CUSTOM)
    (revision,) = world.revisions
    before = runtime_template(world, revision)
    world.ask("v1", runtime=CUSTOM, monitoring={"sample": "50%"}).look()
    later = replace(world.observe(), defaults=replace(DEFAULTS, serving_image="registry.example/serving:2"))
    deployment, *_ = runtime_manifests(later, world.revisions[revision])
    assert deployment["spec"]["template"] == before


def test_the_pod_goes_where_the_user_wants_it() -> None:
    spec = pod(runtime(serving(runtime={"podTemplate": POD_TEMPLATE})))
    for field in set(POD_TEMPLATE) - {"env"}:
        assert spec[field] == POD_TEMPLATE[field]
    assert "env" not in spec
    assert spec["automountServiceAccountToken"] is False


def test_claims_are_mounted_read_only_in_the_fetcher_alone() -> None:
    world = serving()
    deployment = runtime(world)
    claim = next(v for v in pod(deployment)["volumes"] if v["name"] == "pvc-0")
    assert claim["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    mounts = {m["mountPath"]: m for m in container(deployment, "fetch")["volumeMounts"]}
    assert mounts["/pvc/models"]["readOnly"] is True
    assert all("pvc" not in m["mountPath"] for m in container(deployment, "runtime")["volumeMounts"])
    assert all(m["readOnly"] for m in container(deployment, "runtime")["volumeMounts"])


@pytest.mark.parametrize("claim", ["my.claim", "a" * 253])
def test_a_claim_may_have_a_name_that_no_volume_may_have(claim: str) -> None:
    world = serving().ask("v9")
    world.spec["model"] = {"version": "v9", "uri": f"pvc://{claim}/fraud/1"}
    world.look()
    deployment = runtime(world, "v9")
    volumes = {v["name"]: v for v in pod(deployment)["volumes"]}
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in volumes)
    mount = next(m for m in container(deployment, "fetch")["volumeMounts"] if m["mountPath"] == f"/pvc/{claim}")
    assert volumes[mount["name"]]["persistentVolumeClaim"]["claimName"] == claim


def test_own_resources_and_image_replace_the_defaults() -> None:
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    server = container(runtime(serving(runtime={"resources": gpu, "image": "registry.example/own:1"})), "runtime")
    assert (server["resources"]["limits"], server["image"]) == (gpu["limits"], "registry.example/own:1")
    assert container(runtime(serving()), "runtime")["image"] == DEFAULTS.serving_image


def test_with_an_autoscaler_nobody_else_sets_the_replicas() -> None:
    world = serving(runtime={"autoscaling": {"minReplicas": 2, "maxReplicas": 6, "targetCPUUtilization": 50}})
    (revision,) = world.revisions
    assert "replicas" not in runtime(world)["spec"]
    scaler = children(world)["HorizontalPodAutoscaler", revision]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["scaleTargetRef"]["name"] == revision
    (metric,) = (m["containerResource"] for m in scaler["metrics"])
    assert (metric["container"], metric["target"]["averageUtilization"]) == ("runtime", 50)


def test_without_secrets_to_pull_with_none_are_named() -> None:
    found = children(serving())
    for kind, name in found:
        if kind == "Deployment":
            assert "imagePullSecrets" not in pod(found[kind, name])


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([], ["registry", "other"]),
        ([{"name": "mine"}], ["mine", "registry", "other"]),
        ([{"name": "registry"}], ["registry", "other"]),
    ],
)
@pytest.mark.parametrize("engine", [{}, {"engine": "custom", "image": "mine:1"}], ids=["own", "custom"])
def test_all_pods_can_be_pulled_from_a_private_registry(
    own: list[Any], expected: list[Any], engine: dict[str, Any]
) -> None:
    world = serving(runtime={"podTemplate": {"imagePullSecrets": own}} | engine)
    o = world.observe()
    o = replace(o, defaults=replace(o.defaults, pull_secrets=("registry", "other")))
    (view,) = world.revisions.values()
    router, runtime = (
        next(m for m in each if m["kind"] == "Deployment") for each in (router_manifests(o), runtime_manifests(o, view))
    )
    assert pod(router)["imagePullSecrets"] == [{"name": "registry"}, {"name": "other"}]
    assert [secret["name"] for secret in pod(runtime)["imagePullSecrets"]] == expected


def test_a_router_starts_with_its_configuration_and_is_ready_with_a_version() -> None:
    agent = container(children(serving())["Deployment", "fraud-router"], "agent")
    paths = {probe: agent[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    ready, alive = agent["readinessProbe"], agent["livenessProbe"]
    assert ready["periodSeconds"] == 1, "requests wait for it"
    three_failures = 3 * alive["periodSeconds"] + alive["timeoutSeconds"]
    assert ready["failureThreshold"] * ready["periodSeconds"] > 2 * three_failures, (
        "an agent that hangs takes nothing out"
    )


def test_a_router_counts_when_the_nodes_have_had_time_to_learn_of_it() -> None:
    router = children(serving())["Deployment", "fraud-router"]["spec"]
    assert router["minReadySeconds"] >= 2
    assert router["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, "no old one ends before that"


@pytest.mark.parametrize("routers", [1, 2])
def test_of_the_routers_one_may_go_at_a_time(routers: int) -> None:
    found = children(serving(traffic={"routers": routers}))
    assert found["PodDisruptionBudget", "fraud-router"]["spec"]["maxUnavailable"] == 1
    assert found["Deployment", "fraud-router"]["spec"]["replicas"] == routers
    assert ("HorizontalPodAutoscaler", "fraud-router") not in found


@pytest.mark.parametrize(
    ("resources", "threads"),
    [
        ({}, "2"),
        ({"requests": {"cpu": "500m"}}, "2"),
        ({"requests": {"cpu": "2"}, "limits": {"cpu": 4}}, "4"),
        ({"limits": {"cpu": "3500m"}}, "4"),
        ({"limits": {"memory": "1Gi"}}, "2"),
        ({"limits": {"memory": "1Gi"}, "requests": {"cpu": "3"}}, "3"),
        ({"limits": {"cpu": "0.3e1"}}, "3"),
    ],
)
def test_envoy_has_a_thread_for_each_core_that_it_may_have(resources: dict[str, Any], threads: str) -> None:
    router = children(serving(traffic={"routerResources": resources}))["Deployment", "fraud-router"]
    arguments = container(router, "envoy")["args"]
    assert arguments[arguments.index("--concurrency") + 1] == threads


@pytest.mark.parametrize(
    ("asked", "pods", "routers"),
    [
        ({}, {"requests": {**CPU, "memory": "128Mi"}}, {"requests": {**CPU, "memory": "96Mi"}, **LIMIT}),
        (
            {"requests": {"memory": "1Gi"}},
            {"requests": {**CPU, "memory": "1Gi"}},
            {"requests": {**CPU, "memory": "1Gi"}},
        ),
        (
            {"limits": {"memory": "64Mi"}},
            {"requests": CPU, "limits": {"memory": "64Mi"}},
            {"requests": CPU, "limits": {"memory": "64Mi"}},
        ),
        (
            {"limits": {"cpu": "50m"}},
            {"requests": {"memory": "128Mi"}, "limits": {"cpu": "50m"}},
            {"requests": {"memory": "96Mi"}, "limits": {"cpu": "50m", "memory": "512Mi"}},
        ),
        (
            {"limits": {"nvidia.com/gpu": 1}, "requests": None},
            {"requests": {**CPU, "memory": "128Mi"}, "limits": {"nvidia.com/gpu": 1}},
            {"requests": {**CPU, "memory": "96Mi"}, "limits": {"nvidia.com/gpu": 1, "memory": "512Mi"}},
        ),
        (
            {"requests": {"cpu": 2, "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
            {"requests": {"cpu": 2, "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
            {"requests": {"cpu": 2, "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
        ),
    ],
)
@pytest.mark.parametrize("engine", [{}, CUSTOM], ids=["own", "custom"])
def test_a_resource_of_which_nothing_is_said_has_its_default(
    engine: dict[str, Any], asked: dict[str, Any], pods: dict[str, Any], routers: dict[str, Any]
) -> None:
    scaling = {"maxReplicas": 9}
    world = serving(
        runtime={**engine, "autoscaling": scaling, "resources": asked},
        traffic={"routerAutoscaling": scaling, "routerResources": asked},
    )
    disk = {"ephemeral-storage": "256Mi"}
    assert container(runtime(world), "runtime")["resources"] == {
        **pods,
        "requests": {**pods.get("requests", {}), **disk},
    }
    assert container(children(world)["Deployment", "fraud-router"], "envoy")["resources"] == routers


def test_routers_scale_by_what_envoy_does() -> None:
    large = {"requests": {"cpu": "2"}, "limits": {"memory": "2Gi"}}
    found = children(serving(traffic={"routerAutoscaling": {"maxReplicas": 9}, "routerResources": large}))
    deployment = found["Deployment", "fraud-router"]
    assert "replicas" not in deployment["spec"]
    assert container(deployment, "envoy")["resources"] == large
    scaler = found["HorizontalPodAutoscaler", "fraud-router"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "fraud-router"
    assert scaler["metrics"][0]["containerResource"]["container"] == "envoy"


def test_the_router_may_read_its_own_model_and_endpoints_and_write_nothing() -> None:
    role = children(serving())["Role", "fraud-router"]
    assert {v for r in role["rules"] for v in r["verbs"]} == {"list", "watch"}
    (own,) = (r for r in role["rules"] if r["resources"] == ["modeldeployments"])
    assert own["resourceNames"] == ["fraud"]


def test_the_binding_gives_the_role_to_the_routers_account() -> None:
    binding = children(serving())["RoleBinding", "fraud-router"]
    assert binding["roleRef"]["name"] == "fraud-router"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "fraud-router", "namespace": "models"}]


@settings(max_examples=30, deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40).filter(lambda n: n[-1] != "-"))
def test_any_allowed_name_makes_valid_names_of_children(name: str) -> None:
    if not re.fullmatch("[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        return
    assert all(len(child) <= 63 for child in (f"{name}-router", f"{name}-1a2b3c4d"))


def test_the_contract_names_every_label_and_port() -> None:
    text = Path(__file__).parents[4].joinpath("docs/architecture.md").read_text()
    for word in ("headgate.dev/model", "headgate.dev/component", "headgate.dev/revision", "8003", "8081", "8002"):
        assert word in text
