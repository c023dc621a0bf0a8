"""Looks once a second at everything that the demo shows, records it, and hands it to the screen.

`story.py` waits with it. A look that finds nothing (an API server that is busy, a load generator that is not there
yet) is no error: what was known stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .api import Api, Unreadable
from .reading import View, view_of
from .recording import Note, Recording, Tick
from .screen import Look, Screen

DEMO = "headgate-demo"
SYSTEM = "headgate-system"
MODEL = "census"
RESOURCE = f"/apis/headgate.dev/v1alpha1/namespaces/{DEMO}/modeldeployments/{MODEL}"
PODS = f"/api/v1/namespaces/{DEMO}/pods"
EVENTS = f"/api/v1/namespaces/{DEMO}/events"
ATTEMPTS = (
    "sum by (headgate_revision) "
    f'(envoy_cluster_endpoint_rq_total{{headgate_namespace="{DEMO}",headgate_model="{MODEL}"}})'
)
EVERY = 1.0
# Seconds of the load generator that may still change.
UNSETTLED = 6

T = TypeVar("T")


@dataclass
class Watcher:
    """Keeps looking. `clock` is the time of day."""

    api: Api
    recording: Recording
    screen: Screen
    title: str = ""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    _view: View = field(default_factory=View)
    _looks: int = 0

    def look(self) -> View:
        """Look once."""
        self._view = self._read(lambda: view_of(self.api.get(RESOURCE)), self._view)
        self.recording.versions.update(self._view.versions)
        self._read(self._look_at_clients, None)
        self._read(self._look_at_attempts, None)
        if self._looks % 3 == 0:
            self._read(self._look_at_events, None)
        self._looks += 1
        self.recording.ticks.append(self._tick())
        self.screen.show(Look(self.title, self._view, self.recording))
        return self._view

    def until(self, done: Callable[[View], str], seconds: float) -> str:
        """Look until `done` says what came out; "TimedOut" when it has not after `seconds`."""
        deadline = self.clock() + seconds
        while self.clock() < deadline:
            begin = self.clock()
            if outcome := done(self.look()):
                return outcome
            self.sleep(max(0.1, EVERY - (self.clock() - begin)))
        return "TimedOut"

    def pause(self, seconds: float) -> None:
        """Go on looking for a while."""
        self.until(lambda _: "", seconds)

    def pods(self, *revisions: str) -> list[dict[str, Any]]:
        """The router's pods and those of some revisions."""
        found: list[dict[str, Any]] = self._read(
            lambda: self.api.items(PODS, {"labelSelector": "headgate.dev/component"}), []
        )
        staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return [pod for pod in staying if _revision(pod) in ("", *revisions)]

    def _look_at_clients(self) -> None:
        since = max(self.recording.seconds, default=0) - UNSETTLED
        state = self.api.of_service(DEMO, "load:8080", "/state", {"since": str(max(0, since))})
        if state:
            self.recording.seconds.update({int(second["time"]): second for second in state.pop("seconds")})
            self.recording.load = state

    def _look_at_attempts(self) -> None:
        answer = self.api.of_service(SYSTEM, "headgate-prometheus:9090", "/api/v1/query", {"query": ATTEMPTS})
        for series in (answer or {}).get("data", {}).get("result", []):
            version = self.recording.versions.get(series["metric"].get("headgate_revision", ""))
            if version:
                # A revision whose pods are gone has no series any more: the largest value stays.
                value = float(series["value"][1])
                self.recording.attempts[version] = max(value, self.recording.attempts.get(version, 0.0))

    def _look_at_events(self) -> None:
        found = self.api.items(EVENTS, {"fieldSelector": f"involvedObject.name={MODEL}"})
        notes = [
            Note(
                each.get("lastTimestamp") or each.get("eventTime") or each["metadata"]["creationTimestamp"],
                each.get("type", "-"),
                each.get("reason", "-"),
                each.get("message", ""),
            )
            for each in found
        ]
        self.recording.notes = sorted(notes, key=lambda note: note.time)

    def _tick(self) -> Tick:
        view = self._view
        return Tick(
            time=self.clock(),
            phase=view.phase,
            weights=dict(view.weights),
            attempts=dict(self.recording.attempts),
            combined=view.combined,
            errors=view.errors.harm,
            predictions=view.predictions.harm,
            errors_safe=view.errors.safe,
            predictions_safe=view.predictions.safe,
            threshold=view.threshold,
        )

    def _read(self, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (Unreadable, KeyError, ValueError, TypeError):
            return otherwise


def _revision(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"].get("headgate.dev/revision", ""))


def restarts(pods: list[dict[str, Any]]) -> int:
    """Restarts of all containers of some pods, init containers aside."""
    statuses = [status for pod in pods for status in pod["status"].get("containerStatuses", [])]
    return sum(int(status.get("restartCount", 0)) for status in statuses)
