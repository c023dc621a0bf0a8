"""Who may read `/metrics`: the API server says whose a bearer token is (TokenReview), and whether that user may
(SubjectAccessReview for GET of the path), as kubebuilder's filter for authentication and authorization asks.

Its answers are remembered for a while, so that it is asked once a minute for a scraper. It is asked for a limited time,
and for a limited number of tokens a second: neither an API server that hangs nor somebody who makes up tokens takes
anything from the reconciliations, whose requests go to the same API server.
"""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from headgate.edges.health import ADMITTED, METRICS, Admission
from headgate.edges.kube import Object
from headgate.errors import HeadgateError, cause_of

log = logging.getLogger("headgate.metrics")

ADMITTED_FOR, REFUSED_FOR = 60.0, 10.0
"""Seconds that an answer is remembered for."""

MOST = 1000
"""Tokens that are remembered: as many admitted ones, and as many refused ones."""

WITHIN = 3.0
"""Seconds for both reviews, and for waiting for one's turn."""

AT_ONCE, EACH = 4, 0.2
"""So many tokens are asked about at the same time, and each takes its turn for so many seconds at least."""

BEARER = re.compile(r"bearer +([\w.~+/-]+=*)", re.ASCII | re.IGNORECASE)
"""RFC 6750."""

NO_TOKEN = Admission(401, "Who reads metrics has to show who he is: send the header Authorization: Bearer TOKEN.")
NOT_KNOWN_NOW = Admission(
    503, "The API server has not said whose this token is; the operator's log says why. Try again."
)


Create = Callable[[Object], Awaitable[Object]]
"""`create` of `Kube`."""


class MetricsAccess:
    """Admits by the API server's word. Belongs to one event loop."""

    def __init__(self, create: Create, audience: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """`audience` is whom tokens have to be for; empty for the API server itself, as ordinary tokens are."""
        self._create, self._audience = create, audience
        self._admitted, self._refused = _Remembered(ADMITTED_FOR, clock), _Remembered(REFUSED_FOR, clock)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._complaint = ""

    async def admit(self, authorization: str) -> Admission:
        """Whether whoever sends this header `Authorization` may read metrics. Raises nothing, and is soon back."""
        shown = BEARER.fullmatch(authorization.strip())
        if not shown:
            return NO_TOKEN
        token = shown.group(1)
        key = hashlib.sha256(token.encode()).digest()
        try:
            async with asyncio.timeout(WITHIN):
                return self._known(key) or await self._in_turn(key, token)
        except (TimeoutError, HeadgateError) as error:
            self._complain(f"whose a token for {METRICS} is can't be asked: {cause_of(error)}")
            return NOT_KNOWN_NOW

    def _known(self, key: bytes) -> Admission | None:
        return self._admitted.get(key) or self._refused.get(key)

    async def _in_turn(self, key: bytes, token: str) -> Admission:
        await self._turns.acquire()
        asyncio.get_running_loop().call_later(EACH, self._turns.release)
        if known := self._known(key):  # by somebody who was before us
            return known
        answer = await self._ask(token)
        self._complaint = ""
        (self._admitted if answer is ADMITTED else self._refused).put(key, answer)
        return answer

    async def _ask(self, token: str) -> Admission:
        audiences = [self._audience] if self._audience else []
        review = await self._review("authentication.k8s.io/v1", "TokenReview", {"token": token, "audiences": audiences})
        # A server that knows of no audiences names none, and has looked at nothing but the token.
        meant_for_us = not audiences or self._audience in review.get("audiences", ())
        if not (review.get("authenticated") and meant_for_us):
            purpose = f" with the audience {self._audience}" if audiences else ""
            return Admission(401, f"The API server does not know this token, or it has expired: show one{purpose}.")
        user = review.get("user", {})
        about = {"nonResourceAttributes": {"path": METRICS, "verb": "get"}}
        who = {
            "user": user.get("username", ""),
            **{key: user[key] for key in ("uid", "groups", "extra") if key in user},
        }
        access = await self._review("authorization.k8s.io/v1", "SubjectAccessReview", {**who, **about})
        if access.get("allowed"):
            return ADMITTED
        return Admission(
            403, f"{who['user']} may not get {METRICS}: bind the chart's ClusterRole *-metrics-reader to it."
        )

    async def _review(self, api_version: str, kind: str, spec: dict[str, Any]) -> Object:
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec}
        answer: Object = (await self._create(manifest)).get("status") or {}
        return answer

    def _complain(self, words: str) -> None:
        """Once for each cause: scrapers come again and again."""
        if words != self._complaint:
            log.warning("%s", words)
        self._complaint = words


class _Remembered:
    """Answers by token, each for some seconds; of more than MOST the oldest go."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._answers = dict[bytes, tuple[Admission, float]]()

    def get(self, key: bytes) -> Admission | None:
        found = self._answers.get(key)
        return found[0] if found and self._clock() < found[1] else None

    def put(self, key: bytes, answer: Admission) -> None:
        self._answers.pop(key, None)
        self._answers[key] = answer, self._clock() + self._seconds
        if len(self._answers) > MOST:
            del self._answers[next(iter(self._answers))]
