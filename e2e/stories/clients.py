"""The clients of a story: the demo's load generator in a pod, which sends real rows on schedule and counts answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .manifests import HARDENED, pod, service
from .models import Model
from .waiting import until
from .world import FOLDER

Json = dict[str, Any]
PATIENCE = 30.0
"""Seconds after which a client gives up: more than twice what any router of the stories may take, so that an answer's
way on a busy machine is never the story."""


@dataclass(frozen=True)
class Clients:
    """Clients of one model, `rate` requests a second. They stop by themselves after `SECONDS`."""

    model: Model
    name: str
    rate: float

    SECONDS = 1800

    @staticmethod
    def of(model: Model, rate: float = 50.0, shift: str = "", budget: float = 0.5, burst: str = "") -> Clients:
        """Started, and asking. `shift` is COLUMN:AMOUNT for inputs that are not what they were, `burst` PERIOD:PART for
        clients that ask in a part of each period only.

        Answers that take longer than `budget` seconds are counted as late.
        """
        clients = Clients(model, f"clients-of-{model.name}", rate)
        host = f"{model.name}.{model.namespace}.svc"
        command = ["python3", "-m", "demo.load", f"http://{host}/v2/models/{model.name}/infer"]
        command += [f"--rows={FOLDER}/live.npz", f"--rate={rate:g}", f"--seconds={Clients.SECONDS}"]
        command += [f"--timeout={PATIENCE:g}", f"--budget={budget:g}", *([f"--shift={shift}"] if shift else [])]
        command += [f"--burst={burst}"] if burst else []
        asking = pod(clients.name, model.namespace, model.world.images["demo"], command, HARDENED)
        asking["spec"] |= {"restartPolicy": "Never", "activeDeadlineSeconds": 2 * Clients.SECONDS}
        asking["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "20m", "memory": "64Mi"}}
        model.world.cluster.apply(asking, service(clients.name, model.namespace))
        until(clients.state, lambda state: state["totals"]["ok"] > 0, 60, "clients get answers", _brief)
        return clients

    def state(self, since: int | None = None) -> Json:
        """What they counted in all, and second by second from `since` on."""
        query = {"since": str(since if since is not None else 10**12)}
        found = self.model.world.api.of_service(self.model.namespace, f"{self.name}:80", "/state", query)
        return found or {"totals": {"ok": 0, "sent": 0, "failed": 0, "pending": 0}, "revisions": {}}

    def answered(self) -> Json:
        """The state when everything that was sent until now has been answered, or never will be."""
        asked = int(time.time())

        def done(state: Json) -> bool:
            return all(each["sent"] == each["ok"] + each["failed"] for each in state["seconds"] if each["time"] < asked)

        return until(lambda: self.state(since=asked - 30), done, PATIENCE + 10, "all is answered", _brief)

    def saw_no_failure(self) -> Json:
        """Asserts that every answer was a good one, and that the clients really asked as often as they should."""
        state = self.answered()
        totals = state["totals"]
        assert totals["failed"] == 0, (
            f"{totals} {state['failures']} {state['first_failures'][:5]} {self._bad_seconds()}"
        )
        due = self.rate * (time.time() - state["started"])
        assert totals["ok"] > 0.9 * due, f"{totals['ok']} answers, and about {due:.0f} were due"
        return state

    def _bad_seconds(self) -> list[str]:
        """When answers failed, for people: how many, and how long the slowest took."""
        seconds = self.state(since=0)["seconds"]
        return [f"{each['time']}: {each['failed']}, {each['max_ms']} ms" for each in seconds if each["failed"]][:60]

    def answers_from(self, revision: str) -> int:
        """Good answers by a revision."""
        return int(self.state()["revisions"].get(revision, {}).get("ok", 0))


def _brief(state: Json) -> object:
    return {name: value for name, value in state.items() if name != "seconds"}
