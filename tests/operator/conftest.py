"""The folder of this file is importable in tests: `world`, `fakes`."""
