"""The artifact: a model with its papers, behind a URI, known by its digest.

`headgate-fetch` runs as the init container of a revision's pods; `headgate digest` uses the same functions.
"""

from .digest import MANIFEST, FileEntry, Manifest, build_manifest, digest_of, read_manifest, write_manifest

__all__ = [
    "MANIFEST",
    "FileEntry",
    "Manifest",
    "build_manifest",
    "digest_of",
    "main",
    "read_manifest",
    "write_manifest",
]


def main() -> int:
    """Entry point of `headgate-fetch`."""
    from .command import main as run

    return run()
