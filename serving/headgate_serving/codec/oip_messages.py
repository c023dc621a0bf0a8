"""The messages of the protocol over gRPC, and those of gRPC's health and reflection services.

Field numbers are the Open Inference Protocol's, with Triton's additions where its clients call them; health is
grpc.health.v1, reflection grpc.reflection.v1. `MESSAGES` has the classes, `FILES` what reflection tells.
"""

from ..protobuf import File, classes

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

_PARAMETERS = "map InferParameter parameters = "
_TENSOR = ("string name = 1", "string datatype = 2", "repeated int64 shape = 3")
_DURATIONS = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]

_INFERENCE = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live = 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready = 1",),
    "ModelReadyRequest": ("string name = 1", "string version = 2"),
    "ModelReadyResponse": ("bool ready = 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("string name = 1", "string version = 2", "repeated string extensions = 3"),
    "ModelMetadataRequest": ("string name = 1", "string version = 2"),
    "ModelMetadataResponse.TensorMetadata": (*_TENSOR, _PARAMETERS + "4"),
    "ModelMetadataResponse": (
        "string name = 1",
        "repeated string versions = 2",
        "string platform = 3",
        "repeated ModelMetadataResponse.TensorMetadata inputs = 4",
        "repeated ModelMetadataResponse.TensorMetadata outputs = 5",
    ),
    "InferParameter": (
        "oneof bool bool_param = 1",
        "oneof int64 int64_param = 2",
        "oneof string string_param = 3",
        "oneof double double_param = 4",
        "oneof uint64 uint64_param = 5",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents = 1",
        "repeated int32 int_contents = 2",
        "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4",
        "repeated uint64 uint64_contents = 5",
        "repeated float fp32_contents = 6",
        "repeated double fp64_contents = 7",
        "repeated bytes bytes_contents = 8",
    ),
    "ModelInferRequest.InferInputTensor": (*_TENSOR, _PARAMETERS + "4", "InferTensorContents contents = 5"),
    "ModelInferRequest.InferRequestedOutputTensor": ("string name = 1", _PARAMETERS + "2"),
    "ModelInferRequest": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        _PARAMETERS + "4",
        "repeated ModelInferRequest.InferInputTensor inputs = 5",
        "repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ),
    "ModelInferResponse.InferOutputTensor": (*_TENSOR, _PARAMETERS + "4", "InferTensorContents contents = 5"),
    "ModelInferResponse": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        _PARAMETERS + "4",
        "repeated ModelInferResponse.InferOutputTensor outputs = 5",
        "repeated bytes raw_output_contents = 6",
    ),
    "ModelStreamInferResponse": ("string error_message = 1", "ModelInferResponse infer_response = 2"),
    "ModelInput": ("string name = 1", "int32 data_type = 2", "repeated int64 dims = 4", "bool optional = 8"),
    "ModelOutput": ("string name = 1", "int32 data_type = 2", "repeated int64 dims = 3"),
    "ModelConfig": (
        "string name = 1",
        "string platform = 2",
        "int32 max_batch_size = 4",
        "repeated ModelInput input = 5",
        "repeated ModelOutput output = 6",
        "string backend = 17",
    ),
    "ModelConfigRequest": ("string name = 1", "string version = 2"),
    "ModelConfigResponse": ("ModelConfig config = 1",),
    "ModelStatisticsRequest": ("string name = 1", "string version = 2"),
    "StatisticDuration": ("uint64 count = 1", "uint64 ns = 2"),
    "InferStatistics": tuple(f"StatisticDuration {name} = {at}" for at, name in enumerate(_DURATIONS, 1)),
    "ModelStatistics": (
        "string name = 1",
        "string version = 2",
        "uint64 last_inference = 3",
        "uint64 inference_count = 4",
        "uint64 execution_count = 5",
        "InferStatistics inference_stats = 6",
    ),
    "ModelStatisticsResponse": ("repeated ModelStatistics model_stats = 1",),
    "RepositoryIndexRequest": ("string repository_name = 1", "bool ready = 2"),
    "RepositoryIndexResponse.ModelIndex": (
        "string name = 1",
        "string version = 2",
        "string state = 3",
        "string reason = 4",
    ),
    "RepositoryIndexResponse": ("repeated RepositoryIndexResponse.ModelIndex models = 1",),
}
_INFERENCE_METHODS = {
    "ServerLive": "ServerLive",
    "ServerReady": "ServerReady",
    "ModelReady": "ModelReady",
    "ServerMetadata": "ServerMetadata",
    "ModelMetadata": "ModelMetadata",
    "ModelConfig": "ModelConfig",
    "ModelStatistics": "ModelStatistics",
    "RepositoryIndex": "RepositoryIndex",
    "ModelInfer": "ModelInfer",
    "ModelStreamInfer": "stream ModelInferRequest ModelStreamInferResponse",
}
_HEALTH = {
    "HealthCheckRequest": ("string service = 1",),
    "HealthCheckResponse": ("int32 status = 1",),
}
_HEALTH_METHODS = {
    "Check": "HealthCheck",
    "Watch": "answers HealthCheckRequest HealthCheckResponse",
}
_REFLECTION = {
    "ServerReflectionRequest": (
        "string host = 1",
        "oneof string file_by_filename = 3",
        "oneof string file_containing_symbol = 4",
        "oneof string all_extension_numbers_of_type = 6",
        "oneof string list_services = 7",
    ),
    "ServiceResponse": ("string name = 1",),
    "ListServiceResponse": ("repeated ServiceResponse service = 1",),
    "FileDescriptorResponse": ("repeated bytes file_descriptor_proto = 1",),
    "ErrorResponse": ("int32 error_code = 1", "string error_message = 2"),
    "ServerReflectionResponse": (
        "string valid_host = 1",
        "ServerReflectionRequest original_request = 2",
        "oneof FileDescriptorResponse file_descriptor_response = 4",
        "oneof ListServiceResponse list_services_response = 6",
        "oneof ErrorResponse error_response = 7",
    ),
}
_REFLECTION_METHODS = {"ServerReflectionInfo": "stream ServerReflectionRequest ServerReflectionResponse"}


FILES = [
    File("inference.proto", INFERENCE, _INFERENCE, _INFERENCE_METHODS).proto,
    File("health.proto", HEALTH, _HEALTH, _HEALTH_METHODS).proto,
    *(
        File(f"reflection_{service.split('.')[2]}.proto", service, _REFLECTION, _REFLECTION_METHODS).proto
        for service in REFLECTION
    ),
]


MESSAGES = classes(FILES)
