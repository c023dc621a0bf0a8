"""`headgate package`: from a model and its training data to an artifact at its place, and the YAML that asks for it."""

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.api import API_VERSION
from headgate_cli import reference, validate
from headgate_cli.manifest_text import write

if TYPE_CHECKING:
    from headgate_serving.authoring.package import Packaged

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_VERSION = re.compile(r"v?[0-9][A-Za-z0-9._-]*")


def add_parser(subparsers: "Subparsers") -> None:
    """Add the subcommand; `run` is what it does."""
    parser = subparsers.add_parser("package", help="make an artifact of a model and its data, and push it")
    parser.add_argument("--model", required=True, type=Path, help="an .onnx file, or a folder with model.onnx")
    reference.add_options(parser)
    parser.add_argument("--card", type=Path, help="what people should know of the model, as Markdown")
    parser.add_argument("--evaluation", type=Path, help="metrics that have to hold, as JSON: see docs/artifacts.md")
    parser.add_argument("--to", required=True, metavar="URI", help="a path, s3://…, gs://…, oci://HOST/REPOSITORY:TAG")
    parser.add_argument("--overwrite", action="store_true", help="replace another artifact that is there")
    parser.add_argument("--name", help="of the ModelDeployment in the YAML (default: from the URI)")
    parser.add_argument("--version", help="of the model in the YAML (default: from the URI, or from the digest)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make, push, and print the YAML to stdout, all else to stderr. 1 if `--strict` refuses, 2 if it can't be done."""
    from headgate_serving.artifact.push import push
    from headgate_serving.artifact.web import new_client, without_query
    from headgate_serving.errors import HeadgateServingError

    uri = args.to if ":/" in args.to else Path(args.to).absolute().as_uri()
    try:
        with tempfile.TemporaryDirectory(prefix="headgate-") as folder, new_client() as client:
            made = _made(args, Path(folder))
            manifest = _manifest(args, uri, made.manifest.digest)
            if reference.is_refused("package", args, made.reference):
                return 1
            pushed = push(made.folder, made.manifest, uri, client, overwrite=args.overwrite)
            _tell(made, without_query(uri), pushed)
    except (HeadgateServingError, OSError, _Unfit) as error:
        print("headgate package: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    print(f"# digest: {made.manifest.digest}")
    print(write(manifest), end="")
    return 0


def _made(args: argparse.Namespace, into: Path) -> "Packaged":
    from headgate_serving.authoring.package import package

    names = reference.columns_of(args)
    with reference.told("package") as progress:
        return package(
            args.model,
            args.data,
            into,
            names=names,
            label=args.labels,
            card=args.card,
            evaluation=args.evaluation,
            progress=progress,
        )


class _Unfit(Exception):
    """The YAML would not be a valid ModelDeployment."""


def _manifest(args: argparse.Namespace, uri: str, digest: str) -> dict[str, Any]:
    parts = [part for part in re.split("[/@:]", uri.partition(":/")[2]) if part]
    last = parts.pop() if parts else ""
    if parts and _VERSION.fullmatch(last):
        version, last = last, parts[-1]
    else:
        version = digest.removeprefix("sha256:")[:12]
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40].rstrip("-")
    document = {
        "apiVersion": API_VERSION,
        "kind": validate.KIND,
        "metadata": {"name": args.name or name},
        "spec": {"model": {"version": args.version or version, "uri": uri, "digest": digest}},
    }
    for finding in validate.check(document):
        option = {"metadata.name": "--name", "spec.model.version": "--version"}.get(finding.field, "--to")
        raise _Unfit(f"{option}: {finding.value}: {finding.reason}")
    return document


def _tell(made: "Packaged", uri: str, pushed: bool) -> None:
    """What was made, what it lacks, and where it is, for people."""
    reference.tell(made.reference)
    for line in reference.accuracies(made.reference):
        print(line, file=sys.stderr)
    print(f"{'pushed to' if pushed else 'already at'} {uri}: {made.manifest.digest}", file=sys.stderr)
    for path, entry in made.manifest.files.items():
        print(f"  {path}: {entry.size} bytes", file=sys.stderr)
