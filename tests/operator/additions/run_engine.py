"""A rollout onto the engine that was added."""

from manifests_of import children, container, pod, runtime
from world import World

world = World().ask("v1").settled("Stable")
world.ask("v2", runtime={"engine": "echo"}).until("Canary")
assert [t.sample for t in world.status.traffic] == [None, 10.0]
deployment = runtime(world, "v2")
server = container(deployment, "runtime")
assert server["command"] == ["echo-server"]
assert {"name": "var-cache", "mountPath": "/var/cache"} in server["volumeMounts"]
assert {"name": "var-cache", "emptyDir": {"sizeLimit": "1Gi"}} in pod(deployment)["volumes"]
assert "--any-model" in container(deployment, "fetch")["args"]
world.settled("Stable")
assert world.status.stable.version == "v2"
assert len([kind for kind, _ in children(world) if kind == "Deployment"]) == 3
