"""Rules of the parts of a pod, in CEL and in Python as those of `rules`. Used by `pod_parts`.

They are what the API server says to the Deployment that is made of these parts: said to the ModelDeployment, the
refusal reaches whoever wrote it.
"""

import re
from collections.abc import Mapping
from typing import Any

from headgate.api import contract
from headgate.api.quantities import quantity
from headgate.api.rules import DNS_NAME, Rule

LABEL_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE_PATTERN = f"^({LABEL_NAME})?$"
LABEL_KEY_PATTERN = f"^({DNS_NAME}/)?{LABEL_NAME}$"
_OF_KUBERNETES = ("cpu", "memory", "ephemeral-storage")
_RESOURCE = f"^(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMGT]i|{DNS_NAME}/{LABEL_NAME})$"
OPERATORS_OWN = (
    contract.NAMESPACE_VARIABLE,
    contract.MODEL_VARIABLE,
    contract.REVISION_VARIABLE,
    contract.VERSION_VARIABLE,
)


def _cel(regex: str) -> str:
    return regex.replace("\\", "\\\\")


def _all_match(pattern: str, names: Mapping[str, Any]) -> bool:
    return all(re.fullmatch(pattern[1:-1], name) for name in names)


KNOWN_RESOURCES = Rule(
    cel=f"self.all(name, name.matches('{_cel(_RESOURCE)}') && !name.contains('kubernetes.io/'))",
    holds=lambda amounts: _all_match(_RESOURCE, amounts) and not any("kubernetes.io/" in name for name in amounts),
    message="must name resources that containers can have: cpu, memory, ephemeral-storage, hugepages-2Mi, or one with "
    "a domain such as nvidia.com/gpu",
)

WHOLE_DEVICES = Rule(
    cel="self.all(name, !name.contains('/') || quantity(string(self[name])).isInteger())",
    holds=lambda amounts: all("/" not in name or quantity(amount) % 1 == 0 for name, amount in amounts.items()),
    message="must have whole numbers of a resource with a domain, such as nvidia.com/gpu",
)


def _not_above(resources: Any) -> bool:
    requests, limits = resources.requests or {}, resources.limits or {}
    return all(name not in limits or quantity(requests[name]) <= quantity(limits[name]) for name in requests)


REQUESTS_NOT_ABOVE_LIMITS = Rule(
    cel="!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
    "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
    holds=_not_above,
    message="must not have requests above limits",
    field="requests",
)


def _devices_alike(resources: Any) -> bool:
    requests, limits = resources.requests or {}, resources.limits or {}
    return all(
        name in _OF_KUBERNETES or (name in limits and quantity(requests[name]) == quantity(limits[name]))
        for name in requests
    )


DEVICES_LIMITED_AS_REQUESTED = Rule(
    cel=f"!has(self.requests) || self.requests.all(name, name in {list(_OF_KUBERNETES)} || (has(self.limits) && "
    "name in self.limits && "
    "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) == 0))",
    holds=_devices_alike,
    message="must have limits equal to requests of all but cpu, memory and ephemeral-storage, which can be shared",
    field="limits",
)

LABEL_KEYS = Rule(
    cel=f"self.all(key, key.matches('{_cel(LABEL_KEY_PATTERN)}'))",
    holds=lambda labels: _all_match(LABEL_KEY_PATTERN, labels),
    message="must have keys that labels can have: at most 63 characters, perhaps behind a DNS name and a slash",
)

SELECTORS_OR_ADDRESSES = Rule(
    cel="has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
    holds=lambda peer: (peer.ipBlock is None) != (peer.podSelector is None and peer.namespaceSelector is None),
    message="must have a podSelector, a namespaceSelector or both, or else an ipBlock",
)

ONE_VALUE = Rule(
    cel="!has(self.valueFrom) || !has(self.value) || self.value == ''",
    holds=lambda variable: variable.valueFrom is None or not variable.value,
    message="must have a value or valueFrom, and not both",
)

NOT_THE_OPERATORS = Rule(
    cel=f"!(self.name in {list(OPERATORS_OWN)})",
    holds=lambda variable: variable.name not in OPERATORS_OWN,
    message=f"must not be one of {', '.join(OPERATORS_OWN)}: Headgate sets these itself",
    field="name",
)

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")

ONE_SOURCE = Rule(
    cel=f"[{', '.join(f'has(self.{name})' for name in _SOURCES)}].filter(given, given).size() == 1",
    holds=lambda source: sum(getattr(source, name) is not None for name in _SOURCES) == 1,
    message=f"must have one of {', '.join(_SOURCES)}",
)

VALUE_ONLY_IF_EQUAL = Rule(
    cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
    holds=lambda toleration: toleration.operator != "Exists" or not toleration.value,
    message="must have no value with the operator Exists",
    field="value",
)

NO_KEY_MEANS_ALL = Rule(
    cel="(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
    holds=lambda toleration: bool(toleration.key) or toleration.operator == "Exists",
    message="must have a key, or the operator Exists, which then tolerates all taints",
    field="key",
)

SECONDS_UNTIL_EVICTED = Rule(
    cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
    holds=lambda toleration: toleration.tolerationSeconds is None or toleration.effect == "NoExecute",
    message="must have the effect NoExecute where there are tolerationSeconds",
    field="tolerationSeconds",
)


def _values_fit(requirement: Any) -> bool:
    values = requirement.values or []
    if requirement.operator in ("In", "NotIn"):
        return bool(values)
    if requirement.operator in ("Gt", "Lt"):
        return len(values) == 1 and re.fullmatch("[-+]?[0-9]{1,18}", values[0]) is not None
    return not values


VALUES_AS_OPERATOR_SAYS = Rule(
    cel="self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : "
    "self.operator in ['Gt', 'Lt'] ? has(self.values) && self.values.size() == 1 && "
    "self.values[0].matches('^[-+]?[0-9]{1,18}$') : !has(self.values) || self.values.size() == 0",
    holds=_values_fit,
    message="must have values with In and NotIn, one whole number with Gt and Lt, none with Exists and DoesNotExist",
    field="values",
)


def _scales_by_cpu(autoscaling: str, resources: str) -> Rule:
    """An autoscaler compares the CPU that is used with the request, so the request can't be nothing.

    Where requests say nothing of CPU it is the limit, and without that Headgate's default.
    """
    amounts = f"self.{resources}"
    zero = "quantity(string({})).compareTo(quantity('0')) == 0"
    requested, limited = (f"{amounts}.{which}['cpu']" for which in ("requests", "limits"))
    has_cpu = f"has({amounts}.requests) && 'cpu' in {amounts}.requests"
    has_limit = f"has({amounts}.limits) && 'cpu' in {amounts}.limits"

    def holds(part: Any) -> bool:
        asked = getattr(part, resources)
        cpu = next((each["cpu"] for which in ("requests", "limits") if "cpu" in (each := asked.get(which) or {})), 1)
        return getattr(part, autoscaling) is None or quantity(cpu) != 0

    return Rule(
        cel=f"!has(self.{autoscaling}) || !has({amounts}) || "
        f"({has_cpu} ? !({zero.format(requested)}) : !({has_limit}) || !({zero.format(limited)}))",
        holds=holds,
        message=f"{autoscaling} needs a CPU request above 0 in {resources}: it compares what is used with that",
        field=resources,
    )


PODS_SCALE_BY_CPU = _scales_by_cpu("autoscaling", "resources")
ROUTERS_SCALE_BY_CPU = _scales_by_cpu("routerAutoscaling", "routerResources")
