"""The protocol against a real process: what is asked, and what has to come back."""

import signal
import socket
from collections.abc import Iterator

import httpx
import numpy as np
import orjson
import pytest
import serving_models as models
import tritonclient.http as triton
from serving_process import Served

MAX_BODY = 100_000
INFER = "/v2/models/fraud/infer"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mixed")
    models.mixed(folder / "model.onnx")
    process = Served(folder, "--max-body", str(MAX_BODY), log=folder / "termination-log")
    yield process
    assert process.stop() == 0


def tensor(name: str, datatype: str, shape: object, data: object, **more: object) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


X = tensor("X", "FP32", [2, 4], [[1, 2, 3, 4], [5, 6, 7.5, 8]])
AT = tensor("AT", "INT64", [1], [1])
TEXT = tensor("TEXT", "BYTES", [2, 1], ["a", "ü"])


def asked(**changes: object) -> dict[str, object]:
    """A good request, with whole inputs or other members replaced."""
    inputs = {"X": X, "AT": AT, "TEXT": TEXT}
    members = {key: value for key, value in changes.items() if key not in inputs}
    inputs |= {key: value for key, value in changes.items() if key in inputs}
    return {"inputs": list(inputs.values()), **members}


GETS = {
    "/v2": {
        "name": "headgate",
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "statistics"],
    },
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/models/fraud/ready": {"name": "fraud", "ready": True},
    "/v2/models/fraud/versions/7/ready": {"name": "fraud", "ready": True},
    "/v2/models/fraud": {"name": "fraud", "versions": ["7"], "platform": "onnxruntime_onnx"},
    "/v2/models/fraud/versions/7": {
        "inputs": [
            {"name": "X", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "AT", "datatype": "INT64", "shape": [-1]},
            {"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "Y", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "PICK", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "SAID", "datatype": "BYTES", "shape": [-1, 1]},
        ],
    },
}


@pytest.mark.parametrize("path", GETS)
def test_get(served: Served, path: str) -> None:
    answer = served.client.get(path)
    assert answer.status_code == 200
    assert GETS[path].items() <= answer.json().items()


def test_answers_all_outputs_and_echoes_the_id(served: Served) -> None:
    answer = served.client.post(INFER, json=asked(id="42", parameters={"unknown": 1})).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "fraud", "7")
    assert [output["name"] for output in answer["outputs"]] == ["Y", "PICK", "SAID"]
    assert answer["outputs"][0] == tensor("Y", "FP32", [2, 4], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 16.0])
    assert answer["outputs"][1]["data"] == [5.0, 6.0, 7.5, 8.0]
    assert answer["outputs"][2] == tensor("SAID", "BYTES", [2, 1], ["a", "ü"])


def test_gives_only_the_outputs_that_are_asked_for(served: Served) -> None:
    answer = served.client.post("/v2/models/fraud/versions/7/infer", json=asked(outputs=[{"name": "SAID"}])).json()
    assert [output["name"] for output in answer["outputs"]] == ["SAID"]
    assert "id" not in answer


def test_flat_data_and_missing_values(served: Served) -> None:
    x = tensor("X", "FP32", [2, 4], [1, None, 3, 4, 5, 6, 7, 8])
    answer = served.client.post(INFER, json=asked(X=x)).json()
    assert answer["outputs"][0]["data"][:3] == [2.0, None, 6.0]


WRONG = {
    "no JSON": (b'{"inputs": [', "valid JSON"),
    "not UTF-8": (b'{"id": "\xff"}', "valid JSON"),
    "a list": ([], "JSON object"),
    "no inputs": ({}, "'inputs'"),
    "inputs is an object": ({"inputs": {}}, "'inputs'"),
    "an input is a number": ({"inputs": [5]}, "'name'"),
    "id is a number": (asked(id=5), "'id'"),
    "parameters is a list": (asked(parameters=[1]), "'parameters'"),
    "input is missing": ({"inputs": [X, AT]}, "'TEXT' is missing"),
    "input is unknown": ({"inputs": [tensor("Z", "FP32", [1], [1])]}, "no input 'Z'; it has 'X', 'AT', 'TEXT'"),
    "input is there twice": ({"inputs": [X, X]}, "'X' is there twice"),
    "another datatype": (asked(X=X | {"datatype": "FP64"}), "'X': expected datatype FP32, got 'FP64'"),
    "no datatype": (asked(X={"name": "X", "shape": [1, 4], "data": [1] * 4}), "expected datatype FP32, got None"),
    "another rank": (
        asked(X=X | {"shape": [8]}),
        "'X': expected shape [-1, 4] (-1 stands for any length from 1), got [8]",
    ),
    "another width": (asked(X=X | {"shape": [4, 2]}), "got [4, 2]"),
    "negative shape": (asked(X=X | {"shape": [-1, 4]}), "got [-1, 4]"),
    "empty shape": (asked(X=tensor("X", "FP32", [0, 4], [])), "(-1 stands for any length from 1), got [0, 4]"),
    "shape with a boolean": (asked(AT=AT | {"shape": [True]}), "got [True]"),
    "shape is text": (asked(AT=AT | {"shape": "1"}), "got '1'"),
    "huge shape": (asked(AT=AT | {"shape": [2**63]}), "needs 9223372036854775808 values, got 1"),
    "too little data": (asked(X=X | {"data": [1.0]}), "needs 8 values, got 1"),
    "nested otherwise": (asked(X=X | {"data": [[1, 2]] * 4}), "shape is [2, 4], but 'data' is nested as [4, 2]"),
    "ragged": (asked(X=X | {"data": [[1, 2, 3, 4], [5]]}), "differ in length"),
    "no data": (asked(X={"name": "X", "datatype": "FP32", "shape": [2, 4]}), "'data' has to be a list, got None"),
    "data is a number": (asked(X=X | {"data": 5}), "'data' has to be a list, got 5"),
    "text for numbers": (asked(X=X | {"data": ["1"] * 8}), "FP32 takes numbers (null for a missing one), got '1'"),
    "text among numbers": (asked(X=X | {"data": [1] * 7 + ["1"]}), "got '1'"),
    "boolean among numbers": (asked(X=X | {"data": [1] * 7 + [True]}), "got True"),
    "object among numbers": (asked(X=X | {"data": [1] * 7 + [{}]}), "got {}"),
    "number too large": (asked(X=X | {"data": [1e300] * 8}), "does not fit into FP32"),
    "fraction for an integer": (asked(AT=AT | {"data": [0.5]}), "'AT': INT64 takes whole numbers, got 0.5"),
    "null for an integer": (asked(AT=AT | {"data": [None]}), "got None"),
    "integer too large": (asked(AT=AT | {"data": [2**63]}), "does not fit into INT64"),
    "number for text": (asked(TEXT=TEXT | {"data": ["a", 5]}), "BYTES takes strings"),
    "list for text": (asked(TEXT=TEXT | {"data": ["a", ["b", "c"]]}), "BYTES takes strings"),
    "ragged text": (asked(TEXT=TEXT | {"data": [["a"], ["b", "c"]]}), "differ in length"),
    "output is unknown": (asked(outputs=[{"name": "Q"}]), "no output 'Q'; it has 'Y', 'PICK', 'SAID'"),
    "outputs is text": (asked(outputs="Y"), "'outputs'"),
    "classification": (asked(outputs=[{"name": "Y", "parameters": {"classification": 2}}]), "not supported"),
    "shared memory": (asked(X=X | {"parameters": {"shared_memory_region": "r"}}), "not supported"),
    "binary size without bytes": (
        asked(AT={"name": "AT", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}),
        "8 bytes are announced, 0 are there",
    ),
    "nested a thousand deep": (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", "valid JSON"),
    "data nested a hundred deep": (asked(AT=AT | {"data": orjson.loads(b"[" * 100 + b"1" + b"]" * 100)}), "'AT'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_request_gets_400_and_a_reason(served: Served, name: str) -> None:
    body, reason = WRONG[name]
    answer = served.client.post(INFER, content=body if isinstance(body, bytes) else orjson.dumps(body))
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert served.client.post(INFER, json=asked()).status_code == 200


OTHER = {
    "unknown model": ("POST", "/v2/models/other/infer", 404, "no model 'other'"),
    "unknown version": ("POST", "/v2/models/fraud/versions/8/infer", 404, "no version '8' of model 'fraud'"),
    "unknown path": ("GET", "/v3", 404, "nothing at /v3"),
    "unknown model's metadata": ("GET", "/v2/models/other", 404, "no model 'other'"),
    "GET on infer": ("GET", INFER, 405, "takes POST"),
    "POST on metadata": ("POST", "/v2/models/fraud", 405, "takes GET"),
    "DELETE on health": ("DELETE", "/v2/health/ready", 405, "takes GET"),
}


@pytest.mark.parametrize("name", OTHER)
def test_wrong_places_and_methods(served: Served, name: str) -> None:
    method, path, status, reason = OTHER[name]
    answer = served.client.request(method, path)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_what_fails_inside_onnx_runtime_is_500_and_the_server_goes_on(served: Served) -> None:
    answer = served.client.post(INFER, json=asked(AT=AT | {"data": [99]}))
    assert answer.status_code == 500
    assert "ONNX Runtime" in answer.json()["error"]
    assert served.client.post(INFER, json=asked()).status_code == 200


def test_a_body_of_announced_or_of_streamed_size_can_be_too_large(served: Served) -> None:
    pieces = (b" " * 10_000 for _ in range(11))
    for content in (b" " * (MAX_BODY + 1), pieces):
        with httpx.Client(base_url=f"http://{served.address}") as client:
            answer = client.post(INFER, content=content)
        assert answer.status_code == 413
        assert "100000 bytes" in answer.json()["error"]


def test_a_streamed_body_of_good_size_is_taken(served: Served) -> None:
    body = orjson.dumps(asked())
    assert served.client.post(INFER, content=iter([body[:50], body[50:]])).status_code == 200


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\r\n\r\n", b"POST " + INFER.encode() + b" HTTP/1.1\r\n\r\n", b"GET"])
def test_what_is_no_http_takes_nothing_down(served: Served, raw: bytes) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    assert served.client.post(INFER, json=asked()).status_code == 200


def test_a_client_that_hangs_up_takes_nothing_down(served: Served) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
    assert served.client.post(INFER, json=asked()).status_code == 200


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_triton_client(served: Served, binary: bool) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    inputs = [
        triton.InferInput("X", [2, 4], "FP32"),
        triton.InferInput("AT", [1], "INT64"),
        triton.InferInput("TEXT", [2, 1], "BYTES"),
    ]
    values = [x, np.array([1]), np.array([["a"], ["ü"]], object)]
    for item, value in zip(inputs, values, strict=True):
        item.set_data_from_numpy(value, binary_data=binary)
    names = ["Y", "SAID"]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    client = triton.InferenceServerClient(served.address)
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("fraud", "7")
        assert client.get_model_metadata("fraud")["name"] == "fraud"
        text = {"name": "TEXT", "data_type": "TYPE_STRING", "dims": [-1, 1]}
        assert text in client.get_model_config("fraud")["input"]
        assert [model["state"] for model in client.get_model_repository_index()] == ["READY"]
        for algorithm in ("gzip", "deflate"):
            result = client.infer(
                "fraud", inputs, request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
            )
            np.testing.assert_array_equal(result.as_numpy("Y"), x + x)
        for outputs in (wanted, None):
            result = client.infer("fraud", inputs, outputs=outputs, request_id="r1")
            assert result.get_response()["id"] == "r1"
            np.testing.assert_array_equal(result.as_numpy("Y"), x + x)
            said = [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("SAID").ravel()]
            assert said == ["a", "ü"]
        inputs[0].set_shape([4, 2])
        with pytest.raises(Exception, match=r"expected shape \[-1, 4\].*got \[4, 2\]"):
            client.infer("fraud", inputs)
    finally:
        client.close()


def test_the_series_say_what_happened(served: Served) -> None:
    before = served.metrics()
    served.client.post(INFER, json=asked())
    served.client.post(INFER, json={})
    after = served.metrics()
    labels = 'headgate_model="fraud",headgate_namespace="ns",headgate_revision="fraud-1a2b3c4d"'
    grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
    assert grown[f'headgate_requests_total{{code="200",{labels}}}'] == 1
    assert grown[f'headgate_requests_total{{code="400",{labels}}}'] == 1
    assert grown[f'headgate_schema_violation_total{{{labels},kind="json"}}'] == 1
    assert grown[f"headgate_request_duration_seconds_count{{{labels}}}"] == 2
    assert after[f"headgate_ready{{{labels}}}"] == 1
    assert any(key.startswith("headgate_model_info{") and 'digest="sha256:' in key for key in after)
    assert not any(key.startswith("headgate_feature_bin") and "bin=" in key for key in after)


def test_monitoring_that_is_off_says_why(served: Served) -> None:
    assert "no profile.json" in served.client.get("/v2/models/fraud").json()["headgate"]["monitoring"]


def test_nothing_is_written_anywhere(served: Served) -> None:
    assert served.client.post(INFER, json=asked()).status_code == 200
    assert not served.home.exists()


def test_drains_at_sigterm(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("drain")
    models.mixed(folder / "model.onnx")
    process = Served(folder, "--drain-delay", "0", log=folder / "termination-log")
    host, port = process.address.split(":")
    body = orjson.dumps(asked())
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    try:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head.encode())
            assert b" 100 Continue" in connection.recv(1000)  # so it knows of the request
            connection.sendall(body[:10])
            assert process.client.get("/v2/health/live").status_code == 200
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("draining")
            ready = process.client.get("/v2/health/ready")
            assert (ready.status_code, ready.json()) == (503, {"ready": False})
            connection.sendall(body[10:])
            assert b" 200 OK" in connection.recv(1000)
    finally:
        assert process.stop() == 0
