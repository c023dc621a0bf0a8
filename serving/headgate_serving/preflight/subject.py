"""What the checks look at: a candidate, the stable version where there is one, and the files of both artifacts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..artifact.digest import PROFILE
from ..errors import ProfileInvalid
from ..monitor.profile import Profile, read_profile
from .endpoint import Endpoint, Kind, Reply
from .golden import Samples, SamplesInvalid, bounded, read_samples
from .requests import Request
from .signature import MetadataInvalid, Signature, read_signature

MAX_PROFILE = 16 << 20


class Asked:
    """One version: its endpoint, its metadata and the files of its artifact."""

    def __init__(self, endpoint: Endpoint, folder: Path | None) -> None:
        self.endpoint = endpoint
        self.folder = folder

    @cached_property
    def signature(self) -> Signature:
        """MetadataInvalid if it can't be had."""
        raw = self.endpoint.metadata()
        if raw.status != 200:
            raise MetadataInvalid(f"the metadata can't be had: {raw.text or f'answered {raw.status}'}")
        return read_signature(raw.body)

    @property
    def told(self) -> Signature | None:
        """The metadata; None where nothing can be read in it."""
        try:
            signature = self.signature
        except MetadataInvalid:
            return None
        return signature if signature.told else None

    @cached_property
    def samples(self) -> Samples | None:
        """None if the artifact has none; SamplesInvalid."""
        return read_samples(self.folder)

    @property
    def usable_samples(self) -> Samples:
        """The samples, none where they can't be read."""
        try:
            return self.samples or Samples()
        except SamplesInvalid:
            return Samples()

    @cached_property
    def profile(self) -> Profile | None:
        """None if the artifact has none that can be read."""
        try:
            raw = bounded(self.folder, PROFILE, MAX_PROFILE)
            return read_profile(raw) if raw is not None else None
        except (ProfileInvalid, SamplesInvalid):
            return None

    def golden(self, signature: Signature) -> list[Request]:
        """Requests of the samples that a model with this signature takes."""
        return [one.request for one in self.usable_samples.samples if signature.takes(one.request)]


@dataclass(frozen=True)
class Load:
    """What a version has to keep up with."""

    rate: float
    """Requests per second."""
    budget: float
    """Seconds after which an answer is late."""


@dataclass
class Subject:
    """The version that is looked at, and the one that has the traffic."""

    candidate: Asked
    stable: Asked | None
    left_alone: str = ""
    """Why stable is not asked any more."""
    load: Load | None = None
    """None where nobody states a rate."""

    def ask_stable(self, request: Request) -> Reply | None:
        """Stable's reply; None where it is not asked: there is none, or it was too slow before."""
        if self.stable is None or self.left_alone:
            return None
        reply = self.stable.endpoint.infer(request)
        if reply.kind >= Kind.LATE:
            self.left_alone = f"stable is not asked any more: {reply.text}"
        return reply
