"""Settings of all unit tests. The folder of this file is importable in tests: `patience`, `ports`, `virtual_time`."""

from hypothesis import settings

# The same examples in every run: a failure belongs to the change that is tested. `--hypothesis-profile=default`
# looks further.
settings.register_profile("same-examples", derandomize=True)
settings.load_profile("same-examples")
