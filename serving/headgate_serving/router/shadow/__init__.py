"""Copies of live requests for a candidate, before anyone depends on it.

```
following.py    begins and ends it as status.traffic says; all that the agent knows
session.py      one candidate beside one stable version: queue, workers, bounds
tap.py, calls.py  where Envoy sends its copies    exchange.py, messages.py   what they are
room.py, pace.py, manners.py  how much it may hold, how often it may look, and who goes first
asking.py       asks the candidate                 answers.py, comparison.py  whether it agrees
rules.py        the user's part of that            series.py                  what is counted
```
"""
