"""The messages in which Envoy copies a request and its answer (envoy.service.ext_proc.v3), as far as they are read.

Field numbers are Envoy's. On the wire a message has no name, so all of them stand in one package here.
"""

from headgate_serving.protobuf import File, classes

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"

_MESSAGES = {
    "HeaderValue": ("string key = 1", "string value = 2", "bytes raw_value = 3"),
    "HeaderMap": ("repeated HeaderValue headers = 1",),
    "HttpHeaders": ("HeaderMap headers = 1", "bool end_of_stream = 3"),
    "HttpBody": ("bytes body = 1", "bool end_of_stream = 2"),
    "HttpTrailers": ("HeaderMap trailers = 1",),
    "ProcessingRequest": (
        "oneof HttpHeaders request_headers = 2",
        "oneof HttpHeaders response_headers = 3",
        "oneof HttpBody request_body = 4",
        "oneof HttpBody response_body = 5",
        "oneof HttpTrailers request_trailers = 6",
        "oneof HttpTrailers response_trailers = 7",
    ),
    "ProcessingResponse": (),
}
_FILE = File("copies.proto", SERVICE, _MESSAGES, {METHOD: "stream ProcessingRequest ProcessingResponse"}).proto

ProcessingRequest = classes([_FILE])[f"{_FILE.package}.ProcessingRequest"]
