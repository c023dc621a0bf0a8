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
    parser.add_argument("--model", type=Path, help="model.onnx, or a folder with it (default: none, features only)")
    parser.add_argument("--data", required=True, type=Path, help="reference rows, .csv or .parquet")
    parser.add_argument("--labels", metavar="COLUMN", help="the column with the true classes: no feature")
    parser.add_argument("--columns", help="the model's columns in its order: a,b,c (default: all, or by input name)")
    parser.add_argument("--out", type=Path, help="where to write (default: profile.json beside the model, or the data)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build and write the profile, and say what is in it. 2 if there can't be one."""
    from headgate_serving.errors import HeadgateServingError
    from headgate_serving.monitor.reference import profile_of

    names = [name.strip() for name in args.columns.split(",")] if args.columns else None
    out = args.out or _default_place(args.model, args.data)
    try:
        profile, left_out = profile_of(args.model, args.data, names, args.labels)
        out.write_text(profile.to_json(), encoding="utf-8")
    except (HeadgateServingError, OSError) as error:
        print(f"headgate profile: {error}", file=sys.stderr)
        return 2
    for name, why in left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    answers = ", ".join(output.name for output in profile.outputs) or "no answers"
    print(f"{out}: {profile.rows} rows, {len(profile.features)} features, {answers}, layout {profile.layout}")
    for one in profile.accuracy:
        print(f"accuracy of {one.output} on {one.rows} rows with {one.label}: {one.correct / max(one.rows, 1):.4f}")
    return 0


def _default_place(model: Path | None, data: Path) -> Path:
    if model is None:
        return data.parent / "profile.json"
    return (model if model.is_dir() else model.parent) / "profile.json"
