"""Copies of live requests for a candidate, before anyone depends on it.

```
session.py   one candidate beside one stable version: queue, workers, bounds
asking.py    asks the candidate             comparison.py  whether it agrees
rules.py     the user's part of that        series.py      what is counted
```
"""
