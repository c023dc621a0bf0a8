"""Policies as the operator writes them, made of a spec's parts, and intents with parts of a policy changed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headgate.api.spec import Rollout, Spec, Traffic
from headgate.core.dataplane.policy import resolved
from headgate_serving.router.policy.traffic import Intent


def written(traffic: Mapping[str, Any] | None = None, rollout: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`status.policy` of a ModelDeployment `fraud` with these parts of a spec, each of which is checked by itself."""
    parts = {"traffic": Traffic.model_validate(traffic or {}), "rollout": Rollout.model_validate(rollout or {})}
    spec = Spec.model_validate({"model": {"version": "1", "uri": "s3://models/fraud/1"}}).model_copy(update=parts)
    return resolved("fraud", spec).manifest()


def with_policy(intent: Intent, **changes: Any) -> Intent:
    """The same split with another policy."""
    return replace(intent, policy=replace(intent.policy, **changes))
