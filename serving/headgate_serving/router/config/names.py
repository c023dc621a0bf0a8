"""How clusters are called, and how Envoy turns the names into labels.

A revision has up to three clusters over the same pods, so that three questions get separate counters:

- `fraud-1a2b3c4d/attempts`: what each pod really did with the requests of the users assigned to it.
- `fraud-1a2b3c4d/assigned=true`: what the users assigned to the revision got in the end. An aggregate.
- `fraud-1a2b3c4d/rescue`: stable's pods once more, for requests that the candidate failed. Kept apart,
  because those requests are no random sample: a poisonous request fails everywhere, and would count against
  stable too.

Envoy measures times for the aggregate alone, a rescue included. What a revision's own pods answered it keeps apart
if they are marked as `canary`, its word for pods to look at: so all pods are, but those behind a rescue.

The routes and `clusters` use the functions, `bootstrap` the tags.
"""

from typing import Any

METADATA = "headgate"
"""Namespace of the endpoints' metadata."""

_RESCUERS = ".rescue"


def attempts(revision: str) -> str:
    """The revision's own cluster."""
    return f"{revision}/attempts"


def assigned(revision: str) -> str:
    """The aggregate cluster that the routes name."""
    return f"{revision}/assigned=true"


def rescue(revision: str) -> str:
    """The cluster that takes what another revision failed."""
    return f"{revision}/rescue"


def rescuers(revision: str) -> str:
    """The service, in Envoy's sense, of the pods that rescue: the revision's own, without a mark."""
    return revision + _RESCUERS


def revision_of(service: str) -> str:
    """The revision whose pods are behind a service."""
    return service.removesuffix(_RESCUERS)


def stats_tags(namespace: str, model: str) -> list[dict[str, str]]:
    """Labels of all series of this Envoy: whose router it is, and what a cluster's name says."""
    return [
        {"tag_name": "headgate_namespace", "fixed_value": namespace},
        {"tag_name": "headgate_model", "fixed_value": model},
        {"tag_name": "headgate_revision", "regex": r"^cluster\.(([^./]+)/(?:attempts|assigned=true)\.)"},
        {"tag_name": "headgate_assigned", "regex": r"^cluster\.([^./]+/assigned=(true)\.)"},
    ]


def stats_matcher() -> dict[str, Any]:
    """Keep what a decision or a person reads, and what the agent asks for; Envoy has hundreds more.

    The counters of single endpoints are not stats in Envoy's sense, and always there.
    """
    pods = (
        r"upstream_cx_active|upstream_rq_total|membership_(healthy|total)|"
        r"outlier_detection\.ejections_(active|enforced_total)"
    )
    users = (
        r"upstream_rq_([1-5]xx|time|(per_try_)?timeout|retry(_success|_overflow|_limit_exceeded)?)|"
        r"canary\.upstream_rq_time"
    )
    regexes = (
        rf"^cluster\.[^.]+/(attempts|rescue)\.({pods})$",
        rf"^cluster\.[^.]+/assigned=true\.({users})$",
        r"^http\.inference\.(downstream_rq_[1-5]xx|downstream_(rq|cx)_active)$",
        r"^(cluster_manager\.cds|http\.inference\.rds\.headgate)\.(version_text|update_rejected)$",
        r"^server\.(state|uptime)$",
    )
    return {"inclusion_list": {"patterns": [{"safe_regex": {"regex": regex}} for regex in regexes]}}


ENDPOINT_LABELS_LUA = """
-- Envoy's tag rules do not reach the series of single endpoints, so the label is added on the way out.
function envoy_on_response(handle)
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  body:setBytes((text:gsub('(envoy_cluster_name="([^"/]+)/attempts",envoy_endpoint_address=)',
                           'headgate_revision="%2",%1')))
end
"""
