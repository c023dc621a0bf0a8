"""What can go wrong in the router's agent.

```
RouterError
├── InvalidTraffic      the ModelDeployment asks for a split that can't be right; the last good one stays
├── EnvoyBehind         Envoy doesn't take its new clusters; tried again in a second
├── PublishedUnreadable what the operator published for routers without an API server is no such thing
└── SourceUnavailable   the API server doesn't answer; try again with backoff
    └── WatchExpired    the watch lost its place (410 Gone); list again at once
```
"""


class RouterError(Exception):
    """The root: everything that the agent expects and survives."""


class InvalidTraffic(RouterError):
    """`status.traffic` can't be followed, or a part of the spec can't be read."""


class EnvoyBehind(RouterError):
    """Envoy does not follow what was written for it."""


class PublishedUnreadable(RouterError):
    """The published state can't be read."""


class SourceUnavailable(RouterError):
    """The API server could not be reached or refused."""


class WatchExpired(SourceUnavailable):
    """The resource version of the watch is too old."""
