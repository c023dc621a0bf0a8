"""The router: stock Envoy, and an agent beside it that writes Envoy's configuration.

`agent` is the loop. `kube` watches the ModelDeployment and the EndpointSlices, `policy` reads them, `envoy` makes
Envoy's documents of them and hands those to Envoy. `fallback` answers where stable can't. `mirror` sends copies of
requests to a shadowed candidate and to monitors. `published` is what the agent starts with where there is no API
server, `web` and `metrics` are its own port. `drain_hook` asks it for the `drain` before its pod ends.
"""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `headgate-router-agent`; imports the agent only now, so that `config` stays light to import."""
    from headgate_serving.router.agent import run

    return run(arguments)
