"""Imported by Python when it starts, in the pods of the demo's image."""

import os

if name := os.environ.get("FAULT"):
    from demo import faults

    faults.install(name)
