"""`headgate profile`: write the reference profile that goes into the artifact beside the model."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_cli import reference

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Add the subcommand; `run` is what it does."""
    parser = subparsers.add_parser("profile", help="write profile.json from reference data and a model")
    parser.add_argument("--model", type=Path, help="model.onnx, or a folder with it (default: none, features only)")
    reference.add_options(parser)
    parser.add_argument("--out", type=Path, help="where to write (default: profile.json beside the model, or the data)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build and write the profile, and say what is in it. 1 if `--strict` refuses it, 2 if there can't be one."""
    from headgate_serving.authoring.reference import reference_of
    from headgate_serving.errors import HeadgateServingError

    out = args.out or _default_place(args.model, args.data)
    try:
        with reference.told("profile") as progress:
            found = reference_of(args.model, args.data, reference.columns_of(args), args.labels, progress)
        if reference.is_refused("profile", args, found):
            return 1
        out.write_text(found.profile.to_json(), encoding="utf-8")
    except (HeadgateServingError, OSError) as error:
        print(f"headgate profile: {error}", file=sys.stderr)
        return 2
    reference.tell(found)
    profile = found.profile
    answers = ", ".join(output.name for output in profile.outputs) or "no answers"
    print(f"{out}: {profile.rows} rows, {len(profile.features)} features, {answers}, layout {profile.layout}")
    for line in reference.accuracies(found):
        print(line)
    return 0


def _default_place(model: Path | None, data: Path) -> Path:
    if model is None:
        return data.parent / "profile.json"
    return (model if model.is_dir() else model.parent) / "profile.json"
