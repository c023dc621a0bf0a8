"""The operator's errors.

    HeadgateError
    ├── KubernetesError          the API server said no, or nothing
    │   ├── Conflict             somebody else wrote in between: reconcile again
    │   │   └── AlreadyThere     what was to be created has been created before
    │   ├── Expired              a version, or a page of a list, is too old: list again
    │   ├── NameTaken            an object with the name of a child belongs to somebody else: it stays as it is
    │   ├── NamespaceTerminating nothing can be created in a namespace that is being deleted
    │   └── NotFound
    ├── Unreadable               an object is not what this version of Headgate writes and reads
    ├── RecordsUnknown           ModelRevisions in use that can't be asked for, or can't be read
    ├── MetricsError             Prometheus said no, or nothing: hold
    │   └── TooMuchData          it has more to say than is read at once
    ├── NotLeading               the lease is not ours for certain: nothing may be written
    ├── NotSynced                what there is in the cluster is not listed yet
    ├── WatchesBroken            the watches ended, or miss events: they begin anew
    ├── TooSlow                  a reconciliation was given up: its requests hang
    └── SettingsError            the operator is configured wrongly: stop

Each knows its condition reason. The queue tries again, with growing delays, whatever it was.
"""


class HeadgateError(Exception):
    """Base of everything that Headgate raises itself."""

    reason = "InternalError"
    again: float | None = None
    """Seconds after which the ModelDeployment is looked at again at the latest, however often this has failed."""


class KubernetesError(HeadgateError):
    """A request to the API server failed."""

    reason = "KubernetesError"
    status = 0
    """The API server's HTTP status; 0 without an answer."""
    retry_after: float | None = None
    """Seconds after which it wants to be asked again, where it has no time."""


class Conflict(KubernetesError):
    """The object was changed since it was read."""

    reason = "Conflict"


class AlreadyThere(Conflict):
    """An object of this name exists."""

    reason = "AlreadyThere"


class Expired(KubernetesError):
    """What was asked for is too old (410)."""

    reason = "Expired"


class NameTaken(KubernetesError):
    """An object with the name of a child is there, and its owner is not the ModelDeployment."""

    reason = "NameTaken"


class NamespaceTerminating(KubernetesError):
    """The namespace is being deleted: nothing can be created in it, and nothing has to be."""

    reason = "NamespaceTerminating"


class NotFound(KubernetesError):
    """The object is not there."""

    reason = "NotFound"


class Unreadable(HeadgateError):
    """An object in the cluster can't be read, for example because another version of Headgate wrote it."""

    reason = "ObjectUnreadable"


class MetricsError(HeadgateError):
    """Prometheus could not be asked, or did not answer with what was asked for."""

    reason = "MetricsUnavailable"


class TooMuchData(MetricsError):
    """Prometheus has more to say than is read at once."""


class RecordsUnknown(HeadgateError):
    """ModelRevisions in use that can't be asked for, or can't be read."""

    reason = "RecordsUnknown"


class NotLeading(HeadgateError):
    """The lease is not ours for certain: nothing may be written."""

    reason = "NotLeading"


class TooSlow(HeadgateError):
    """A reconciliation was given up; the next one goes on from what there is."""

    reason = "TooSlow"


class NotSynced(HeadgateError):
    """What there is in the cluster is not known yet."""

    reason = "NotSynced"


class WatchesBroken(HeadgateError):
    """The watches ended, or miss events: they begin anew."""

    reason = "WatchesBroken"


class SettingsError(HeadgateError):
    """The operator can't start with these settings."""

    reason = "SettingsInvalid"


def cause_of(error: BaseException) -> str:
    """What to log of an error: its text, or its type where it has none, as time-outs and broken connections do."""
    return str(error) or type(error).__name__


def described(error: BaseException) -> str:
    """What to log of an error that ended a piece of work: its cause, or that nothing handles errors of its kind."""
    if isinstance(error, HeadgateError):
        return cause_of(error)
    return f"unhandled {type(error).__name__}: {cause_of(error)}"
