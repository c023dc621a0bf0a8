"""The resources as users write and read them: pydantic models, their rules, and the CRDs made from both.

`headgate_serving` may import of it what both sides agree on: `contract` and `policy`.
"""

GROUP = "headgate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MODEL_LABEL = f"{GROUP}/model"
REVISION_LABEL = f"{GROUP}/revision"
COMPONENT_LABEL = f"{GROUP}/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "headgate"
