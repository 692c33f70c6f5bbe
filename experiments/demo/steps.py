"""Work on one thread, a step at a time, each waited for until the time of its request is over.

A step that has begun cannot be stopped: it goes on behind the visitor's back, and the worker is free only after it. What has not begun
is dropped.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

from experiments.demo.limits import RefusalError

T = TypeVar("T")
_END = object()


class Steps:
    """The steps of one request on a shared worker; `seconds` are those that each stage has worked, without the waiting."""

    def __init__(self, worker: Executor, limit: float) -> None:
        """`limit` is the time of the whole request, seconds from now."""
        self._worker = worker
        self._limit = limit
        self._end = time.monotonic() + limit
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds, in the order in which the stages began."""
        return dict(self._seconds)

    def run(self, stage: str, work: Callable[[], T]) -> T:
        """What `work` returns. Raises what it raises, and RefusalError (504) where the time is over first."""

        def timed() -> T:
            begun = time.monotonic()
            try:
                return work()
            finally:
                self._seconds[stage] = self._seconds.get(stage, 0.0) + time.monotonic() - begun

        future = self._worker.submit(timed)
        try:
            return future.result(max(0.0, self._end - time.monotonic()))
        except TimeoutError:
            if future.done():  # just in time, or a timeout of the work's own
                return future.result()
            future.cancel()
            raise RefusalError(
                504, f"no answer within {self._limit:g} s: the server is busy or still loading; ask again in a moment"
            ) from None

    def each(self, stage: str, pieces: Callable[[], Iterator[T]]) -> Iterator[T]:
        """What an iterator gives, each piece a step of its own, so that others take their turns in between."""
        source = self.run(stage, lambda: iter(pieces()))
        while True:
            piece = self.run(stage, lambda: next(source, _END))
            if piece is _END:
                return
            yield piece  # type: ignore[misc]
