"""A rollout with the command that was added."""

from world import World

world = World().ask("v1").settled("Stable")
world.ask("v2").until("Canary")
world.spec["rollout"]["paused"] = True
assert {plan.status.phase for plan in world.looks(60)} == {"Canary"}
world.spec["rollout"]["paused"] = False
world.settled("Stable")
assert world.routed() == {"v2": 100}
