"""What the project needs on a machine, made once and kept in a cache that all checkouts share.

Runs before the virtual environment exists, so everything in this package is plain standard library.
`python3 -m tools.setup` (called by `make setup`) is the door.
"""
