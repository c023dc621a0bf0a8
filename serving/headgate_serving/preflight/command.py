"""`headgate-preflight`: make the checks, write the report as the termination message, say it in lines."""

import argparse
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from headgate.api import contract
from headgate.api.preflight import REPORTED, Check, Mode, Report

from ..certificates import client_context, read_identity
from ..errors import CandidateUnreachable, HeadgateServingError, PreflightBroken, SettingsInvalid, StableUnreachable
from ..termination import LIMIT, write_termination_log
from .checks import CHECKS, CheckBroken, made
from .endpoint import Endpoint, OutOfTime, Secured
from .findings import shown
from .subject import Asked, Load, Subject

logger = logging.getLogger(__name__)

_READY_SECONDS = 10.0
_NAMES = tuple(kind.name for kind in CHECKS)


def main(argv: Sequence[str] | None = None) -> int:
    """0 where there is a report, whatever it says; else the status of the error that stood in its way."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    started = time.monotonic()
    try:
        checks = _looked_at(args, started)
    except HeadgateServingError as error:
        print(f"{error.reason}: {error}")
        write_termination_log(error.reason, str(error))
        return error.exit_status
    report = fitting(Report(checks=checks, seconds=round(time.monotonic() - started, 3)))
    for check in report.checks:
        figures = ", ".join(f"{name} {value:g}" for name, value in check.figures.items())
        print(f"{check.outcome:8}{check.name}{f' ({figures})' if figures else ''}: {check.message or 'nothing to say'}")
    print(f"{report.seconds:.3f} s")
    write_termination_log(REPORTED, **report.manifest())
    return 0


def fitting(report: Report) -> Report:
    """The same with messages so short that all of it fits into a termination message."""
    while len(json.dumps({"reason": REPORTED, **report.manifest()})) > LIMIT:
        longest = max(report.checks, key=lambda check: len(json.dumps(check.message)))
        shorter = replace(longest, message=shown(longest.message, len(longest.message) * 3 // 4))
        report = replace(report, checks=[shorter if check is longest else check for check in report.checks])
    return report


def _looked_at(args: argparse.Namespace, started: float) -> list[Check]:
    modes = _modes(args.check)
    deadline = started + args.seconds

    def endpoint(url: str, mount: Path | None) -> Endpoint:
        return Endpoint(url, args.model, args.timeout, deadline, secured=_secured(mount, args.server_name))

    candidate = Asked(endpoint(args.candidate, args.candidate_secret), args.artifact)
    stable = Asked(endpoint(args.stable, args.stable_secret), args.baseline) if args.stable else None
    try:
        _check_reachable(candidate.endpoint, CandidateUnreachable, args.candidate)
        if stable:
            _check_reachable(stable.endpoint, StableUnreachable, args.stable)
        load = Load(args.load_rate, args.load_budget or args.timeout) if args.load_rate else None
        return made(Subject(candidate, stable, load=load), modes)
    except OutOfTime as error:
        raise SettingsInvalid("the time for all checks has to be longer than that of one answer") from error
    except CheckBroken as error:
        raise PreflightBroken(str(error)) from error
    finally:
        for asked in (candidate, stable):
            if asked:
                asked.endpoint.close()


def _secured(mount: Path | None, server_name: str | None) -> Secured | None:
    """UnusableSecret, or SettingsInvalid, if nothing could be asked in this way."""
    if mount is None:
        return None
    if not server_name:
        raise SettingsInvalid(f"a Secret to show to pods needs {contract.PreflightArgument.SERVER_NAME}")
    return Secured(client_context(read_identity(mount), "http/1.1"), server_name)


def _check_reachable(endpoint: Endpoint, kind: type[HeadgateServingError], url: str) -> None:
    answer = endpoint.wait_until_ready(_READY_SECONDS)
    if answer.status != 200:
        what = answer.text or f"answered {answer.status}"
        doubt = "are its pods ready, and may this pod connect to them?"
        if url.startswith("https://"):
            doubt += (
                " Does ca.crt of their Secret vouch for the routers' certificate, and the routers' ca.crt for theirs?"
            )
        raise kind(f"{url}/v2/health/ready: {what}; {doubt}")


def _modes(given: Sequence[str]) -> Mapping[str, Mode]:
    modes: dict[str, Mode] = {}
    for text in given:
        name, _, asked = text.partition("=")
        mode: Mode | None = next((each for each in get_args(Mode) if each == asked), None)
        if name not in _NAMES or mode is None:
            raise SettingsInvalid(
                f"{contract.PreflightArgument.CHECK} {text}: expected one of {', '.join(_NAMES)}, and "
                f"={', ='.join(get_args(Mode))}"
            )
        modes[name] = mode
    return modes


def _parser() -> argparse.ArgumentParser:
    argument = contract.PreflightArgument
    parser = argparse.ArgumentParser("headgate-preflight", description="Look at a version before it gets traffic.")
    parser.add_argument(argument.MODEL, required=True, help="the model's name in requests")
    parser.add_argument(argument.CANDIDATE, required=True, metavar="URL", help="the version that is looked at")
    parser.add_argument(argument.STABLE, metavar="URL", help="the version that has the traffic, if there is one")
    text = "mount of the Secret to show to its pods, where they speak TLS"
    parser.add_argument(argument.CANDIDATE_SECRET, type=Path, metavar="FOLDER", help=text)
    parser.add_argument(argument.STABLE_SECRET, type=Path, metavar="FOLDER", help="the same for the other version")
    parser.add_argument(argument.SERVER_NAME, metavar="NAME", help="the DNS name in the certificates of such pods")
    parser.add_argument(argument.ARTIFACT, required=True, type=Path, help="folder with samples, profile, evaluation")
    parser.add_argument(argument.BASELINE, type=Path, help="the same of stable's artifact")
    parser.add_argument(argument.CHECK, action="append", default=[], metavar="NAME=MODE", help=f"{', '.join(_NAMES)}")
    parser.add_argument(argument.TIMEOUT, type=_seconds, default=1.0, help="seconds that one answer may take")
    parser.add_argument(argument.SECONDS, type=_seconds, default=60.0, help="seconds for all checks together")
    parser.add_argument(argument.LOAD_RATE, type=_rate, metavar="RATE", help="requests per second that it has to bear")
    text = "seconds after which an answer under load is late; the time-out without it"
    parser.add_argument(argument.LOAD_BUDGET, type=_seconds, metavar="SECONDS", help=text)
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0, and up to a day")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no rate from 1 to 100 per second")
    return value
