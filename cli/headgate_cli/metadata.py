"""The metadata of a manifest as the API server takes it, for `headgate validate`.

The CRD can't say any of this but for the name, which `rules.SHORT_NAME` is about.
"""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from headgate.api.rules import DNS_NAME, MOST_OF_A_NAME

_LABEL = r"^(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?$"
_MOST_OF_ANNOTATIONS = 256 * 1024
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})$"


def qualified(key: str) -> str:
    """The key of a label: a name of at most 63 characters, perhaps behind a DNS name and a slash. Raises ValueError."""
    prefix, slash, name = key.rpartition("/")
    fits = name and re.fullmatch(_LABEL[1:-1], name)
    if not fits or (slash and not (re.fullmatch(DNS_NAME, prefix) and len(prefix) <= MOST_OF_A_NAME)):
        raise ValueError(
            "must be a name of at most 63 letters, digits, dashes, dots and underscores, perhaps behind a DNS name and "
            "a slash"
        )
    return key


def _qualified_but_for_capitals(key: str) -> str:
    qualified(key.lower())
    return key


def _not_too_large(annotations: dict[str, str]) -> dict[str, str]:
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MOST_OF_ANNOTATIONS:
        raise ValueError(f"must have at most {_MOST_OF_ANNOTATIONS} bytes in all")
    return annotations


Time = Annotated[str, Field(pattern=_TIME)]
LabelKey = Annotated[str, AfterValidator(qualified)]
LabelValue = Annotated[str, Field(pattern=_LABEL, max_length=63)]
AnnotationKey = Annotated[str, AfterValidator(_qualified_but_for_capitals)]
Namespace = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63)]


class _Part(BaseModel):
    """Unknown fields are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class OwnerReference(_Part):
    """Whose end is this object's end too."""

    apiVersion: str  # noqa: N815
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None  # noqa: N815


class ObjectMeta(_Part):
    """All fields that there are, those included that only the API server writes: `kubectl get -o yaml` shows them."""

    name: Any = None
    generateName: str | None = None  # noqa: N815
    namespace: Namespace | None = None
    labels: dict[LabelKey, LabelValue] = {}
    annotations: Annotated[dict[AnnotationKey, str], AfterValidator(_not_too_large)] = {}
    finalizers: list[LabelKey] = []
    ownerReferences: list[OwnerReference] = []  # noqa: N815
    managedFields: list[dict[str, Any]] = []  # noqa: N815
    uid: str | None = None
    resourceVersion: str | None = None  # noqa: N815
    selfLink: str | None = None  # noqa: N815
    generation: int | None = None
    creationTimestamp: Time | None = None  # noqa: N815
    deletionTimestamp: Time | None = None  # noqa: N815
    deletionGracePeriodSeconds: int | None = None  # noqa: N815
