"""Headgate's decisions, as pure functions: no client, no clock, no randomness."""
