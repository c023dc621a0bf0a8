"""The base of all parts of a spec, and how a rule of `rules` gets onto a field: checked here, and in the CRD as CEL."""

from typing import Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from headgate.api.rules import Rule


def obey(rule: Rule) -> AfterValidator:
    """Field metadata: the rule is checked here."""

    def check(value: Any) -> Any:
        if not rule.holds(value):
            raise ValueError(rule.message)
        return value

    return AfterValidator(check)


def ruled(*several: Rule) -> Any:
    """Field metadata: the rules as CEL in the CRD. `obey` has them checked here."""
    return Field(json_schema_extra={"x-kubernetes-validations": [dict(rule.manifest()) for rule in several]})


class SpecModel(BaseModel):
    """A part of the spec: unknown fields are refused, `RULES` hold over its fields together."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True)
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.RULES:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self
