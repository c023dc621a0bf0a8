"""`ModelDeployment.spec` as the user writes it.

The operator parses each observed object with `Spec`, `headgate validate` does the same offline, and the CRD's
schema is generated from these models, so a field's description and bounds stand here and nowhere else.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api import fallback_rules, pod_rules, rules, signal_rules
from headgate.api.pod_parts import (
    Affinity,
    Environment,
    Labels,
    ObjectName,
    OptionalName,
    Peer,
    PullSecrets,
    Resources,
    Toleration,
)
from headgate.api.policy import CookieName, HeaderName, ModelName, RequestValue, Tolerance
from headgate.api.preflight import Mode
from headgate.api.quantities import DURATION_PATTERN, PERCENT_PATTERN, SIZE_PATTERN
from headgate.api.ruled import SpecModel, obey, ruled
from headgate.api.rules import Rule

VERSION_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
DIGEST_PATTERN = r"^sha256:[a-f0-9]{64}$"

_ANSWER_TIME = rules.duration_between("1ms", "1h")
AnswerTime = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=20), ruled(_ANSWER_TIME), obey(_ANSWER_TIME)]
"""How long an answer may take: what routers can count and Envoy can wait."""
_PERIOD = rules.duration_between("1ms", "8760h")
Period = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=20), ruled(_PERIOD), obey(_PERIOD)]
_PAUSE = rules.duration_between("0s", "8760h")
Pause = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=20), ruled(_PAUSE), obey(_PAUSE)]
_MARGIN = rules.percent_between(0, 50)
_SHARE = rules.percent_between(0, 100)
Share = Annotated[str, Field(pattern=PERCENT_PATTERN, max_length=9), ruled(_SHARE), obey(_SHARE)]
_AGREEMENT = rules.percent_between(50, 99.9)
Agreement = Annotated[str, Field(pattern=PERCENT_PATTERN, max_length=9), ruled(_AGREEMENT), obey(_AGREEMENT)]
Margin = Annotated[str, Field(pattern=PERCENT_PATTERN, max_length=9), ruled(_MARGIN), obey(_MARGIN)]
_URI = (rules.KNOWN_SCHEME, rules.CLAIM_NAME, rules.READABLE_URI, rules.NO_WAY_UP, rules.NO_ALIAS)
Uri = Annotated[str, Field(min_length=1, max_length=2048), ruled(*_URI), *map(obey, _URI)]
_SIZES, _NAMES = fallback_rules.SIZES, fallback_rules.OUTPUTS_DIFFER
_SIGNALS = (signal_rules.NAMES_DIFFER, signal_rules.NOT_OURS)
Query = Annotated[str, Field(min_length=1, max_length=1000)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
Claim = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
EngineName = Literal["onnxruntime", "custom"]
Words = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=50)]


class Model(SpecModel):
    """Which model to serve. Changing it starts a rollout."""

    RULES = (rules.PLAIN_HTTP_NEEDS_DIGEST,)

    version: Annotated[str, Field(min_length=1, max_length=63, pattern=VERSION_PATTERN)]
    """The name of the version, as people call it."""
    uri: Uri
    """Where the artifact is: a folder with model.onnx (with a custom engine, any folder), or an .onnx file."""
    digest: Annotated[str, Field(pattern=DIGEST_PATTERN, max_length=71)] | None = None
    """SHA-256 of the artifact (`headgate digest`). Verified before the model is loaded."""
    maxSize: Annotated[str, Field(pattern=SIZE_PATTERN, max_length=11)] = "20Gi"  # noqa: N815
    """How large the artifact may be, such as 500Mi: a larger one is not fetched, and no pod takes more of its node's
    disk for it."""


class Autoscaling(SpecModel):
    """A HorizontalPodAutoscaler, instead of a fixed number of pods."""

    RULES = (rules.MIN_NOT_ABOVE_MAX,)

    minReplicas: Annotated[int, Field(ge=1, le=1000)] = 1  # noqa: N815
    """Fewest pods."""
    maxReplicas: Annotated[int, Field(ge=1, le=1000)]  # noqa: N815
    """Most pods."""
    targetCPUUtilization: Annotated[int, Field(ge=1, le=100)] = 70  # noqa: N815
    """Average CPU use, in percent of the request, that the autoscaler aims at."""


class PodTemplate(SpecModel):
    """Where and as whom the serving pods run."""

    nodeSelector: Labels = {}  # noqa: N815
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=50)] = []
    """Taints that the pods tolerate."""
    affinity: Affinity | None = None
    """Node and pod affinity, as in a pod."""
    priorityClassName: OptionalName = None  # noqa: N815
    """The pods' priority class."""
    serviceAccountName: OptionalName = None  # noqa: N815
    """The pods' service account. No token is mounted."""
    imagePullSecrets: PullSecrets = []  # noqa: N815
    """Secrets to pull the runtime's image with."""
    env: Environment = []
    """More environment variables for the runtime."""


class PodTls(SpecModel):
    """Mutual TLS between routers and pods. Changed Secrets are followed without a restart."""

    secret: ObjectName
    """The pods' Secret, in cert-manager's form: tls.crt and tls.key, for the DNS name NAME.NAMESPACE.svc of this
    ModelDeployment, and ca.crt, which has to vouch for the routers."""
    routerSecret: ObjectName  # noqa: N815
    """The routers' Secret, likewise: what they show to pods, and in ca.crt who has to vouch for those."""


class Runtime(SpecModel):
    """What serves the model."""

    RULES = (
        rules.CUSTOM_NEEDS_IMAGE,
        rules.COMMAND_NEEDS_CUSTOM,
        rules.TLS_NEEDS_OWN_ENGINE,
        pod_rules.PODS_SCALE_BY_CPU,
    )

    engine: EngineName = "onnxruntime"
    """Headgate's own server with ONNX Runtime, or (custom) any server of the Open Inference Protocol in your image."""
    image: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """The runtime's image, instead of the operator's default."""
    command: Words = []
    """What is started in the image of a custom engine, instead of the image's entrypoint."""
    args: Words = []
    """Arguments of a custom engine, instead of the image's."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods of each revision."""
    autoscaling: Autoscaling | None = None
    """Replaces `replicas` by an autoscaler."""
    resources: Resources = {}
    """Requests and limits of the runtime's container, for example `nvidia.com/gpu: 1`. Where nothing is said of CPU,
    memory or ephemeral-storage, 100m, 128Mi and 256Mi are requested. A custom engine may write 1Gi to /tmp, or as much
    as its limit of ephemeral-storage."""
    podTemplate: PodTemplate = PodTemplate()  # noqa: N815
    """Where and as whom the pods run."""
    tls: PodTls | None = None
    """Let only the model's routers ask its pods, and nobody read what they say."""


class Selector(SpecModel):
    """A part of a request that tells users apart."""

    RULES: ClassVar[tuple[Rule, ...]] = (rules.HEADER_OR_COOKIE, rules.CLIENTS_OWN_HEADER)

    header: HeaderName | None = None
    """The name of a header."""
    cookie: CookieName | None = None
    """The name of a cookie."""


class Match(Selector):
    """Requests that go to one version whatever the weights are: testers, tenants. They are no evidence."""

    RULES = (rules.HEADER_OR_COOKIE, rules.CLIENTS_OWN_HEADER, rules.EXACT_OR_PREFIX)

    exact: RequestValue | None = None
    """The value. Without this and a prefix, it is enough that the header or cookie is there."""
    prefix: RequestValue | None = None
    """How the value begins."""
    role: Literal["candidate", "stable"] = "candidate"
    """The version that answers. Without a candidate, stable answers all requests."""


class RateLimit(SpecModel):
    """How often one client may ask each router pod; what is more gets 429. Who asks too much takes from nobody else."""

    requests: Annotated[int, Field(ge=1, le=10_000_000)]
    """So many requests in a unit of time, and at once."""
    unit: Literal["Second", "Minute", "Hour"] = "Second"
    """The unit of time."""
    header: HeaderName | None = None
    """The header that names the client. Without one it is the address that the router sees, as of an ingress."""


class Tls(SpecModel):
    """TLS at the routers, instead of plain text. A changed Secret is followed without a restart."""

    secret: ObjectName
    """A Secret of the type kubernetes.io/tls, with tls.crt and tls.key."""
    verifyClients: bool = False  # noqa: N815
    """Let in only clients with a certificate that ca.crt of the Secret vouches for."""


class ApiKeys(SpecModel):
    """Clients show a key that the Secret holds under their name. A changed Secret is followed without a restart."""

    RULES = (rules.CLIENTS_OWN_HEADER,)

    secret: ObjectName
    """A Secret of which each key is a client's name, and the value the client's key, of at least 16 characters."""
    header: HeaderName = "x-api-key"
    """The header with the key. It is not passed on to the model."""


class Jwt(SpecModel):
    """Clients show a token (`Authorization: Bearer …`) that is signed, has not expired, and is made for this model."""

    secret: ObjectName
    """A Secret of which the key jwks.json holds the public keys that sign tokens. It is followed without a restart."""
    issuer: Claim
    """The claim `iss` that a token has to have."""
    audiences: Annotated[list[Claim], Field(min_length=1, max_length=20)]
    """One of them has to be in the claim `aud` of a token."""


class Authentication(SpecModel):
    """Who may ask. All others get 401."""

    RULES = (rules.KEYS_OR_TOKENS,)

    apiKeys: ApiKeys | None = None  # noqa: N815
    """By keys."""
    jwt: Jwt | None = None
    """By tokens."""


class StaticOutput(SpecModel):
    """An output tensor of a static answer."""

    RULES = (fallback_rules.AS_MANY_VALUES_AS_SHAPE, fallback_rules.VALUES_OF_DATATYPE)

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """The output's name."""
    datatype: fallback_rules.Datatype
    """The protocol's datatype."""
    shape: Annotated[
        list[Annotated[int, Field(ge=-1, le=1000)]], Field(min_length=1, max_length=4), ruled(_SIZES), obey(_SIZES)
    ]
    """The shape. If it begins with -1, there are as many rows as the request's first input has, all of them equal."""
    data: Annotated[list[float], Field(max_length=1000)] = []
    """The values in row-major order (1 and 0 for BOOL); those of one row if the shape begins with -1."""
    text: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=1000)] = []
    """The values of BYTES, instead of `data`."""


class StaticAnswer(SpecModel):
    """An answer that needs no model."""

    name: ModelName = "static"
    """What answers and series call it."""
    outputs: Annotated[list[StaticOutput], Field(min_length=1, max_length=16), ruled(_NAMES), obey(_NAMES)]
    """Its output tensors. A request gets those that it asks for."""


class Fallback(SpecModel):
    """Who is asked where stable can't answer: another model, or nobody."""

    RULES = (fallback_rules.MODEL_OR_STATIC,)

    modelDeployment: ModelName | None = None  # noqa: N815
    """A ModelDeployment of this namespace. It is asked through its Service, as any client would."""
    static: StaticAnswer | None = None
    """An answer that is always the same."""


class Traffic(SpecModel):
    """How requests reach the model."""

    RULES = (
        rules.LIMIT_BY_WHAT_IS_LEFT,
        rules.NAMES_NEED_AUTHENTICATION,
        pod_rules.ROUTERS_SCALE_BY_CPU,
        fallback_rules.STATIC_ANSWER_ENDS,
        fallback_rules.LOW_CONFIDENCE_ENDS_STATIC,
    )

    timeout: AnswerTime = "1s"
    """The latency budget: an answer that is later is a failure."""
    retryOnStable: bool = True  # noqa: N815
    """Whether stable answers a request that the candidate failed. The failure still counts as evidence."""
    match: Annotated[list[Match], Field(max_length=20)] = []
    """Requests that go to one version whatever the weights are. The first match counts."""
    affinity: Selector | None = None
    """Keeps users with one version: who has got the candidate keeps it while its weight grows."""
    maxBody: Annotated[str, Field(pattern=SIZE_PATTERN, max_length=11)] = "64Mi"  # noqa: N815
    """The largest request body, such as 10Mi; a larger one gets 413. The runtime takes 64Mi at most by itself."""
    rateLimit: RateLimit | None = None  # noqa: N815
    """How often one client may ask."""
    tls: Tls | None = None
    """Encrypt connections to the routers."""
    authentication: Authentication | None = None
    """Ask clients who they are."""
    clients: Annotated[list[Peer], Field(max_length=20)] = []
    """Who may connect to the routers, as in a NetworkPolicy; everybody where nobody is named. Routers of the same
    namespace may always, for models that fall back to this one. The cluster's network enforces it, where the chart's
    networkPolicies are on."""
    accessLog: Literal["All", "Errors"] = "All"  # noqa: N815
    """Which requests the routers log, a line each, without what is in them."""
    fallback: Annotated[list[Fallback], Field(max_length=4)] = []
    """Who answers in stable's place where it can't, in this order: degraded answers, marked as such."""
    fallbackOnLowConfidence: bool = False  # noqa: N815
    """Whether an answer that the model itself is not sure of is replaced by the fallback's too."""
    routers: Annotated[int, Field(ge=1, le=100)] = 2
    """Router pods."""
    routerAutoscaling: Autoscaling | None = None  # noqa: N815
    """Replaces `routers` by an autoscaler."""
    routerResources: Resources = {}  # noqa: N815
    """Requests and limits of Envoy's container. Where nothing is said of CPU or memory: 100m; 96Mi, at most 512Mi."""


class Step(SpecModel):
    """One step of an explicit ladder."""

    weight: Annotated[float, Field(gt=0, le=100)]
    """The candidate's share of the traffic in percent."""
    hold: Period = "1m"
    """How long to stay, at least."""


class Margins(SpecModel):
    """By how much a candidate may be worse, or different, before it is rolled back."""

    errors: Margin = "0.5%"
    """Failed answers: percentage points above stable's rate."""
    predictions: Margin = "5%"
    """Predictions: percentage points by which a class' share, or that of the scores up to an edge, may move."""


class Latency(SpecModel):
    """When an answer is slow, and how much more often the candidate's may be."""

    enabled: bool = True
    """Whether slow answers are compared. If not, only an answer beyond the latency budget is a bad one."""
    threshold: AnswerTime | None = None
    """An answer that takes longer is a slow one. Without it: twice the time within which stable gave 99% of its answers
    in the half hour before, and at least 5ms."""
    margin: Margin = "1%"
    """Slow answers: percentage points above stable's rate."""


class ShadowOutput(SpecModel):
    """An output that is compared."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name in the model."""
    tolerance: Tolerance | None = None
    """By how much its floating values may differ, instead of the shadow's tolerance."""


class Shadow(SpecModel):
    """Ask the candidate what users ask stable, and compare the answers, before anyone gets its answers.

    A candidate goes that fails requests which stable answers, leaves out what stable's answers have, or gives most
    rows another label. With minAgreement it has to give the same answers.
    """

    enabled: bool = True
    """Whether there is a shadow, where stable has requests."""
    fraction: Share | None = None
    """Part of the requests that the candidate gets copies of. Without it: about twenty a second."""
    maxDuration: Period = "2m"  # noqa: N815
    """Without minAgreement: how long it lasts at most. Where there is little traffic the canary begins then."""
    minPairs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # noqa: N815
    """So many requests have to be compared at least. Without it: 500 with minAgreement, else as many as it takes."""
    minAgreement: Agreement | None = None  # noqa: N815
    """Part of the requests that both versions have to answer alike. Without it half of them need the same labels."""
    tolerance: Tolerance = 0.01
    """Floating outputs a and b are alike if they differ by at most this times max(1, |a|, |b|)."""
    outputs: Annotated[list[ShadowOutput], Field(max_length=50)] = []
    """The outputs that are compared. Without it those of whole numbers, booleans or text; all if there are none."""


class Preflight(SpecModel):
    """What is looked at before a version gets any traffic, copies of requests included. Required: a version that fails
    it is not let in. Advisory: it is only told. Off: it is not looked at."""

    enabled: bool = True
    """Whether there is a preflight."""
    samples: Mode = "Required"
    """The version answers the artifact's golden samples (samples.json) as it did when they were made, and gives a good
    answer to stable's."""
    edgeCases: Mode = "Required"  # noqa: N815
    """It neither crashes, hangs nor answers NaN to odd requests that stable takes: no rows, many rows, NaN, the largest
    and smallest values, unseen categories, long text."""
    robustness: Mode = "Advisory"
    """Its answers hardly change with a little noise, and do not depend on the order of the rows."""
    evaluation: Mode = "Required"
    """What the artifact's evaluation.json states holds: each metric is within its bound."""
    load: Mode = "Required"
    """It keeps up with loadRate for five seconds. Without that it is not looked at."""
    loadRate: Annotated[int, Field(ge=1, le=100)] | None = None  # noqa: N815
    """Requests per second that the preflight sends to the version's pods."""


class UserSignal(SpecModel):
    """What else must not get worse, read from Prometheus by your own queries: a rate of bad events, or a gauge.

    Each selector of a query has to have namespace="…" with the namespace of this ModelDeployment, and each query has to
    give one series for each version, with the label headgate_revision.
    """

    RULES = (signal_rules.COUNTERS_OR_GAUGE,)

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=signal_rules.NAME_PATTERN)]
    """What it is called in the status and in series."""
    events: Query | None = None
    """PromQL: how many bad events there were, ever (a counter)."""
    trials: Query | None = None
    """PromQL: how many events there were in all, good and bad, ever (a counter)."""
    margin: Margin | None = None
    """Bad events: percentage points above stable's rate."""
    query: Query | None = None
    """PromQL, instead of events and trials: a gauge of which the candidate has to keep to a bound."""
    max: Bound | None = None
    """The largest value that the gauge may have."""
    min: Bound | None = None
    """The smallest value that the gauge may have, instead."""
    for_: Annotated[Period | None, Field(alias="for")] = None
    """For how long the candidate has to be beyond the bound to be rolled back, and within it to pass."""
    required: bool = True
    """Whether a candidate has to pass it, and can fail by it. If not, it is only told."""


class Rollout(SpecModel):
    """How a new version earns its traffic."""

    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """Probability of rolling back a version that is not worse, over the whole rollout."""
    riskBudget: Annotated[int, Field(ge=1, le=1_000_000)] = 20  # noqa: N815
    """Bad answers that this rollout may cost, beyond those that stable would have given."""
    maxWeight: Annotated[float, Field(gt=0, le=100)] = 50  # noqa: N815
    """The largest share of the traffic, in percent, before promotion."""
    steps: Annotated[list[Step], Field(max_length=50)] = []
    """An explicit ladder of weights, instead of the largest weight that the risk budget allows."""
    margins: Margins = Margins()
    """By how much the candidate may differ."""
    preflight: Preflight = Preflight()
    """What is looked at before any traffic."""
    schemaChange: Literal["Refused", "Allowed"] = "Refused"  # noqa: N815
    """Whether inputs and outputs may differ from stable's in a way that breaks its clients. The preflight compares
    them."""
    shadow: Shadow = Shadow()
    """Begin with copies of requests, whose answers nobody gets."""
    latency: Latency = Latency()
    """Slow answers, and how many more of them the candidate may give."""
    signals: Annotated[
        list[UserSignal], Field(max_length=signal_rules.MOST_SIGNALS), ruled(*_SIGNALS), *map(obey, _SIGNALS)
    ] = []
    """What else must not get worse, by queries of your own. Where the installation allows them (userSignals)."""
    soak: Pause = "10m"
    """How long the old version stays warm after promotion; until then a rollback is one write."""
    deadline: Period = "2h"
    """How long a candidate may take to become ready before it is rolled back; a rollout that takes longer says so."""
    onDeadline: Literal["Hold", "RollBack", "Promote"] = "Hold"  # noqa: N815
    """What becomes of a candidate that has requests, or copies, and no verdict at the deadline. Hold: it goes on.
    Promote: in its canary, if it has answered requests and no signal leans to harm; else it goes on."""


class Drift(SpecModel):
    """When live inputs count as drifted from the reference profile."""

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Largest Kolmogorov-Smirnov distance (0 to 1) that is no drift."""


class Monitoring(SpecModel):
    """What is watched without ever causing a rollback."""

    drift: Drift = Drift()
    """Drift of live inputs."""
    sample: Share = "10%"
    """Part of the answered requests that the monitor of a custom engine gets copies of. Headgate's own sees all."""


class Governance(SpecModel):
    """Who answers for the model. Copied into every ModelRevision."""

    owner: Annotated[str, Field(max_length=253)] | None = None
    """The team that owns the model."""
    contact: Annotated[str, Field(max_length=253)] | None = None
    """Where the owner can be reached."""
    runbook: Annotated[str, Field(max_length=2048)] | None = None
    """Where to read what to do when it fails."""


class Spec(SpecModel):
    """What the user wants served, and how a new version is let in."""

    RULES = (rules.SLOW_BEFORE_GIVEN_UP,)

    model: Model
    """Which model to serve."""
    runtime: Runtime = Runtime()
    """What serves it."""
    traffic: Traffic = Traffic()
    """How requests reach it."""
    rollout: Rollout = Rollout()
    """How a new version earns its traffic."""
    monitoring: Monitoring = Monitoring()
    """What is watched besides."""
    governance: Governance = Governance()
    """Who answers for it."""
