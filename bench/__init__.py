"""Measurements, as commands: `make calibration`. Nothing here is a test."""
