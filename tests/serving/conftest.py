"""The folder of this file is importable in tests: `serving_models`, `serving_process`."""
