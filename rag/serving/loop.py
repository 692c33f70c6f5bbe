"""One thread that steps the engine for everybody: requests join from any thread, and hear of their tokens as these come.

Invariants: only this thread calls `step`; every request that was taken on gets one last update, also where the engine fails or stops;
after a fault the engine is started again, and until that succeeds new requests are refused with the reason. Before it works, and every
few seconds while it does not, the stages are asked for a sign of life: those that died meanwhile cost no request.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genir.errors import GenirError
from genir.protocols import SamplingParams

if TYPE_CHECKING:
    from rag.llama.engine import LlamaEngine
    from rag.llama.request import Request

_log = logging.getLogger(__name__)
_RETRY = 5.0  # seconds between attempts to start a failed engine again
_LOOK = 5.0  # seconds between looks at the stages of an idle engine


_CLOSING = "the server is shutting down"


class EngineDownError(GenirError):
    """The engine has failed and is not up again yet."""


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of a request: text that is certain, tokens, their log-probabilities, and in the last one why it ended."""

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: str = ""
    error: GenirError | None = None


Listen = Callable[[Update], None]


class EngineLoop:
    """`start` starts the engine and its thread, `close` ends both; in between `submit` and `cancel` from anywhere."""

    def __init__(self, engine: "LlamaEngine") -> None:
        self.engine = engine
        self.fault = ""  # why the engine is down; empty while it is up
        self._wake = threading.Event()
        self._lock = threading.Lock()  # whether requests are taken on, and who listens
        self._stopping = False
        self._listeners: set[_Listener] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises GenirError where the engine cannot start."""
        self.engine.start()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, then the engine; requests still running end with an error."""
        with self._lock:
            self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._end_all(EngineDownError(_CLOSING))
        self.engine.close()

    def submit(self, prompt: Sequence[int], params: SamplingParams, listen: Listen) -> "Request":
        """Queue a prompt; `listen` is called by the engine's thread. Raises EngineDownError, or what the engine's `submit` raises."""
        with self._lock:  # a fault comes before, and refuses, or behind, and tells this listener too
            if self._stopping:
                raise EngineDownError(_CLOSING)
            if self.fault:
                raise EngineDownError(f"the engine is down: {self.fault}")
            listener = _Listener(listen)
            self._listeners.add(listener)
            try:
                request = self.engine.submit(prompt, params, on_update=lambda request: self._tell(listener, request))
            except BaseException:
                self._listeners.discard(listener)
                raise
        self._wake.set()
        return request

    def cancel(self, request: "Request") -> None:
        """End a request; nothing happens where it has ended."""
        self.engine.cancel(request)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(_RETRY if self.fault else _LOOK)
            self._wake.clear()
            try:
                if self.fault:
                    self.engine.restart()
                    self.fault = ""
                elif not self._stopping:
                    self._look_at_the_stages()
                while self.engine.has_work and not self._stopping:
                    self.engine.step()
            except GenirError as error:
                self._fail(error)
            except Exception as error:  # ours; but whoever waits must hear of it
                _log.exception("the engine's loop broke")
                self._fail(GenirError(f"the engine broke: {error!r}"))

    def _look_at_the_stages(self) -> None:
        """Where one died while nothing ran, start them again; requests that came meanwhile wait. Raises what starting raises."""
        try:
            self.engine.check_stages()
        except GenirError as error:
            _log.error("%s; starting the engine again", error)
            self.fault = str(error)
            self.engine.start()
            self.fault = ""

    def _fail(self, error: GenirError) -> None:
        _log.error("%s", error)
        if not self.fault:
            self._wake.set()  # the first attempt to start again comes at once
        self._end_all(error)

    def _tell(self, listener: "_Listener", request: "Request") -> None:
        if listener.hear(request):
            self._listeners.discard(listener)

    def _end_all(self, error: GenirError) -> None:
        """Take on nothing more, and tell everybody why."""
        with self._lock:
            self.fault, ended = str(error), list(self._listeners)
            self._listeners.clear()
        for listener in ended:
            listener.end(error)


class _Listener:
    """What one request has told so far."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._told = 0
        self._ended = False

    def hear(self, request: "Request") -> bool:
        """Pass on what is new; whether that was the last of it."""
        if self._ended:  # with an error; what the engine makes of its request afterwards is nobody's concern
            return True
        start, self._told = self._told, len(request.tokens)
        tokens, logprobs = tuple(request.tokens[start:]), tuple(request.logprobs[start:])
        self._listen(Update(request.take(), tokens, logprobs, request.finish_reason, request.error))
        self._ended = bool(request.finish_reason)
        return self._ended

    def end(self, error: GenirError) -> None:
        """The last of it, where there was none yet."""
        if self._ended:
            return
        self._ended = True
        self._listen(Update("", finish_reason="error", error=error))
