"""The resources as users write and read them: pydantic models, their rules, and the CRDs made from both.

`headgate_serving` may import of it what both sides agree on: `contract` and `policy`.
"""

from headgate.api.contract import API_VERSION, COMPONENT_LABEL, GROUP, MODEL_LABEL, REVISION_LABEL, VERSION

__all__ = ["API_VERSION", "COMPONENT_LABEL", "GROUP", "MODEL_LABEL", "REVISION_LABEL", "VERSION"]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "headgate"
