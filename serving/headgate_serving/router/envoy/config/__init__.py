"""PURE: from split, policy and pods to Envoy's documents.

The agent calls `render` with every change and hands the `Documents` to `files`. Same input, same bytes.

```
bootstrap.py           listeners, metrics, limits: once
clusters.py            CDS and EDS: the revisions' pods, what is tried again, who rescues whom
routes.py              RDS: the split and the time budget
response_buffering.py  keeps an answer until it is complete
copying.py             how a part of the requests is copied
tls.py                 SDS: the certificate of the listener, and the authority of clients' certificates
pod_sockets.py         the same towards pods: which of them are asked over TLS, and with which certificate
authentication.py      ECDS: who may ask
headers.py             the headers that the router makes, and keeps clients from making
access_log.py          a line for each request
overload.py            what happens when memory runs out
budget.py              latency's edges, and how long the candidate may take
names.py               clusters' names, and the labels that Envoy makes of them
layout.py              which file is where
```
"""

from headgate_serving.router.envoy.config.bootstrap import bootstrap_document
from headgate_serving.router.envoy.config.documents import Documents, render
from headgate_serving.router.envoy.config.layout import Layout

__all__ = ["Documents", "Layout", "bootstrap_document", "render"]
