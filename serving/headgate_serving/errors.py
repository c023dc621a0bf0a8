"""The errors of everything that runs beside a model.

HeadgateServingError
├── SettingsInvalid            an option or an environment variable can't be right
├── UnusableSecret             a mounted Secret is not there, or holds nothing that can be used
├── ArtifactError
│   ├── ArtifactNotFound       nothing at that URI
│   │   └── BucketNotFound     no such bucket
│   ├── ArtifactUnreachable    the place can't be read from; often worth another try
│   │   ├── HostUnreachable    its name is unknown, or nobody answers there
│   │   └── AccessDenied       it wants other credentials
│   ├── DigestMismatch         other bytes than the digest or the manifest promises
│   │   └── ArtifactTruncated  fewer bytes than the manifest or the model itself promises
│   ├── ArtifactTooLarge       more bytes than it may have
│   ├── ArtifactInvalid        a broken manifest, a path that is none
│   │   ├── PathOutside        a path or a link that leaves the folder
│   │   ├── ModelMissing       no model inside
│   │   └── ExternalDataMissing  the model keeps weights in a file that is not in the artifact
│   ├── ArtifactExists         another one is where this one was to be pushed to
│   └── ClientMissing          the package that speaks with such places is not installed
├── ModelInvalid               ONNX Runtime can't load it, or it has inputs that the protocol can't carry
│   └── OpsetUnsupported       it needs a newer ONNX Runtime
├── DeviceUnavailable          a GPU was asked for, and there is none that works
├── PreflightError             there is no report of a preflight
│   ├── CandidateUnreachable   the version that is to be looked at does not answer
│   ├── StableUnreachable      the version that it is compared with does not answer
│   └── PreflightBroken        a check has ended with an error of its own
├── ProfileInvalid             profile.json can't be read, or belongs to another model
└── RequestError               one request failed; the process goes on
    ├── MalformedRequest       `kind` says which part: json, tensor, datatype, shape, data, output, binary,
    │                              encoding
    ├── UnknownModel           another name or version than the one served here
    ├── BodyTooLarge
    ├── UnsupportedEncoding
    ├── NotReady               still loading, or on the way out
    ├── Overloaded             too much is waiting already
    ├── DeadlineExceeded       it waited for longer than the client is willing to
    └── ExecutionFailed        ONNX Runtime refused or failed
        └── RunTooLong         it was stopped after too long a time

`reason` is what ends up in the termination log and in the conditions of the ModelDeployment; `exit_status` is that of
the process which the error ends; `retryable` says whether the same attempt may succeed later. HTTP status codes are the
server's business (`server/inference.py`).
"""

from typing import ClassVar


class HeadgateServingError(Exception):
    """Anything that this package raises on purpose."""

    reason: ClassVar[str] = "InternalError"
    exit_status: ClassVar[int] = 1
    retryable: bool = False


class SettingsInvalid(HeadgateServingError):
    """An option or an environment variable can't be right."""

    reason = "SettingsInvalid"


class UnusableSecret(HeadgateServingError):
    """A mounted Secret is not there, or holds nothing that can be used. The message holds no part of it."""

    reason = "UnusableSecret"
    exit_status = 33
    retryable = True


class ArtifactError(HeadgateServingError):
    """The artifact could not be brought or verified."""


class ArtifactNotFound(ArtifactError):
    """There is nothing at that URI."""

    reason = "ArtifactNotFound"
    exit_status = 10


class BucketNotFound(ArtifactNotFound):
    """There is no such bucket."""

    reason = "BucketNotFound"
    exit_status = 11


class ArtifactUnreachable(ArtifactError):
    """The place of the artifact can't be read from; `retryable` where another try may help."""

    reason = "ArtifactUnreachable"
    exit_status = 12

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class HostUnreachable(ArtifactUnreachable):
    """The host's name is unknown, or nobody answers there."""

    reason = "HostUnreachable"
    exit_status = 13


class AccessDenied(ArtifactUnreachable):
    """The place wants other credentials than those that were found."""

    reason = "AccessDenied"
    exit_status = 14


class DigestMismatch(ArtifactError):
    """The bytes are not those that the digest or the manifest promises."""

    reason = "DigestMismatch"
    exit_status = 15


class ArtifactTruncated(DigestMismatch):
    """There are fewer bytes than the manifest or the model itself promises."""

    reason = "ArtifactTruncated"
    exit_status = 16


class ArtifactTooLarge(ArtifactError):
    """It has more bytes than it may have. It is not fetched."""

    reason = "ArtifactTooLarge"
    exit_status = 23


class ArtifactInvalid(ArtifactError):
    """What is there is no artifact: a broken manifest, a path that is none."""

    reason = "ArtifactInvalid"
    exit_status = 17


class PathOutside(ArtifactInvalid):
    """A path, or a link, leads out of the artifact's folder."""

    reason = "PathOutside"
    exit_status = 18


class ModelMissing(ArtifactInvalid):
    """There is no model in the artifact."""

    reason = "ModelMissing"
    exit_status = 19


class ExternalDataMissing(ArtifactInvalid):
    """The model keeps weights in a file that is not in the artifact."""

    reason = "ExternalDataMissing"
    exit_status = 20


class ArtifactExists(ArtifactError):
    """Another artifact is at the place that this one was to be pushed to."""

    reason = "ArtifactExists"
    exit_status = 22


class ClientMissing(ArtifactError):
    """The package that speaks with such places is not installed; the message names the extra."""

    reason = "ClientMissing"
    exit_status = 21


class ModelInvalid(HeadgateServingError):
    """ONNX Runtime can't load the model, or the protocol can't carry its tensors."""

    reason = "ModelInvalid"
    exit_status = 30


class OpsetUnsupported(ModelInvalid):
    """The model needs a newer ONNX Runtime than this one."""

    reason = "OpsetUnsupported"
    exit_status = 31


class DeviceUnavailable(HeadgateServingError):
    """A GPU was asked for, and there is none that works."""

    reason = "DeviceUnavailable"
    exit_status = 32


class ProfileInvalid(HeadgateServingError):
    """A reference profile can't be read, or belongs to another model."""

    reason = "ProfileInvalid"


class PreflightError(HeadgateServingError):
    """There is no report of a preflight."""


class CandidateUnreachable(PreflightError):
    """The version that is to be looked at does not answer, or is not ready."""

    reason = "CandidateUnreachable"


class StableUnreachable(PreflightError):
    """The version that it is to be compared with does not answer, or is not ready."""

    reason = "StableUnreachable"


class PreflightBroken(PreflightError):
    """A check has ended with an error that is not the version's."""

    reason = "PreflightBroken"


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


class RunTooLong(ExecutionFailed):
    """The model was stopped, for it took longer than a run may take."""

    reason = "RunTooLong"


class Overloaded(RequestError):
    """Too many requests, or too many bytes of them, are waiting already."""

    reason = "Overloaded"
    retryable = True


class DeadlineExceeded(RequestError):
    """The answer would come later than the client is willing to wait."""

    reason = "DeadlineExceeded"
    retryable = True
