"""`s3://BUCKET/PATH`: Amazon's own client, for every store that speaks S3 (MinIO, Ceph, R2, …).

Credentials and region by botocore's usual chain: `AWS_ACCESS_KEY_ID` and its like, `AWS_PROFILE` with `~/.aws`, web
identity, instance metadata; another store by `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`. Without any credentials
requests are not signed, as public buckets want it.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..errors import AccessDenied, ArtifactNotFound, ArtifactUnreachable, BucketNotFound, HostUnreachable
from .digest import MANIFEST, MAX_FILES, Manifest, read_manifest
from .source import Listing, client_package, listed_below
from .web import CannotResume, whole

_PIECE = 1 << 16  # bytes; what is read of a piece is lost when the connection breaks
_NO_KEY = frozenset({"NoSuchKey", "404", "NoSuchVersion"})
_DENIED = frozenset(
    {"AccessDenied", "403", "401", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_CHANGED = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


class S3Source:
    """A folder, or a single `.onnx` object."""

    def __init__(self, bucket: str, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._client = _new_client()
        self._tags: dict[str, str] = {}

    def listing(self) -> Manifest | Listing | None:
        """The manifest beside the files, else what is listed below the path."""
        if self._key.endswith(".onnx"):
            return None
        try:
            return read_manifest(whole(self.read(MANIFEST), self._shown(MANIFEST)))
        except BucketNotFound:
            raise
        except ArtifactNotFound:
            return listed_below(f"{self._key}/", self._listed(), self._shown(""))

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one object from `start` on, if it is still the same one."""
        key = self._key if self._key.endswith(".onnx") else f"{self._key}/{path}"
        if start and not self._tags.get(key):
            raise CannotResume
        rest = {"Range": f"bytes={start}-", "IfMatch": self._tags[key]} if start else {}
        with _translated(self._shown(path)):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **rest)
            if start and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                raise CannotResume
            self._tags[key] = answer.get("ETag", "")
            # `with` would hand out the raw stream, which takes a broken connection for the end.
            with closing(answer["Body"]) as body:
                while piece := body.read(_PIECE):
                    yield piece

    def _listed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        with _translated(self._shown("")):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._key}/")
            for page in pages:
                found |= {item["Key"]: item["Size"] for item in page.get("Contents", [])}
                if len(found) > 2 * MAX_FILES:
                    break
        return found

    def _shown(self, path: str) -> str:
        single = self._key.endswith(".onnx")
        return f"s3://{self._bucket}/{self._key}" + ("" if single or not path else f"/{path}")


def push(bucket: str, key: str, files: Mapping[str, Path]) -> None:
    """Upload files in their order to `s3://bucket/key/PATH`; large ones in parts, each tried again by the client."""
    client = _new_client()
    for path, file in files.items():
        with _translated(f"s3://{bucket}/{key}/{path}"):
            client.upload_file(str(file), bucket, f"{key}/{path}")


def _new_client() -> Any:
    boto3 = client_package("boto3", "s3")
    from botocore import UNSIGNED
    from botocore.config import Config

    settings = Config(
        connect_timeout=10,
        read_timeout=30,
        retries={"total_max_attempts": 1},  # `download.py` tries again, and goes on where it was
        request_checksum_calculation="when_required",  # other stores know no checksums of Amazon's newer kind
        response_checksum_validation="when_required",
    )
    with _translated("s3"):
        session = boto3.Session()
        if session.get_credentials() is None:
            settings = settings.merge(Config(signature_version=UNSIGNED))
        return session.client("s3", config=settings)


@contextmanager
def _translated(shown: str) -> Iterator[None]:
    """Turn botocore's errors into ours; those that may pass are retryable."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        raise _answered(shown, error) from error
    except S3UploadFailedError as error:
        raise (
            _answered(shown, error.__context__)
            if isinstance(error.__context__, ClientError)
            else ArtifactUnreachable(f"{shown}: {error}")
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise HostUnreachable(f"{shown}: {error}", retryable=True) from error
    except (HTTPClientError, IncompleteReadError) as error:
        raise ArtifactUnreachable(f"{shown}: {error}", retryable=True) from error
    except NoCredentialsError as error:
        raise AccessDenied(f"{shown}: {error}") from error
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise ArtifactUnreachable(f"{shown}: {error}") from error


def _answered(shown: str, error: Any) -> Exception:
    """The store's own answer as one of our errors."""
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return BucketNotFound(f"{shown}: there is no such bucket")
    if code in _NO_KEY:
        return ArtifactNotFound(f"{shown} is not there")
    if code in _DENIED or status in (401, 403):
        return AccessDenied(
            f"{shown}: {code}; the credentials need s3:GetObject and s3:ListBucket there (without the latter a missing "
            "object is said to be forbidden)"
        )
    if code in _CHANGED:
        return CannotResume()
    return ArtifactUnreachable(f"{shown}: {code or error}", retryable=status >= 500 or status in (408, 429))
