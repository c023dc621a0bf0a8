"""Headgate: puts new versions of a model in front of users only as fast as the evidence allows."""

__version__ = "0.1.0"
