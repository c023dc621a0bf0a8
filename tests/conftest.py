"""Settings of all unit tests. What several of them need is in `tests/helpers`, which is importable in tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a failure belongs to the change that is tested. `--hypothesis-profile=default`
# looks further. Nor does the time count that a busy machine takes for an example.
settings.register_profile(
    "same-examples", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same-examples")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Of `make unit`: one more than there are cores, for many tests wait for others' processes. Each has its Envoy."""
    return min(8, 1 + len(os.sched_getaffinity(0)))
