"""The router: stock Envoy, and an agent beside it that writes Envoy's configuration.

`agent` is the loop. `kube` watches the ModelDeployment and the EndpointSlices, `policy` reads them, `envoy` makes
Envoy's documents of them and hands those to Envoy. `fallback` answers where stable can't. `mirror` sends copies of
requests to a shadowed candidate and to monitors. `published` is what the agent starts with where there is no API
server, `web` and `metrics` are its own port. `drain_hook` asks it for the `drain` before its pod ends.
"""

import sys

from headgate_serving.keeper import kept


def main() -> int:
    """Run `headgate-router-agent`, and start the agent anew when it has crashed."""
    return kept("headgate_serving.router.agent", sys.argv[1:])
