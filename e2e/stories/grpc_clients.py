"""Clients that ask by gRPC, from the story's own process: real rows, on schedule, each from one of many users."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

from demo import artifacts

from .clients import PATIENCE
from .models import Model
from .waiting import until

USERS = 300
_CHANNELS = 8
_ALONE = ("grpc.use_local_subchannel_pool", 1)  # a connection of its own for each channel: they reach all routers
_AT_A_TIME = 32


@dataclass
class GrpcClients:
    """What they saw: who answered each user, oldest first, and what went wrong."""

    stubs: Sequence[Any]
    requests: Sequence[Any]
    answered: dict[int, list[str]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    """Seconds, from when a request was sent."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    @contextmanager
    def of(model: Model, rate: float) -> Iterator[GrpcClients]:
        """They ask `rate` times a second until the end of the block, from when each of their connections is answered.

        Routers hear of a first version a tenth of a second after the status says that it is live.
        """
        path = f"/api/v1/namespaces/{model.namespace}/services/{model.name}"
        address = f"{model.world.api.get(path)['spec']['clusterIP']}:8001"
        channels = [grpc.insecure_channel(address, options=[_ALONE]) for _ in range(_CHANNELS)]
        stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
        clients, over = GrpcClients(stubs, requests(model.name)), threading.Event()
        for number in range(_CHANNELS):
            until(partial(clients._is_answered, number), bool, 30, "all routers serve the model")
        schedule = threading.Thread(target=clients._keep_asking, args=(rate, over), daemon=True)
        schedule.start()
        try:
            yield clients
        finally:
            over.set()
            schedule.join()
            for channel in channels:
                channel.close()

    def ask(self, number: int, *metadata: tuple[str, str]) -> str:
        """The revision that answered; grpc.RpcError if none did."""
        stub, request = self.stubs[number % len(self.stubs)], self.requests[number % len(self.requests)]
        response, call = stub.ModelInfer.with_call(request, metadata=metadata, timeout=PATIENCE)
        (label,) = InferResult(response).as_numpy("label")
        assert label in (0, 1)
        return str(dict(call.initial_metadata())["x-headgate-revision"])

    def saw_no_failure(self) -> None:
        """Asserts that all answers were good ones, and that there were some."""
        assert not self.failures, self.failures
        assert self.answered

    def back_and_forth(self) -> dict[int, list[str]]:
        """The revisions that answered those users who came back to one that they had had before."""
        ways = {user: [seen[0], *(b for a, b in pairwise(seen) if a != b)] for user, seen in self.answered.items()}
        return {user: way for user, way in ways.items() if len(set(way)) < len(way)}

    def _is_answered(self, number: int) -> bool:
        try:
            self.ask(number)
        except grpc.RpcError:
            return False
        return True

    def _keep_asking(self, rate: float, over: threading.Event) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for number in count():
                if over.wait(max(0.0, started + number / rate - time.monotonic())):
                    break
                pool.submit(self._ask_as_a_user, number)

    def _ask_as_a_user(self, number: int) -> None:
        user, sent = number % USERS, time.monotonic()
        try:
            revision = self.ask(number, ("x-user-id", f"user-{user}"))
        except Exception as error:
            what = f"{error.code()}: {error.details()}" if isinstance(error, grpc.Call) else repr(error)
            with self._lock:
                self.failures[what] += 1
            return
        with self._lock:
            self.answered.setdefault(user, []).append(revision)
            self.slowest = max(self.slowest, time.monotonic() - sent)


def requests(model: str) -> list[Any]:
    """Real rows, each as a request."""
    with np.load(artifacts.build().folder / artifacts.ROWS) as rows:
        features = rows["features"].astype(np.float32)[:5000]
    found = []
    for row in features:
        request = service_pb2.ModelInferRequest(model_name=model)
        request.inputs.add(name="input", datatype="FP32", shape=[1, len(row)])
        request.raw_input_contents.append(row.tobytes())
        found.append(request)
    return found
