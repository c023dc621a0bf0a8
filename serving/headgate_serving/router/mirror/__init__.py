"""Copies of live requests and their answers: from Envoy to a shadowed candidate, and to the monitors of engines that
don't count by themselves.

```
controller.py   starts and stops it as status.traffic says
consumers.py    which consumer gets which copies
tap.py          the socket that Envoy sends copies to         calls.py       HTTP/2 and gRPC on it
exchange.py     a request and its answer, put together        bounds.py      bytes, rate and queue
session.py      the shadow of one candidate                   candidate.py   asks it
comparison.py   whether two answers agree                     forwarding.py  sends samples to monitors
series.py       what is counted
```
"""
