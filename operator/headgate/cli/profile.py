"""`headgate profile`: write the reference profile that goes into the artifact beside the model."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Add the subcommand; `run` is what it does."""
    parser = subparsers.add_parser("profile", help="write profile.json from reference data and a model")
    parser.add_argument("--model", required=True, type=Path, help="model.onnx, or a folder with it")
    parser.add_argument("--data", required=True, type=Path, help="reference rows, .csv or .parquet")
    parser.add_argument("--columns", help="the model's columns in its order: a,b,c (default: all, or by input name)")
    parser.add_argument("--out", type=Path, help="where to write (default: profile.json beside the model)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build and write the profile, and say what is in it."""
    from headgate_serving.errors import HeadgateServingError
    from headgate_serving.monitor.reference import profile_of

    names = [name.strip() for name in args.columns.split(",")] if args.columns else None
    out = args.out or (args.model if args.model.is_dir() else args.model.parent) / "profile.json"
    try:
        profile, left_out = profile_of(args.model, args.data, names)
        out.write_text(profile.to_json(), encoding="utf-8")
    except (HeadgateServingError, OSError) as error:
        print(f"headgate profile: {error}", file=sys.stderr)
        return 1
    for name, why in left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    answers = ", ".join(output.name for output in profile.outputs) or "no answers"
    print(f"{out}: {profile.rows} rows, {len(profile.features)} features, {answers}, layout {profile.layout}")
    return 0
