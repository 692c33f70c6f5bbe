"""What one visitor may take of the server, and the refusal that says so.

Known gap: a client is an address, so that all visitors behind one proxy share a rate.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from genir.errors import ConfigError, GenirError

_MOST_CLIENTS = 4096  # remembered by the rate; the one that asked longest ago is forgotten first


@dataclass(frozen=True)
class Limits:
    """question: characters; body: bytes of a request; rate: questions a minute and client; seconds: of a request; queue: requests at
    once, waiting ones included; passages: most that one question may read; turns: most of a conversation before a question; history:
    characters of all of them."""

    question: int = 500
    body: int = 64 * 1024
    rate: int = 30
    seconds: float = 60.0
    queue: int = 16
    passages: int = 10
    turns: int = 8
    history: int = 4000

    def __post_init__(self) -> None:
        for name in ("question", "body", "rate", "seconds", "queue", "passages", "turns", "history"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"limit {name} is {getattr(self, name)}: expected more than 0")


DEFAULT_LIMITS = Limits()


class RefusalError(GenirError):
    """A request that is not served, with the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_question(question: str, limits: Limits) -> str:
    """The question without white space around it. Raises RefusalError where it is empty, no text, or too long."""
    question = question.strip()
    if not question:
        raise RefusalError(400, "the question is empty: type one")
    check_text(question, "the question")
    if len(question) > limits.question:
        raise RefusalError(
            413, f"the question has {len(question)} characters: expected at most {limits.question}; shorten it"
        )
    return question


def check_text(text: str, what: str) -> None:
    """Raise RefusalError where a text cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusalError(400, f"{what} is not valid text: it holds half a character (a lone surrogate)") from None


class Rate:
    """At most `limit` events a `window` (seconds) and client."""

    def __init__(self, limit: int, window: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.window, self.clock = limit, window, clock
        self._events: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, client: str) -> None:
        """Count an event. Raises RefusalError (429) where the client had its share; a refused event does not count."""
        with self._lock:
            now = self.clock()
            events = self._events.setdefault(client, deque())
            self._events.move_to_end(client)
            while events and now - events[0] >= self.window:
                events.popleft()
            if len(events) >= self.limit:
                wait = max(1, round(self.window - (now - events[0])))
                raise RefusalError(
                    429, f"more than {self.limit} questions in {self.window:.0f} s: ask again in {wait} s"
                )
            events.append(now)
            if len(self._events) > _MOST_CLIENTS:
                self._events.popitem(last=False)
