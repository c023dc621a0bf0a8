"""Measurements, as commands: `make bench`. Nothing here is a test."""
