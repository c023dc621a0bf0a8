"""The errors of everything that runs beside a model.

HeadgateServingError
├── SettingsInvalid            an option or an environment variable can't be right
├── ArtifactError
│   ├── ArtifactNotFound       nothing at that URI
│   ├── ArtifactUnreachable    the place can't be read from; often worth another try
│   ├── DigestMismatch         other bytes than the digest or the manifest promises
│   └── ArtifactInvalid        no model inside, a broken manifest, a path that leaves the folder
├── ModelInvalid               ONNX Runtime can't load it, or it has inputs that the protocol can't carry
├── ProfileInvalid             profile.json can't be read, or belongs to another model
└── RequestError               one request failed; the process goes on
    ├── MalformedRequest       `kind` says which part: json, tensor, datatype, shape, data, output, binary,
    │                              encoding
    ├── UnknownModel           another name or version than the one served here
    ├── BodyTooLarge
    ├── UnsupportedEncoding
    ├── NotReady               still loading, or on the way out
    └── ExecutionFailed        ONNX Runtime refused or failed

`reason` is what ends up in the termination log and in the conditions of the ModelDeployment; `retryable` says
whether the same attempt may succeed later. HTTP status codes are the server's business (`server/app.py`).
"""

from typing import ClassVar


class HeadgateServingError(Exception):
    """Anything that this package raises on purpose."""

    reason: ClassVar[str] = "InternalError"
    retryable: bool = False


class SettingsInvalid(HeadgateServingError):
    """An option or an environment variable can't be right."""

    reason = "SettingsInvalid"


class ArtifactError(HeadgateServingError):
    """The artifact could not be brought or verified."""


class ArtifactNotFound(ArtifactError):
    """There is nothing at that URI."""

    reason = "ArtifactNotFound"


class ArtifactUnreachable(ArtifactError):
    """The place of the artifact can't be read from; `retryable` where another try may help."""

    reason = "ArtifactUnreachable"

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class DigestMismatch(ArtifactError):
    """The bytes are not those that the digest or the manifest promises."""

    reason = "DigestMismatch"


class ArtifactInvalid(ArtifactError):
    """What is there is no artifact: no model, a broken manifest, a path that leaves the folder."""

    reason = "ArtifactInvalid"


class ModelInvalid(HeadgateServingError):
    """ONNX Runtime can't load the model, or the protocol can't carry its tensors."""

    reason = "ModelInvalid"


class ProfileInvalid(HeadgateServingError):
    """A reference profile can't be read, or belongs to another model."""

    reason = "ProfileInvalid"


class RequestError(HeadgateServingError):
    """One request failed; the process goes on."""


class MalformedRequest(RequestError):
    """The request breaks the protocol or does not fit the model's inputs."""

    reason = "MalformedRequest"

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UnknownModel(RequestError):
    """Another model or version than the one served here was asked for."""

    reason = "UnknownModel"


class BodyTooLarge(RequestError):
    """The body is larger than the server takes."""

    reason = "BodyTooLarge"


class UnsupportedEncoding(RequestError):
    """The body is compressed in a way that the server doesn't know."""

    reason = "UnsupportedEncoding"


class NotReady(RequestError):
    """The model is still loading, or the server is on its way out."""

    reason = "NotReady"
    retryable = True


class ExecutionFailed(RequestError):
    """ONNX Runtime refused or failed to run the model on this input."""

    reason = "ExecutionFailed"
