"""One request for inference on its way, whatever protocol it came by.

`rest_app.py` and `grpc_inference.py` say how it is read, answered and refused; here it is counted, and every way in
which it can fail ends in one place.
"""

import logging
import time
from collections.abc import Generator, Iterator
from typing import TypeVar

from ..codec.rest_codec import InferRequest
from ..errors import (
    BodyTooLarge,
    DeadlineExceeded,
    ExecutionFailed,
    HeadgateServingError,
    MalformedRequest,
    NotReady,
    Overloaded,
    RequestError,
    RunTooLong,
    UnknownModel,
    UnsupportedEncoding,
)
from ..runtime.runner import Job, Outcome, Results
from .service import Service

logger = logging.getLogger(__name__)

T = TypeVar("T")

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED = 0, 3, 4, 5, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14

STATUS: dict[type[HeadgateServingError], tuple[int, int]] = {
    MalformedRequest: (400, INVALID_ARGUMENT),
    UnknownModel: (404, NOT_FOUND),
    BodyTooLarge: (413, RESOURCE_EXHAUSTED),
    UnsupportedEncoding: (415, UNIMPLEMENTED),
    Overloaded: (429, RESOURCE_EXHAUSTED),
    ExecutionFailed: (500, INTERNAL),
    RunTooLong: (500, INTERNAL),
    NotReady: (503, UNAVAILABLE),
    DeadlineExceeded: (503, DEADLINE_EXCEEDED),
}
"""HTTP's and gRPC's status of each error that a request can have."""


class InternalError(RequestError):
    """An unhandled error; the log says more."""


STATUS[InternalError] = (500, INTERNAL)


class Inference(Job):
    """A job that answers somebody."""

    __slots__ = ("request", "service", "started")

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.request: InferRequest | None = None
        self.started = time.perf_counter()
        service.telemetry.in_flight += 1

    def begin(self) -> None:
        """Read the request and have it run."""
        try:
            self._run(self.read())
        except Exception as error:
            self.fail(error)

    def begin_in_pieces(self, reading: Generator[None, None, InferRequest], *, soon: bool = False) -> None:
        """The same, for a request that takes long to read; where it may not, the first piece comes at once: `soon`."""
        work = self._read_in_pieces(reading)
        if not soon or next(work, work) is not work:
            self.service.turns.add(work)

    def _read_in_pieces(self, reading: Generator[None, None, InferRequest]) -> Iterator[None]:
        try:
            request = yield from self._while_somebody_waits(reading)
            if request:
                self._run(request)
        except Exception as error:
            self.fail(error)

    def _while_somebody_waits(self, work: Generator[None, None, T]) -> Generator[None, None, T | None]:
        while not self.cancelled:
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            yield
        return None

    def _run(self, request: InferRequest) -> None:
        self.request = request
        self.inputs, self.outputs, self.rows = request.inputs, request.outputs, request.rows
        if request.deadline is not None:
            self.deadline = min(request.deadline, self.deadline or request.deadline)
        self.service.serving.runner.submit(self)

    def done(self, outcome: Outcome) -> None:
        """The model has run, or could not."""
        if isinstance(outcome, RequestError):
            self.fail(outcome)
            return
        try:
            rest = self.answer(outcome)
        except Exception as error:
            self.fail(error)
            return
        if rest:
            self.service.turns.add(self._answer_in_pieces(rest))
        else:
            self._count(200)

    def _answer_in_pieces(self, rest: Generator[None, None, None]) -> Iterator[None]:
        try:
            yield from self._while_somebody_waits(rest)
        except Exception as error:
            self.fail(error)
            return
        self._count(200)

    def fail(self, error: Exception) -> None:
        """Count it and say it."""
        if not isinstance(error, RequestError):
            logger.error("unhandled error in a request", exc_info=error)
            error = InternalError("internal error; the server's log says more")
        elif isinstance(error, MalformedRequest):
            self.service.telemetry.violated(error.kind)
        elif isinstance(error, ExecutionFailed):
            logger.warning("%s", error)
        self._count(STATUS[type(error)][0])
        self.refuse(error)

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.finished:
            self.service.telemetry.in_flight -= 1
        self.cancelled = True

    def read(self) -> InferRequest:
        """The request; RequestError if it is none."""
        raise NotImplementedError

    def answer(self, results: Results) -> Generator[None, None, None] | None:
        """Send what the model said; what takes long is left to be done in pieces."""
        raise NotImplementedError

    def refuse(self, error: RequestError) -> None:
        """Send why there is no answer."""
        raise NotImplementedError

    def _count(self, status: int) -> None:
        self.finished = True
        telemetry = self.service.telemetry
        telemetry.in_flight -= 1
        telemetry.answered(status, time.perf_counter() - self.started)
