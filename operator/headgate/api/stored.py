"""Parts of an object's status: frozen dataclasses that pydantic reads and checks, and that mypy checks in `replace`."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter

CONFIG = ConfigDict(extra="ignore", use_attribute_docstrings=True, ser_json_inf_nan="constants")
"""Unknown fields are dropped: an older operator must read a newer one's status."""


class Stored:
    """Base of the parts. Each is a `pydantic.dataclasses.dataclass` with CONFIG."""

    @classmethod
    def read(cls, raw: Any) -> Self:
        """From what the API server gives. Raises pydantic's ValidationError."""
        found: Self = adapter(cls).validate_python(raw)
        return found

    def manifest(self) -> dict[str, Any]:
        """As it is written to the API server: JSON without optional fields that are not set."""
        found: dict[str, Any] = adapter(type(self)).dump_python(self, mode="json", exclude_none=True)
        return found

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of what is stored."""
        return adapter(cls).json_schema()


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def adapter(cls: Any) -> TypeAdapter[Any]:
    """What reads, checks and writes a class or an annotated type; it is made once, for that takes milliseconds."""
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def as_manifest(model: Stored | BaseModel) -> dict[str, Any]:
    """JSON form without unset optional fields, as it is written to the API server."""
    return model.manifest() if isinstance(model, Stored) else model.model_dump(mode="json", exclude_none=True)
