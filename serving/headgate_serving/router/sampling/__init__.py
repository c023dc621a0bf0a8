"""Samples of live requests for the monitors of engines that have none in their own process.

`forwarding.py` sends them to a pod of the version that answered; `series.py` is what is said of it.
"""
