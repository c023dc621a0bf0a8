"""Envoy: its documents, and everything that talks to it.

```
config/            the documents; PURE
step.py            one step: what Envoy should follow now, and when to look again; PURE
files.py           the documents as files, written in a safe order
discovery.py       where Envoy asks for them
acceptance.py      which policy Envoy takes, and what is followed instead of a refused one
admin.py           what Envoy says of itself
secret_watcher.py  certificates and keys of clients, from mounted Secrets
credentials.py     what those Secrets hold
standby.py         listens on Envoy's port while there is no Envoy
```
"""
