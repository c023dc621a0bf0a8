"""Clients that speak TLS and show a token, from the story's own process, over a connection of their own each time."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
import numpy as np
from cryptography import x509
from tritonclient.grpc import service_pb2_grpc

from .certificates import Pair
from .clients import PATIENCE
from .grpc_clients import requests
from .models import Model


@dataclass
class SecuredClients:
    """They know the model by its name, and trust who signed its certificate."""

    model: Model
    roots: Sequence[Pair]
    good: int = 0
    """Inferences that were answered."""

    @cached_property
    def request(self) -> Any:
        """A real row."""
        return requests(self.model.name)[0]

    @property
    def host(self) -> str:
        return f"{self.model.name}.{self.model.namespace}.svc"

    @property
    def address(self) -> str:
        """Of the Service: there is no name server where the story runs."""
        path = f"/api/v1/namespaces/{self.model.namespace}/services/{self.model.name}"
        return str(self.model.world.api.get(path)["spec"]["clusterIP"])

    @property
    def authorities(self) -> str:
        return "".join(root.pem for root in self.roots)

    def rest(self, token: str = "", path: str = "infer") -> tuple[int, str]:
        """Status, and the client's error if there is one. OSError without an answer."""
        context = ssl.create_default_context(cadata=self.authorities)
        connection = http.client.HTTPConnection(self.host)
        plain = socket.create_connection((self.address, 443), timeout=PATIENCE)
        with contextlib.closing(connection), context.wrap_socket(plain, server_hostname=self.host) as connection.sock:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            body = json.dumps(_row(self.request)) if path == "infer" else None
            method = "POST" if body else "GET"
            connection.request(method, f"/v2/models/{self.model.name}/{path}", body, headers)
            answer = connection.getresponse()
            content = json.loads(answer.read() or b"{}")
            self.good += answer.status == 200 and body is not None
            return answer.status, str(content.get("error", ""))

    def call(self, token: str = "") -> str:
        """The status of a call of gRPC."""
        trusted = grpc.ssl_channel_credentials(self.authorities.encode())
        named = [("grpc.ssl_target_name_override", self.host), ("grpc.use_local_subchannel_pool", 1)]
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with grpc.secure_channel(f"{self.address}:8001", trusted, options=named) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            try:
                stub.ModelInfer(self.request, metadata=metadata, timeout=PATIENCE)
            except grpc.RpcError as error:
                return str(error.code().name)
        self.good += 1
        return "OK"

    @contextlib.contextmanager
    def asking(self, token: str) -> Iterator[Counter[str]]:
        """They ask until the end of the block, by REST and by gRPC, and count what came of it."""
        outcomes, over = Counter[str](), threading.Event()

        def keep_asking() -> None:
            while not over.is_set():
                for way, ask in (("REST", self._status), ("gRPC", self.call)):
                    try:
                        outcomes[f"{way} {ask(token)}"] += 1
                    except OSError as error:
                        outcomes[f"{way} {error!r}"] += 1
                time.sleep(0.02)

        asking = threading.Thread(target=keep_asking, daemon=True)
        asking.start()
        try:
            yield outcomes
        finally:
            over.set()
            asking.join()

    def _status(self, token: str) -> str:
        return str(self.rest(token)[0])


def shown_at(address: str, port: int) -> int:
    """The serial number of the certificate that a router shows."""
    text = ssl.get_server_certificate((address, port), timeout=PATIENCE)
    return x509.load_pem_x509_certificate(text.encode()).serial_number


def _row(request: Any) -> dict[str, Any]:
    """The same row as REST has it."""
    (given,), (raw,) = request.inputs, request.raw_input_contents
    data = np.frombuffer(raw, np.float32).tolist()
    return {"inputs": [{"name": given.name, "datatype": given.datatype, "shape": list(given.shape), "data": data}]}
