"""Copies of live requests and their answers, from Envoy to whoever looks at them.

```
following.py → takers.py   begins and ends it as status.traffic says; who gets which copies
tap.py, calls.py           where Envoy sends them         exchange.py, messages.py   what they are
room.py, waiting.py        how much may be held          pace.py   how often somebody may look
manners.py                 who goes first where cores are short
```
"""
