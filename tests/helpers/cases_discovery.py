"""What is there, and in which state: health, metadata, configuration, statistics, index, over both protocols."""

from typing import Any

from tritonclient.grpc import service_pb2 as pb

from conformance_reasons import (
    HAS_EXTENSION,
    HAS_EXTENSION_GRPC,
    IS_400,
    IS_INVALID,
    LOADS,
    LOADS_GRPC,
    NO_ALLOW,
    NO_HEAD,
    NOT_FOUND,
    NOT_ITS_NAME,
    NOT_READY_YET,
    NOTHING_MONITORED,
    STATUS_ALONE,
)
from conformance_requests import asked, post
from conformance_table import Among, Call, Case, Rest, answered, called, refused

EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
INPUTS = [
    {"name": "X", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "AT", "datatype": "INT64", "shape": [-1]},
    {"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]},
]
OUTPUTS = [
    {"name": "Y", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "PICK", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "SAID", "datatype": "BYTES", "shape": [-1, 1]},
]
METADATA = {"name": "mixed", "versions": ["7"], "platform": "onnxruntime_onnx", "inputs": INPUTS, "outputs": OUTPUTS}
CONFIG: dict[str, Any] = {
    "name": "mixed",
    "backend": "onnxruntime",
    "max_batch_size": 0,
    "input": [
        {"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 4]},
        {"name": "AT", "data_type": "TYPE_INT64", "dims": [-1]},
        {"name": "TEXT", "data_type": "TYPE_STRING", "dims": [-1, 1]},
    ],
    "output": [
        {"name": "Y", "data_type": "TYPE_FP32", "dims": [-1, 4]},
        {"name": "PICK", "data_type": "TYPE_FP32", "dims": [-1, 4]},
        {"name": "SAID", "data_type": "TYPE_STRING", "dims": [-1, 1]},
    ],
}
INDEX = Among([{"name": "mixed", "version": "7", "state": "READY"}])
STATISTICS = Among([{"name": "mixed", "version": "7"}])


def get(path: str) -> Rest:
    return Rest("GET", path)


REST = [
    Case(
        "server metadata", "mixed", get("/v2"), answered({"name": "headgate", "extensions": EXTENSIONS}), NOT_ITS_NAME
    ),
    Case("server metadata, with a slash", "mixed", get("/v2/"), answered({"name": "headgate"}), NOT_FOUND),
    Case("live, with a slash", "mixed", get("/v2/health/live/"), answered({"live": True}), NOT_FOUND),
    Case("ready, with a slash", "mixed", get("/v2/health/ready/"), answered({"ready": True}), NOT_FOUND),
    Case("metadata, with a slash", "mixed", get("/v2/models/mixed/"), answered({"name": "mixed"}), NOT_FOUND),
    Case("model ready, with a slash", "mixed", get("/v2/models/mixed/ready/"), answered({"ready": True}), NOT_FOUND),
    Case("configuration, with a slash", "mixed", get("/v2/models/mixed/config/"), answered(CONFIG), NOT_FOUND),
    Case(
        "statistics, with a slash",
        "mixed",
        get("/v2/models/mixed/versions/7/stats/"),
        answered({"model_stats": STATISTICS}),
        NOT_FOUND,
    ),
    Case("index, with a slash", "mixed", Rest("POST", "/v2/repository/index/"), answered(INDEX), NOT_FOUND),
    Case(
        "infer, with a slash",
        "mixed",
        post("/v2/models/mixed/infer/", asked()),
        answered(),
        NOT_FOUND,
    ),
    Case("live", "mixed", get("/v2/health/live"), answered({"live": True}), STATUS_ALONE),
    Case("ready", "mixed", get("/v2/health/ready"), answered({"ready": True}), STATUS_ALONE),
    Case(
        "ready, HEAD",
        "mixed",
        Rest("HEAD", "/v2/health/ready", headers={"connection": "close"}),
        answered(b""),
        NO_HEAD,
    ),
    Case(
        "model ready", "mixed", get("/v2/models/mixed/ready"), answered({"name": "mixed", "ready": True}), STATUS_ALONE
    ),
    Case(
        "model ready, with version",
        "mixed",
        get("/v2/models/mixed/versions/7/ready"),
        answered({"name": "mixed", "ready": True}),
        STATUS_ALONE,
    ),
    Case(
        "unknown model ready", "mixed", get("/v2/models/other/ready"), refused(404, "no model 'other'"), NOT_READY_YET
    ),
    Case(
        "unknown version ready",
        "mixed",
        get("/v2/models/mixed/versions/8/ready"),
        refused(404, "no version '8'"),
        NOT_READY_YET,
    ),
    Case("metadata", "mixed", get("/v2/models/mixed"), answered(METADATA)),
    Case("metadata, with version", "mixed", get("/v2/models/mixed/versions/7"), answered(METADATA)),
    Case("metadata, with a query", "mixed", get("/v2/models/mixed?pretty=1"), answered(METADATA)),
    Case("metadata, escaped", "mixed", get("/v2/models/%6dixed"), answered(METADATA), NOT_FOUND),
    Case(
        "metadata says whether it is monitored",
        "mixed",
        get("/v2/models/mixed"),
        answered({"headgate": {}}),
        NOTHING_MONITORED,
    ),
    Case("unknown model's metadata", "mixed", get("/v2/models/other"), refused(404, "no model 'other'")),
    Case("unknown version's metadata", "mixed", get("/v2/models/mixed/versions/8"), refused(404, "no version '8'")),
    Case("a version that is no number", "mixed", get("/v2/models/mixed/versions/x"), refused(404, "no version 'x'")),
    Case("configuration", "mixed", get("/v2/models/mixed/config"), answered(CONFIG)),
    Case("configuration, with version", "mixed", get("/v2/models/mixed/versions/7/config"), answered(CONFIG)),
    Case("unknown model's configuration", "mixed", get("/v2/models/other/config"), refused(404, "no model 'other'")),
    Case(
        "statistics",
        "mixed",
        get("/v2/models/mixed/stats"),
        answered({"model_stats": STATISTICS}),
    ),
    Case(
        "statistics, with version",
        "mixed",
        get("/v2/models/mixed/versions/7/stats"),
        answered({"model_stats": STATISTICS}),
    ),
    Case(
        "statistics of all models",
        "mixed",
        get("/v2/models/stats"),
        answered({"model_stats": STATISTICS}),
    ),
    Case(
        "unknown model's statistics", "mixed", get("/v2/models/other/stats"), refused(404, "no model 'other'"), IS_400
    ),
    Case("index", "mixed", Rest("POST", "/v2/repository/index"), answered(INDEX)),
    Case("index of what is ready", "mixed", Rest("POST", "/v2/repository/index", b'{"ready": true}'), answered(INDEX)),
    Case("load", "mixed", Rest("POST", "/v2/repository/models/mixed/load"), refused(404, "nothing at"), LOADS),
    Case("unload", "mixed", Rest("POST", "/v2/repository/models/mixed/unload"), refused(404, "nothing at"), LOADS),
    Case(
        "shared memory regions",
        "mixed",
        get("/v2/systemsharedmemory/status"),
        refused(404, "nothing at"),
        HAS_EXTENSION,
    ),
    Case("trace settings", "mixed", get("/v2/trace/setting"), refused(404, "nothing at"), HAS_EXTENSION),
    Case("log settings", "mixed", get("/v2/logging"), refused(404, "nothing at"), HAS_EXTENSION),
    Case("unknown path", "mixed", get("/v3"), refused(404, "nothing at /v3")),
    Case("root", "mixed", get("/"), refused(404, "nothing at /")),
    Case("a path below v2", "mixed", get("/v2/nonsense"), refused(404, "nothing at /v2/nonsense")),
    Case("a path below the model", "mixed", get("/v2/models/mixed/nonsense"), refused(404, "nothing at")),
    Case("models without a name", "mixed", get("/v2/models"), refused(404, "nothing at")),
    Case("GET on infer", "mixed", get("/v2/models/mixed/infer"), refused(405, "takes POST")),
    Case("GET on the index", "mixed", get("/v2/repository/index"), refused(405, "takes POST")),
    Case("POST on metadata", "mixed", Rest("POST", "/v2/models/mixed"), refused(405, "takes GET")),
    Case("PUT on infer", "mixed", Rest("PUT", "/v2/models/mixed/infer"), refused(405, "takes POST")),
    Case("DELETE on health", "mixed", Rest("DELETE", "/v2/health/ready"), refused(405, "takes GET")),
    Case(
        "method not allowed says which is",
        "mixed",
        get("/v2/models/mixed/infer"),
        {"status": 405, "headers": {"allow": "POST"}},
        NO_ALLOW,
    ),
    Case(
        "infer of an unknown model", "mixed", Rest("POST", "/v2/models/other/infer"), refused(404, "no model 'other'")
    ),
    Case(
        "infer of an unknown version",
        "mixed",
        Rest("POST", "/v2/models/mixed/versions/8/infer"),
        refused(404, "no version '8'"),
    ),
]

GRPC = [
    Case("live", "mixed", Call("ServerLive", pb.ServerLiveRequest()), called({"live": True})),
    Case("ready", "mixed", Call("ServerReady", pb.ServerReadyRequest()), called({"ready": True})),
    Case("model ready", "mixed", Call("ModelReady", pb.ModelReadyRequest(name="mixed")), called({"ready": True})),
    Case(
        "model ready, with version",
        "mixed",
        Call("ModelReady", pb.ModelReadyRequest(name="mixed", version="7")),
        called({"ready": True}),
    ),
    Case(
        "unknown model ready",
        "mixed",
        Call("ModelReady", pb.ModelReadyRequest(name="other")),
        called({"ready": "nothing"}),
    ),
    Case(
        "unknown version ready",
        "mixed",
        Call("ModelReady", pb.ModelReadyRequest(name="mixed", version="8")),
        called({"ready": "nothing"}),
    ),
    Case(
        "server metadata",
        "mixed",
        Call("ServerMetadata", pb.ServerMetadataRequest()),
        called({"name": "headgate", "extensions": EXTENSIONS}),
        NOT_ITS_NAME,
    ),
    Case(
        "metadata",
        "mixed",
        Call("ModelMetadata", pb.ModelMetadataRequest(name="mixed")),
        called(
            METADATA
            | {
                "inputs": [one | {"shape": [str(dim) for dim in one["shape"]]} for one in INPUTS],
                "outputs": [one | {"shape": [str(dim) for dim in one["shape"]]} for one in OUTPUTS],
            }
        ),
    ),
    Case(
        "unknown model's metadata",
        "mixed",
        Call("ModelMetadata", pb.ModelMetadataRequest(name="other")),
        refused("NOT_FOUND", "no model 'other'"),
    ),
    Case(
        "unknown version's metadata",
        "mixed",
        Call("ModelMetadata", pb.ModelMetadataRequest(name="mixed", version="8")),
        refused("NOT_FOUND", "no version '8'"),
    ),
    Case(
        "configuration",
        "mixed",
        Call("ModelConfig", pb.ModelConfigRequest(name="mixed")),
        called(
            {
                "config": {
                    "name": "mixed",
                    "backend": "onnxruntime",
                    **{
                        role: [one | {"dims": [str(dim) for dim in one["dims"]]} for one in CONFIG[role]]
                        for role in ("input", "output")
                    },
                }
            }
        ),
    ),
    Case(
        "unknown model's configuration",
        "mixed",
        Call("ModelConfig", pb.ModelConfigRequest(name="other")),
        refused("NOT_FOUND", "no model 'other'"),
    ),
    Case(
        "statistics",
        "mixed",
        Call("ModelStatistics", pb.ModelStatisticsRequest(name="mixed")),
        called({"model_stats": STATISTICS}),
    ),
    Case(
        "statistics of all models",
        "mixed",
        Call("ModelStatistics", pb.ModelStatisticsRequest()),
        called({"model_stats": STATISTICS}),
    ),
    Case(
        "unknown model's statistics",
        "mixed",
        Call("ModelStatistics", pb.ModelStatisticsRequest(name="other")),
        refused("NOT_FOUND", "no model 'other'"),
        IS_INVALID,
    ),
    Case("index", "mixed", Call("RepositoryIndex", pb.RepositoryIndexRequest()), called({"models": INDEX})),
    Case(
        "index of what is ready",
        "mixed",
        Call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)),
        called({"models": INDEX}),
    ),
    Case(
        "load",
        "mixed",
        Call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="mixed")),
        refused("UNIMPLEMENTED", "RepositoryModelLoad"),
        LOADS_GRPC,
    ),
    Case(
        "shared memory regions",
        "mixed",
        Call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()),
        refused("UNIMPLEMENTED", "SystemSharedMemoryStatus"),
        HAS_EXTENSION_GRPC,
    ),
    Case(
        "trace settings",
        "mixed",
        Call("TraceSetting", pb.TraceSettingRequest()),
        refused("UNIMPLEMENTED", "TraceSetting"),
        HAS_EXTENSION_GRPC,
    ),
    Case(
        "log settings",
        "mixed",
        Call("LogSettings", pb.LogSettingsRequest()),
        refused("UNIMPLEMENTED", "LogSettings"),
        HAS_EXTENSION_GRPC,
    ),
]
CASES = [*REST, *GRPC]
