"""Rules that a JSON schema can't say, each once in CEL (for the API server) and once in Python (offline).

The schema generator writes the CEL form into the CRD; the models' validators run the Python form. A test
applies one table of manifests to both and compares the verdicts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headgate.api import contract
from headgate.api.quantities import fraction, nanoseconds, seconds

MOST_OF_A_NAME = 253
"""Characters of the name of a Kubernetes object."""


@dataclass(frozen=True)
class Rule:
    """One rule about one value (a field or an object), which `self` names in CEL."""

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""

    def manifest(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message}


def _cel(regex: str) -> str:
    """As it stands in a string of CEL."""
    return regex.replace("\\", "\\\\")


def _whole(regex: str, text: str) -> bool:
    return re.fullmatch(regex, text) is not None


def percent_between(low: float, high: float) -> Rule:
    """A percentage string above `low` and at most `high` percent."""
    return Rule(
        cel=f"double(self.replace('%', '')) > {low:.1f} && double(self.replace('%', '')) <= {high:.1f}",
        holds=lambda text: low / 100 < fraction(text) <= high / 100,
        message=f"must be above {low:g}% and at most {high:g}%",
    )


def duration_between(shortest: str, longest: str) -> Rule:
    """A duration string from `shortest` to `longest`."""
    low, high = nanoseconds(shortest), nanoseconds(longest)
    return Rule(
        # What Go can't hold, from 292 years on, is an error in CEL: it is refused too.
        cel=f"duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')",
        holds=lambda text: low <= nanoseconds(text) <= high,
        message=f"must be a duration from {shortest} to {longest}",
    )


URI_STARTS = (
    *(f"{scheme}://" for scheme in ("file", "pvc", "http", "https", "s3", "gs", "oci", "hf")),
    *("models:/", "runs:/"),  # MLflow's own
)

KNOWN_SCHEME = Rule(
    cel=f"self.matches('^({'|'.join(URI_STARTS)}).+')",
    holds=lambda uri: re.match(f"({'|'.join(URI_STARTS)}).", uri) is not None,
    message="must be a URI with one of the schemes " + ", ".join(URI_STARTS),
)

DNS_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""The name of most Kubernetes objects: a DNS-1123 subdomain."""

_CLAIM = rf"pvc://{DNS_NAME}(/.*)?"
_SHORT_CLAIM = rf"pvc://[^/]{{1,{MOST_OF_A_NAME}}}(/.*)?"

CLAIM_NAME = Rule(
    cel=f"!self.startsWith('pvc://') || (self.matches('^{_cel(_CLAIM)}$') && self.matches('^{_SHORT_CLAIM}$'))",
    holds=lambda uri: not uri.startswith("pvc://") or (_whole(_CLAIM, uri) and _whole(_SHORT_CLAIM, uri)),
    message="must be pvc://CLAIM/PATH, where CLAIM is the name of a PersistentVolumeClaim: lower case letters, digits, "
    "dashes and dots",
)

# A name, perhaps with a port and a user, or an IPv6 address in brackets: nothing that a parser of URIs stumbles over.
_PLACE = r"[a-z0-9]+:(//([A-Za-z0-9._~%!$&()*+,;=:@-]*|\[[0-9A-Fa-f:.]+\](:[0-9]+)?)([/?#].*)?|/([^/].*)?)"

READABLE_URI = Rule(
    cel=f"self.matches('^{_cel(_PLACE)}$') && !self.matches('[[:cntrl:]]')",
    holds=lambda uri: _whole(_PLACE, uri) and not re.search(r"[\x00-\x1f\x7f]", uri),
    message="must have a host, bucket or claim that can be one (IPv6 in brackets), and no control characters",
)

NO_WAY_UP = Rule(
    cel="!self.matches('(^|/)[.][.](/|$)')",
    holds=lambda uri: re.search(r"(^|/)\.\.(/|$)", uri) is None,
    message="must not have .. in its path",
)

_FIXED = r"models:/[^/@]+/[0-9]+|models:/m-[A-Za-z0-9]+(/.*)?|runs:/[A-Za-z0-9_-]+(/.*)?"
NO_ALIAS = Rule(
    cel=f"!(self.startsWith('models:/') || self.startsWith('runs:/')) || self.matches('^({_FIXED})$')",
    holds=lambda uri: not uri.startswith(("models:/", "runs:/")) or _whole(_FIXED, uri),
    message="must be models:/NAME/VERSION, models:/MODEL_ID or runs:/RUN/PATH: a stage or an alias may name another "
    "version tomorrow",
)

PLAIN_HTTP_NEEDS_DIGEST = Rule(
    cel="!self.uri.startsWith('http://') || has(self.digest)",
    holds=lambda model: not model.uri.startswith("http://") or model.digest is not None,
    message="a plain http:// uri needs a digest: anyone on the path could change the artifact",
    field="digest",
)

MIN_NOT_ABOVE_MAX = Rule(
    cel="self.minReplicas <= self.maxReplicas",
    holds=lambda scaling: scaling.minReplicas <= scaling.maxReplicas,
    message="minReplicas must not be above maxReplicas",
    field="minReplicas",
)

# The API server also judges the default of `runtime`, {}, before it fills in the defaults inside.
CUSTOM_NEEDS_IMAGE = Rule(
    cel="!has(self.engine) || self.engine != 'custom' || has(self.image)",
    holds=lambda runtime: runtime.engine != "custom" or runtime.image is not None,
    message="a custom engine needs an image: name the one with your server",
    field="image",
)

COMMAND_NEEDS_CUSTOM = Rule(
    cel="(has(self.engine) && self.engine == 'custom') || "
    "((!has(self.command) || self.command.size() == 0) && (!has(self.args) || self.args.size() == 0))",
    holds=lambda runtime: runtime.engine == "custom" or not (runtime.command or runtime.args),
    message="command and args are a custom engine's: leave them out, or set engine to custom and name your image",
    field="command",
)

TLS_NEEDS_OWN_ENGINE = Rule(
    cel="!has(self.tls) || !has(self.engine) || self.engine != 'custom'",
    holds=lambda runtime: runtime.tls is None or runtime.engine != "custom",
    message="tls is spoken by Headgate's own engine alone: a custom engine's server, its probes and its monitor take "
    "plain text; leave tls out, and let NetworkPolicies say who may ask its pods",
    field="tls",
)

HEADER_OR_COOKIE = Rule(
    cel="has(self.header) != has(self.cookie)",
    holds=lambda where: (where.header is None) != (where.cookie is None),
    message="must name a header or a cookie, and not both",
)

CLIENTS_OWN_HEADER = Rule(
    cel=f"!has(self.header) || !self.header.lowerAscii().startsWith('{contract.OWN_HEADERS}')",
    holds=lambda where: where.header is None or not where.header.lower().startswith(contract.OWN_HEADERS),
    message=f"header must be one that clients send: those that begin with {contract.OWN_HEADERS} are the router's own",
    field="header",
)

EXACT_OR_PREFIX = Rule(
    cel="!has(self.exact) || !has(self.prefix)",
    holds=lambda match: match.exact is None or match.prefix is None,
    message="must have an exact value or a prefix, and not both",
)

KEYS_OR_TOKENS = Rule(
    cel="has(self.apiKeys) != has(self.jwt)",
    holds=lambda who: (who.apiKeys is None) != (who.jwt is None),
    message="must have apiKeys or jwt, and not both",
)

NAMES_NEED_AUTHENTICATION = Rule(
    cel="!has(self.rateLimit) || !has(self.rateLimit.header) || "
    f"!self.rateLimit.header.lowerAscii().startsWith('{contract.OWN_HEADERS}') || "
    f"(has(self.authentication) && self.rateLimit.header.lowerAscii() == '{contract.CLIENT_HEADER}')",
    holds=lambda traffic: (
        traffic.rateLimit is None
        or not (header := (traffic.rateLimit.header or "").lower()).startswith(contract.OWN_HEADERS)
        or (traffic.authentication is not None and header == contract.CLIENT_HEADER)
    ),
    message=f"rateLimit.header must be one that clients send, or {contract.CLIENT_HEADER}, which needs authentication: "
    "without it clients have no names",
    field="rateLimit.header",
)

LIMIT_BY_WHAT_IS_LEFT = Rule(
    cel="!has(self.rateLimit) || !has(self.rateLimit.header) || !has(self.authentication) || "
    "self.rateLimit.header.lowerAscii() != (has(self.authentication.apiKeys) ? "
    "self.authentication.apiKeys.header.lowerAscii() : 'authorization')",
    holds=lambda traffic: (
        traffic.rateLimit is None
        or traffic.rateLimit.header is None
        or traffic.authentication is None
        or traffic.rateLimit.header.lower() != _credentials(traffic.authentication)
    ),
    message="rateLimit.header must not be the one with the client's credentials, which is taken away before clients "
    "are counted: use x-headgate-client, its name",
    field="rateLimit.header",
)


def _credentials(authentication: Any) -> str:
    """The header with them, in lower case."""
    return str(authentication.apiKeys.header).lower() if authentication.apiKeys else "authorization"


def eighths_waited_for(traffic: Any) -> int:
    """Eighths of the time budget after which the router gives up a version of which another may take the place.

    `traffic` is a `spec.Traffic`. The router's own rule is in `headgate_serving.router.envoy.config.budget`.
    """
    if traffic.retryOnStable:
        return 3 if traffic.fallback else 4
    return 6 if traffic.fallback else 8


SLOW_BEFORE_GIVEN_UP = Rule(
    cel="!has(self.rollout.latency) || !has(self.rollout.latency.threshold) "
    "|| duration(self.rollout.latency.threshold).getMilliseconds() * 8 "
    "< duration(self.traffic.timeout).getMilliseconds() * (self.traffic.retryOnStable "
    "? (self.traffic.fallback.size() > 0 ? 3 : 4) : (self.traffic.fallback.size() > 0 ? 6 : 8))",
    holds=lambda spec: (
        spec.rollout.latency.threshold is None
        or _milliseconds(spec.rollout.latency.threshold) * 8
        < _milliseconds(spec.traffic.timeout) * eighths_waited_for(spec.traffic)
    ),
    message="rollout.latency.threshold must be below half of traffic.timeout (3/8 with a fallback), or below all of it "
    "without traffic.retryOnStable (3/4 with a fallback): a later answer is given up, and counts as failed",
    field="rollout.latency.threshold",
)


def _milliseconds(duration: str) -> int:
    """Whole milliseconds, as CEL counts them."""
    return int(round(seconds(duration) * 1e6) // 1000)


SHORT_NAME = Rule(
    cel="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
    holds=lambda _: True,
    message="metadata.name must be a DNS label of at most 40 characters that starts with a letter: "
    "Services and pods are named after it",
    field="metadata.name",
)
