"""What is asked of a router, read from the API server's objects and the command line.

```
traffic.py     the split and the policy, from the status of the ModelDeployment
endpoints.py   the pods of each revision, from EndpointSlices
protection.py  TLS, authentication, access log and memory, from the agent's arguments
pod_tls.py     which pods that speak TLS can be asked, and with what, from the same arguments
```
"""
