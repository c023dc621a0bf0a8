"""`headgate-fetch`: the init container of a revision's pods. Says in the termination log how it ended."""

import argparse
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from headgate.api import contract

from ..errors import ArtifactError
from ..termination import write_termination_log
from .digest import PROFILE
from .download import MAX_BYTES, Tools
from .fetch import fetch, fetch_only
from .web import new_client

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, wait: Callable[[float], None] = time.sleep) -> int:
    """Fetch, verify, and say so; if the artifact can't be had as it was promised, the error's own exit status."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold whole URLs, signatures included
    with new_client() as client:
        tools = Tools(client, wait, args.pvc_root, args.attempts, args.max_bytes)
        try:
            digest = _fetched(args, tools)
        except ArtifactError as error:
            logger.error("%s: %s", error.reason, error)  # noqa: TRY400 - a message, not a trace
            write_termination_log(error.reason, str(error))
            return error.exit_status
        warning = _baseline(args, tools)
    write_termination_log("Fetched", warning, **({"digest": digest} if digest else {}))
    return 0


def _fetched(args: argparse.Namespace, tools: Tools) -> str:
    """Bring the artifact or the files of it that were asked for; its digest."""
    if args.only:
        part = fetch_only(args.uri, args.to, args.digest, tools, args.only)
        logger.info("brought %s of %s", ", ".join(part.files) or "no file", part.digest or "an artifact")
        if args.digest and not part.digest:
            logger.warning("the digest was not compared: without a manifest that takes all files of the artifact")
        return part.digest
    fetched = fetch(args.uri, args.to, args.digest, tools, any_model=args.any_model)
    logger.info("brought %d files, %d bytes, %s", fetched.files, fetched.size, fetched.digest)
    return fetched.digest


def _baseline(args: argparse.Namespace, tools: Tools) -> str:
    """Fetch files of the baseline; what goes wrong is a warning, for a model can be served without them."""
    if not args.baseline_uri:
        return ""
    wanted = args.only or [PROFILE]
    try:
        part = fetch_only(args.baseline_uri, args.baseline_to, args.baseline_digest, tools, wanted)
        if PROFILE in part.files or PROFILE not in wanted:
            return ""
        warning = "the baseline has no profile.json: the two versions can't be compared in the baseline's bins"
    except (ArtifactError, OSError) as error:
        warning = f"the baseline's files could not be had: {error}"
    logger.warning("%s", warning)
    return warning


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("headgate-fetch", description="Bring a model artifact and verify it.")
    parser.add_argument(
        contract.FetchArgument.URI,
        required=True,
        help="file:///…, pvc://CLAIM/PATH, http(s)://…, s3://…, gs://…, oci://…, hf://…, models:/…, runs:/…",
    )
    parser.add_argument(contract.FetchArgument.DIGEST, default=None, help="sha256:…; what the artifact has to be")
    parser.add_argument(contract.FetchArgument.ANY_MODEL, action="store_true", help="a folder need not hold model.onnx")
    parser.add_argument(
        contract.FetchArgument.ONLY,
        action="append",
        metavar="NAME",
        help="a file that is brought where it is there, and others are not; several times for several. "
        "Of the baseline: profile.json, if there is none",
    )
    parser.add_argument(contract.FetchArgument.TO, required=True, type=Path, help="the folder to bring it to")
    parser.add_argument(
        contract.FetchArgument.BASELINE_URI, default=None, help="the artifact of which profile.json is brought as well"
    )
    parser.add_argument(contract.FetchArgument.BASELINE_DIGEST, default=None)
    parser.add_argument(contract.FetchArgument.BASELINE_TO, default=Path("/baseline"), type=Path)
    parser.add_argument("--attempts", type=int, default=5, help="tries per file on errors of the network")
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=int(os.environ.get(contract.MAX_BYTES_VARIABLE, MAX_BYTES)),
        help="how large the artifact may be",
    )
    parser.add_argument(
        "--pvc-root",
        type=Path,
        default=Path(os.environ.get("HEADGATE_PVC_ROOT", "/pvc")),
        help="where claims are mounted",
    )
    return parser
