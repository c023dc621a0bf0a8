"""Where a version's profile is, and its baseline's. Called by whatever counts a version's requests, at its start."""

import logging
from pathlib import Path

from ..artifact.digest import PROFILE
from ..errors import ProfileInvalid
from .profile import Profile, read_profile

logger = logging.getLogger(__name__)


def profile_in(folder: Path) -> Profile | None:
    """The one beside the model, if there is one; ProfileInvalid if it can't be right."""
    beside = folder / PROFILE
    return read_profile(beside.read_bytes()) if beside.is_file() else None


def given_profile(path: Path) -> Profile:
    """The one in this file, which has to be there."""
    try:
        return read_profile(path.read_bytes())
    except OSError as error:
        raise ProfileInvalid(f"can't read the profile {path}: {error.strerror or error}") from error


def baseline_profile(folder: Path) -> Profile | None:
    """The one to compare with; that it is missing or damaged is no reason not to serve."""
    try:
        return given_profile(folder / PROFILE)
    except ProfileInvalid as error:
        logger.warning("not compared with the baseline: %s", error)
        return None
