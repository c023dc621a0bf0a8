"""Child objects as plain dicts, built from a resource and its revisions by plain functions."""
