"""The parts of a pod that users may set, as Kubernetes has them: checked, and passed on as they were written.

What is wrong here would be refused only when the operator makes a Deployment of it, and whoever wrote it would not
be told.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from headgate.api import pod_rules, rules
from headgate.api.quantities import QUANTITY_PATTERN, quantity
from headgate.api.ruled import SpecModel, obey, ruled


class ReadAs:
    """Field metadata: the value is checked as this model, its schema is the model's, and it stays as it was written."""

    def __init__(self, model: type[SpecModel]) -> None:
        self.model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            validate(value)
            return value

        return core_schema.no_info_wrap_validator_function(
            check,
            handler.generate_schema(self.model),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
        )


def _is_quantity(value: Any) -> Any:
    quantity(value)
    return value


Quantity = Annotated[
    Any,
    AfterValidator(_is_quantity),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "minimum": 0, "maxLength": 32},
    ),
]
_AMOUNTS = (pod_rules.KNOWN_RESOURCES, pod_rules.WHOLE_DEVICES)
Amounts = Annotated[dict[str, Quantity], Field(max_length=20), ruled(*_AMOUNTS), *map(obey, _AMOUNTS)]

LabelValue = Annotated[str, Field(pattern=pod_rules.LABEL_VALUE_PATTERN, max_length=63)]
LabelKey = Annotated[str, Field(pattern=pod_rules.LABEL_KEY_PATTERN, max_length=317)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=50), ruled(pod_rules.LABEL_KEYS), obey(pod_rules.LABEL_KEYS)]
ObjectName = Annotated[str, Field(min_length=1, max_length=rules.MOST_OF_A_NAME, pattern=f"^{rules.DNS_NAME}$")]
OptionalName = Annotated[
    Annotated[str, Field(max_length=rules.MOST_OF_A_NAME, pattern=f"^({rules.DNS_NAME})?$")] | None,
    AfterValidator(lambda name: name or None),
]
"""As in a pod an empty name is none: templates of Helm charts leave it so."""
DataKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]


class ResourceRequirements(SpecModel):
    """What a container gets."""

    RULES = (pod_rules.REQUESTS_NOT_ABOVE_LIMITS, pod_rules.DEVICES_LIMITED_AS_REQUESTED)

    requests: Amounts | None = None
    """What is kept free for it."""
    limits: Amounts | None = None
    """The most that it gets."""


class KeyOf(SpecModel):
    """A key of a ConfigMap or a Secret."""

    name: ObjectName
    """The name of the object."""
    key: DataKey
    """The key."""
    optional: bool | None = None
    """Whether a pod starts without it."""


class FieldOf(SpecModel):
    """A field of the pod."""

    apiVersion: str | None = None  # noqa: N815
    """The version of its schema."""
    fieldPath: Annotated[  # noqa: N815
        str,
        Field(
            pattern=r"^(metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])"
            r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$",
            max_length=400,
        ),
    ]
    """Where it is."""


class ResourceOf(SpecModel):
    """A resource of a container."""

    containerName: str | None = None  # noqa: N815
    """The container."""
    resource: Annotated[
        str,
        Field(pattern=r"^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMGT]i)$", max_length=100),
    ]
    """The resource."""
    divisor: Quantity | None = None
    """In which unit."""


class ValueSource(SpecModel):
    """Where a value comes from."""

    RULES = (pod_rules.ONE_SOURCE,)

    fieldRef: FieldOf | None = None  # noqa: N815
    """A field of the pod."""
    resourceFieldRef: ResourceOf | None = None  # noqa: N815
    """A resource of a container."""
    configMapKeyRef: KeyOf | None = None  # noqa: N815
    """A key of a ConfigMap."""
    secretKeyRef: KeyOf | None = None  # noqa: N815
    """A key of a Secret."""


class EnvironmentVariable(SpecModel):
    """An environment variable."""

    RULES = (pod_rules.ONE_VALUE, pod_rules.NOT_THE_OPERATORS)

    name: Annotated[str, Field(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=256)]
    """Its name."""
    value: str | None = None
    """Its value, as text: numbers and booleans in quotes."""
    valueFrom: ValueSource | None = None  # noqa: N815
    """Where its value comes from."""


class PullSecret(SpecModel):
    """A Secret to pull images with."""

    name: ObjectName
    """Its name."""


class TolerationOfTaint(SpecModel):
    """A taint of nodes that does not keep the pods away."""

    RULES = (pod_rules.VALUE_ONLY_IF_EQUAL, pod_rules.NO_KEY_MEANS_ALL, pod_rules.SECONDS_UNTIL_EVICTED)

    key: Annotated[str, Field(pattern=f"^({pod_rules.LABEL_KEY_PATTERN[1:-1]})?$", max_length=317)] | None = None
    """The taint's key."""
    operator: Literal["Exists", "Equal"] | None = None
    """Whether it has to have the value."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect."""
    tolerationSeconds: Annotated[int, Field(ge=-(2**53), le=2**53)] | None = None  # noqa: N815
    """How long pods stay on a node that gets the taint."""


class Requirement(SpecModel):
    """What a label of a node, or a field of it, has to be."""

    RULES = (pod_rules.VALUES_AS_OPERATOR_SAYS,)

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it is compared."""
    values: Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=50)] | None = None
    """What it is compared with."""


class LabelRequirement(SpecModel):
    """What a label of a pod or a namespace has to be."""

    RULES = (pod_rules.VALUES_AS_OPERATOR_SAYS,)

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared."""
    values: Annotated[list[LabelValue], Field(max_length=50)] | None = None
    """What it is compared with."""


class NodeTerm(SpecModel):
    """Which nodes."""

    matchExpressions: Annotated[list[Requirement], Field(max_length=20)] | None = None  # noqa: N815
    """By labels."""
    matchFields: Annotated[list[Requirement], Field(max_length=20)] | None = None  # noqa: N815
    """By fields."""


class NodeTerms(SpecModel):
    """Any of these."""

    nodeSelectorTerms: Annotated[list[NodeTerm], Field(min_length=1, max_length=20)]  # noqa: N815
    """Which nodes."""


Weight = Annotated[int, Field(ge=1, le=100)]


class PreferredNodes(SpecModel):
    """Nodes that are better than others."""

    weight: Weight
    """How much better."""
    preference: NodeTerm
    """Which nodes."""


class NodeAffinity(SpecModel):
    """On which nodes pods run."""

    requiredDuringSchedulingIgnoredDuringExecution: NodeTerms | None = None  # noqa: N815
    """On no others."""
    preferredDuringSchedulingIgnoredDuringExecution: (  # noqa: N815
        Annotated[list[PreferredNodes], Field(max_length=20)] | None
    ) = None
    """Rather than on others."""


class LabelSelector(SpecModel):
    """By their labels."""

    matchLabels: Labels | None = None  # noqa: N815
    """They have these."""
    matchExpressions: Annotated[list[LabelRequirement], Field(max_length=20)] | None = None  # noqa: N815
    """All of these hold."""


Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F:.]{2,45}/[0-9]{1,3}$", max_length=49)]


class IpBlock(SpecModel):
    """Addresses."""

    cidr: Cidr
    """A range, such as 10.0.0.0/8."""
    except_: Annotated[list[Cidr], Field(max_length=20)] | None = Field(default=None, alias="except")
    """Ranges in it that are left out."""


class NetworkPeer(SpecModel):
    """Who connects: pods, or addresses."""

    RULES = (pod_rules.SELECTORS_OR_ADDRESSES,)

    podSelector: LabelSelector | None = None  # noqa: N815
    """Pods by their labels, of the model's namespace unless namespaceSelector says otherwise."""
    namespaceSelector: LabelSelector | None = None  # noqa: N815
    """Pods of which namespaces."""
    ipBlock: IpBlock | None = None  # noqa: N815
    """Addresses outside of the cluster."""


class PodTerm(SpecModel):
    """Near to, or far from which pods."""

    topologyKey: LabelKey  # noqa: N815
    """The label of nodes that says what is near."""
    labelSelector: LabelSelector | None = None  # noqa: N815
    """Which pods."""
    namespaces: Annotated[list[ObjectName], Field(max_length=50)] | None = None
    """Of which namespaces."""
    namespaceSelector: LabelSelector | None = None  # noqa: N815
    """Of which namespaces, by their labels."""
    matchLabelKeys: Annotated[list[LabelKey], Field(max_length=20)] | None = None  # noqa: N815
    """Labels that are as the pod's own."""
    mismatchLabelKeys: Annotated[list[LabelKey], Field(max_length=20)] | None = None  # noqa: N815
    """Labels that are not as the pod's own."""


class PreferredPods(SpecModel):
    """Places that are better than others."""

    weight: Weight
    """How much better."""
    podAffinityTerm: PodTerm  # noqa: N815
    """Which pods."""


class PodAffinity(SpecModel):
    """Near to, or far from which pods."""

    requiredDuringSchedulingIgnoredDuringExecution: (  # noqa: N815
        Annotated[list[PodTerm], Field(max_length=20)] | None
    ) = None
    """Nowhere else."""
    preferredDuringSchedulingIgnoredDuringExecution: (  # noqa: N815
        Annotated[list[PreferredPods], Field(max_length=20)] | None
    ) = None
    """Rather than elsewhere."""


class PodPlaces(SpecModel):
    """Where pods run."""

    nodeAffinity: NodeAffinity | None = None  # noqa: N815
    """On which nodes."""
    podAffinity: PodAffinity | None = None  # noqa: N815
    """Near to which pods."""
    podAntiAffinity: PodAffinity | None = None  # noqa: N815
    """Far from which pods."""


def _names_differ(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len({item["name"] for item in items}) < len(items):
        raise ValueError("must have different names")
    return items


_BY_NAME = Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})

Resources = Annotated[dict[str, Any], ReadAs(ResourceRequirements)]
Toleration = Annotated[dict[str, Any], ReadAs(TolerationOfTaint)]
Peer = Annotated[dict[str, Any], ReadAs(NetworkPeer)]
Affinity = Annotated[dict[str, Any], ReadAs(PodPlaces)]
PullSecrets = Annotated[
    list[Annotated[dict[str, Any], ReadAs(PullSecret)]], Field(max_length=20), _BY_NAME, AfterValidator(_names_differ)
]
Environment = Annotated[
    list[Annotated[dict[str, Any], ReadAs(EnvironmentVariable)]],
    Field(max_length=100),
    _BY_NAME,
    AfterValidator(_names_differ),
]
