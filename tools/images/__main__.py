"""`python -m tools.images [NAME…]`: build images and print their references; with --print only print them."""

from __future__ import annotations

import argparse
import json
import sys

from tools.setup import progress
from tools.setup.errors import SetupError

from . import build, references


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="images of the table; all by default")
    parser.add_argument("--print", action="store_true", help="print the references as JSON and build nothing")
    arguments = parser.parse_args()
    known = references()
    wanted = arguments.names or list(known)
    try:
        if not arguments.print:
            for name in wanted:
                build(name)
    except SetupError as error:
        progress.say(f"images: {error}")
        return 1
    print(json.dumps({name: known[name] for name in wanted}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
