"""`headgate digest`: print what goes into `spec.model.digest`, and write the manifest that HTTP places need."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Add the subcommand; `run` is what it does."""
    parser = subparsers.add_parser("digest", help="print the digest of an artifact")
    parser.add_argument("path", type=Path, help="the artifact's folder, or an .onnx file")
    parser.add_argument("--write", action="store_true", help="also write manifest.json into the folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hash the files; the manifest that may be there is not believed."""
    from headgate_serving.artifact import digest_of, write_manifest
    from headgate_serving.errors import ArtifactError

    if args.write and not args.path.is_dir():
        print(f"headgate digest: {args.path} is no folder; a single file needs no manifest", file=sys.stderr)
        return 1
    try:
        print(write_manifest(args.path).digest if args.write else digest_of(args.path))
    except (ArtifactError, OSError) as error:
        print(f"headgate digest: {error}", file=sys.stderr)
        return 1
    return 0
