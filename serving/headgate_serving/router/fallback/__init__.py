"""Degraded answers where stable can't answer: the chain of `spec.traffic.fallback`, from Envoy's side.

Envoy sends what stable failed, or what no pod is left for, to the agent. It asks the models of the chain in turn and
gives the static answer at last.

```
server.py      what the agent starts
chain.py       one request down the chain: who is asked, for how long, and what is counted
rest.py        the chain over REST, at a Unix socket
grpc.py        the same for ModelInfer
marks.py       how an answer says that it is a fallback's
static.py      the answer that asks nobody
requests.py    what of a request that answer has to fit
```
"""
