"""What operator, router, runtime, monitor and fetcher agree on by name, each once. Whoever needs a name imports it.

`policy` is the other part of the contract: what the operator tells the routers. `docs/architecture.md` explains both.
"""

# Kubernetes.
GROUP = "headgate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
DEPLOYMENTS = "modeldeployments"
"""The resource in URLs and rules."""
MODEL_LABEL = f"{GROUP}/model"
REVISION_LABEL = f"{GROUP}/revision"
COMPONENT_LABEL = f"{GROUP}/component"
RUNTIME_COMPONENT = "runtime"
ROUTER_COMPONENT = "router"
PREFLIGHT_COMPONENT = "preflight"

# Ports, and the names of those that are found by name.
RUNTIME_HTTP_PORT, RUNTIME_GRPC_PORT, RUNTIME_METRICS_PORT = 8000, 8001, 8002
RUNTIME_HEALTH_PORT = 8004
"""Of pods that speak TLS at the ports for inference: the kubelet has no certificate to show there."""
ROUTER_HTTP_PORT, ROUTER_METRICS_PORT, AGENT_PORT = 8080, 8003, 8081
SERVICE_GRPC_PORT = 8001
"""Of a ModelDeployment's Service; REST is at 80."""
HTTP_PORT_NAME, GRPC_PORT_NAME, SAMPLES_PORT_NAME = "http", "grpc", "samples"
HEALTH_PORT_NAME = "health"
METRICS_PORT_NAME, AGENT_METRICS_PORT_NAME = "metrics", "agent-metrics"
"""What a Prometheus scrapes of every pod that has COMPONENT_LABEL."""

# Labels of series: whose they are.
NAMESPACE = "headgate_namespace"
MODEL = "headgate_model"
REVISION = "headgate_revision"
BASELINE = "headgate_baseline"
ROUTER = "headgate_router"
ASSIGNED = "headgate_assigned"

# Series that another part reads.
STARTED = "headgate_start_time_seconds"
"""When a process of Headgate's started, since the epoch."""
RUNTIME_READY = "headgate_ready"
PREDICTIONS = "headgate_prediction_bin_total"
FEATURES = "headgate_feature_bin_total"
FEATURE_REFERENCE = "headgate_feature_reference"
SHADOW_PAIRS = "headgate_shadow_pairs_total"
ROUTER_WEIGHT = "headgate_router_weight"
ROUTER_ROUTES = "headgate_router_routes"
ROUTER_WATCH_AGE = "headgate_router_watch_age_seconds"
REFUSED = "inference_refused"
"""Of a router's proxy, which puts its own name before it: requests that pods whose attempts count have refused, and
whose users got that."""
REJECTED = "inference_rejected"
"""Likewise: requests that a candidate has refused or answered invalidly, and stable was asked. See `Rejection`."""

# Headers.
OWN_HEADERS = "x-headgate-"
"""How the names of headers begin that nobody but the router may send to a pod."""
REVISION_HEADER = f"{OWN_HEADERS}revision"
"""Of an answer: the revision that gave it."""
PREDICTION_HEADER = f"{OWN_HEADERS}prediction-id"
"""Of an answer: the `x-request-id` that the pod got."""
REQUEST_ID_HEADER = "x-request-id"
FALLBACK_HEADER = f"{OWN_HEADERS}fallback"
"""Of an answer: the fallback that gave it."""
LOW_CONFIDENCE_HEADER = f"{OWN_HEADERS}low-confidence"
"""Of an answer: the model is not sure of it."""
INVALID_HEADER = f"{OWN_HEADERS}invalid"
"""Of an answer: a number in it is NaN or infinite."""
REJECTED_HEADER = f"{OWN_HEADERS}rejected"
"""Of an answer, inside a router only: stable is to be asked too."""
CLIENT_HEADER = f"{OWN_HEADERS}client"
"""Of a request: the name of a client that has proved who it is."""
SHADOW_HEADER = f"{OWN_HEADERS}shadow"
"""Of a request: it is a copy."""

# Environment of the serving pods and of the agent.
NAMESPACE_VARIABLE = "HEADGATE_NAMESPACE"
MODEL_VARIABLE = "HEADGATE_MODEL"
REVISION_VARIABLE = "HEADGATE_REVISION"
VERSION_VARIABLE = "HEADGATE_VERSION"
MAX_BYTES_VARIABLE = "HEADGATE_MAX_BYTES"
"""Of the fetcher: how large the artifact may be."""

# What the operator publishes for routers without an API server: a file of a ConfigMap.
PUBLISHED_FILE = "state.json"


# Where a router's agent listens for its preStop hook: a Unix socket in the folder that it shares with the proxy.
DRAIN_SOCKET = "drain.sock"


class Rejection:
    """Labels of REJECTED, and their values."""

    REASON = "reason"
    REFUSAL, INVALID = "refusal", "invalid"
    OUTCOME = "outcome"
    ANSWERED = "answered"
    """Stable gave a good answer."""
    ALIKE = "alike"
    """Stable's answer is invalid as well."""
    UNDECIDED = "undecided"
    """Stable has refused or failed, or nobody has waited for it."""


class AgentArgument:
    """Of `headgate-router-agent`."""

    NAMESPACE = "--namespace"
    MODEL = "--model"
    POD = "--pod"
    XDS_FOLDER = "--xds-dir"
    PUBLISHED = "--published"
    TLS = "--tls"
    VERIFY_CLIENTS = "--verify-clients"
    API_KEYS = "--api-keys"
    API_KEY_HEADER = "--api-key-header"
    JWKS = "--jwks"
    POD_SECRET = "--pod-secret"
    """IDENTITY=FOLDER, once for each Secret to ask pods with: see `pod_tls`."""
    JWT_ISSUER = "--jwt-issuer"
    JWT_AUDIENCE = "--jwt-audience"
    ACCESS_LOG = "--access-log"
    ENVOY_MEMORY = "--envoy-memory-mib"


class DrainArgument:
    """Of `headgate-router-drain`."""

    SOCKET = "--socket"
    SECONDS = "--seconds"


class RuntimeArgument:
    """Of `headgate-serve`."""

    MODEL = "--model"
    NAME = "--name"
    VERSION = "--version"
    HTTP_PORT = "--http-port"
    GRPC_PORT = "--grpc-port"
    METRICS_PORT = "--metrics-port"
    HEALTH_PORT = "--health-port"
    TLS = "--tls"
    BASELINE = "--baseline"


class MonitorArgument:
    """Of `headgate-monitor`."""

    ARTIFACT = "--artifact"
    BASELINE = "--baseline"
    MODEL = "--model"
    ENGINE = "--engine"
    PORT = "--port"


class FetchArgument:
    """Of `headgate-fetch`."""

    URI = "--uri"
    TO = "--to"
    DIGEST = "--digest"
    ANY_MODEL = "--any-model"
    BASELINE_URI = "--baseline-uri"
    BASELINE_TO = "--baseline-to"
    BASELINE_DIGEST = "--baseline-digest"
    ONLY = "--only"
    """A file of the artifact that is brought where it is there, and others are not; several times for several."""


class PreflightArgument:
    """Of `headgate-preflight`."""

    MODEL = "--model"
    """The model's name in requests."""
    CANDIDATE = "--candidate"
    """URL of the version that is looked at."""
    STABLE = "--stable"
    """URL of the version that has the traffic; left out where there is none."""
    CANDIDATE_SECRET = "--candidate-secret"
    """Mount of the Secret to show to the candidate's pods, where those speak TLS."""
    STABLE_SECRET = "--stable-secret"
    """The same for stable's."""
    SERVER_NAME = "--server-name"
    """The DNS name in the certificates of both."""
    ARTIFACT = "--artifact"
    """Folder with what the fetcher brought of the candidate's artifact: samples, profile, evaluation."""
    BASELINE = "--baseline"
    """The same of stable's."""
    CHECK = "--check"
    """NAME=MODE, once for each check that differs from its default."""
    TIMEOUT = "--timeout"
    """Seconds that one answer may take."""
    SECONDS = "--seconds"
    """For all checks together."""
    LOAD_RATE = "--load-rate"
    """Requests per second of the check `load`; left out where the spec states none."""
    LOAD_BUDGET = "--load-budget"
    """Seconds after which an answer of that check is late."""
