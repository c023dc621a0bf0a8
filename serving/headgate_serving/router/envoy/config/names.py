"""How clusters are called, and how Envoy turns the names into labels.

A revision has several clusters over the same pods, so that different questions get separate counters:

- `fraud-1a2b3c4d/attempts`: what each pod really did with the requests of the users assigned to it.
- `fraud-1a2b3c4d/assigned=true`: what the users assigned to the revision got in the end. An aggregate.
- `fraud-1a2b3c4d/rescue`: stable's pods once more, for requests that the candidate failed. Kept apart,
  because those requests are no random sample: a poisonous request fails everywhere, and would count against
  stable too.
- `fraud-1a2b3c4d/uncounted-attempts`, and the aggregate `fraud-1a2b3c4d/uncounted` in front of it: the same for what
  says nothing about the version. Testers are no random sample either, and a question about health is no inference.
- `fraud-1a2b3c4d/testers`: the same once more for the inference of testers, where there is a fallback: it can answer
  for a model, but not say how the model is.

Envoy measures times for the aggregate alone, a rescue included. What a revision's own pods answered it keeps apart
if they are marked as `canary`, its word for pods to look at: so all pods are, but those that get requests which are
no evidence.

Pods take REST and gRPC at two ports, so all of this is there twice: `fraud-1a2b3c4d/grpc/attempts` and so on.
`fraud-1a2b3c4d/grpc/streams` is one more aggregate over the attempts, for calls that last as long as the client likes:
their times are nobody's answer times.

`fallback` and `fallback/grpc` are no revision's: behind them is the agent, which answers where stable can't.

The routes and `clusters` use the functions, `bootstrap` the tags.
"""

from typing import Any, Literal, NamedTuple, cast

from headgate.api import contract

METADATA = "headgate"
"""Namespace of the endpoints' metadata."""

Protocol = Literal["http", "grpc"]
"""The protocol of a pod's port: REST or gRPC."""

Kind = Literal["attempts", "assigned=true", "rescue", "uncounted-attempts", "uncounted", "testers", "streams"]

FALLBACK: dict[Protocol, str] = {"http": "fallback", "grpc": "fallback/grpc"}
"""The clusters that are the agent, in the bootstrap."""


class Cluster(NamedTuple):
    """A cluster of a revision: its name is made of these."""

    revision: str
    kind: Kind
    protocol: Protocol = "http"

    def __str__(self) -> str:
        """Its name."""
        way = () if self.protocol == "http" else (self.protocol,)
        return "/".join((self.revision, *way, self.kind))

    @property
    def service(self) -> str:
        """Of a cluster that has pods: what its endpoints' document is called."""
        return str(self).replace("/", ".")

    @staticmethod
    def of_service(name: str) -> "Cluster":
        """The cluster whose endpoints the document holds."""
        revision, *grpc, kind = name.split(".")
        return Cluster(revision, cast("Kind", kind), "grpc" if grpc else "http")


def revision_of(cluster: str) -> str:
    """The revision that a cluster's name begins with."""
    return cluster.split("/", maxsplit=1)[0]


def stats_tags(namespace: str, model: str) -> list[dict[str, str]]:
    """Labels of all series of this Envoy: whose router it is, and what a cluster's name says."""
    return [
        {"tag_name": contract.NAMESPACE, "fixed_value": namespace},
        {"tag_name": contract.MODEL, "fixed_value": model},
        {"tag_name": contract.REVISION, "regex": r"^cluster\.(([^./]+)/(?:grpc/)?(?:attempts|assigned=true)\.)"},
        {"tag_name": contract.ASSIGNED, "regex": r"^cluster\.([^./]+/(?:grpc/)?assigned=(true)\.)"},
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
        r"^inference\.(refused|rejected)\..+$",
        r"^http\.inference\.(downstream_rq_[1-5]xx|downstream_(rq|cx)_active)$",
        r"^(cluster_manager\.warming_clusters|listener_manager\.workers_started)$",
        r"^(cluster_manager\.cds|http\.inference\.rds\.headgate)\.(version_text|update_rejected)$",
        r"^http\.inference\.(api_key_auth\.(allowed|unauthorized)|jwt_authn\.(allowed|denied))$",
        r"^listener\.inference\.ssl\.(handshake|connection_error|fail_verify_(no_cert|error))$",
        r"^server\.(state|uptime|days_until_first_cert_expiring)$",
    )
    return {"inclusion_list": {"patterns": [{"safe_regex": {"regex": regex}} for regex in regexes]}}


ENDPOINT_LABELS_LUA = r"""
-- Envoy's tag rules do not reach the series of single endpoints, so the label is added on the way out. A part of a
-- pattern that may be missing can only be said letter by letter.
-- Since when Envoy counts is said for each revision: whoever reads the counters of one reads that too.
function envoy_on_response(handle)
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  local revisions = {}
  text = text:gsub('(envoy_cluster_name="([^"/]+)/g?r?p?c?/?attempts",envoy_endpoint_address=)',
    function(labels, revision)
      revisions[revision] = true
      return 'headgate_revision="' .. revision .. '",' .. labels
    end)
  text = text:gsub('(envoy_server_uptime{[^}\n]*)(} [^\n]*\n)',
    function(labels, value)
      local lines = {}
      for revision in pairs(revisions) do
        lines[#lines + 1] = labels .. ',headgate_revision="' .. revision .. '"' .. value
      end
      return labels .. value .. table.concat(lines)
    end)
  body:setBytes(text)
end
"""
