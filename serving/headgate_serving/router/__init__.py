"""The router: stock Envoy, and an agent beside it that writes Envoy's configuration.

From outside in: `kube` watches the ModelDeployment and the EndpointSlices, `traffic` and `endpoints`
read them, `config` turns them into Envoy's documents, `files` puts them where Envoy sees them, and
`agent` is the loop around all of it. `mounted` follows the Secrets by which clients and router know each other,
`fallback` answers where stable can't, `copies` feeds `shadow` and `sampling`, and `holding` keeps the port open while
Envoy is away.
"""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `headgate-router-agent`; imports the agent only now, so that `config` stays light to import."""
    from headgate_serving.router.agent import run

    return run(arguments)
