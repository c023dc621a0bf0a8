"""A rollout with the phase that was added."""

from world import World

world = World().ask("v1").settled("Stable")
world.ask("v2").until("Promoting")
phases = [plan.status.phase for plan in world.plans]
seen = [phase for i, phase in enumerate(phases) if phase != phases[i - 1]]
assert seen[-4:] == ["Pending", "Holding", "Canary", "Promoting"], seen
events = [(e.type, e.reason) for plan in world.plans for e in plan.events]
assert ("Normal", "HoldingStarted") in events
world.settled("Stable")
world.ask("v3").until("Holding")
assert world.routed() == {"v2": 100}
world.ask("v2").look()
assert world.status.history[0].decision == "Superseded"
