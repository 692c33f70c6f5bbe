"""The ring: micro-batches go round from the front through every stage and back. This is the front's side, `stage_process` the stages'.

The front tells every stage about a micro-batch (its tokens, places and blocks: JSON over a socket of its own); hidden states go from
stage to stage; the last stage sends tokens back to the front, never scores. A front that never waits to send cannot deadlock with
stages whose sends and receives keep one order.

Faults: an ended socket is a dead stage; a stage that does not answer a ping is stopped or gone; one that computes for too long hangs.
The front names it and ends the others. This holds from the moment that a stage has begun to load; before that it has `start_timeout`
to start Python.

`python -m rag.llama.pipeline` is a stage.
"""

import json
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any

from genir import errors
from rag.llama.batch import MicroBatch, StepResult
from rag.llama.launch import Launched, launch, limit_sends, listen, own_connection
from rag.llama.runner import StageCounters, StageError, StageSetup
from rag.llama.stage_process import NEIGHBOUR, StageProcess

_BLAME = 1.0  # s to find out who died first, when several stages report at once
_LOADING = 4  # heartbeats that a stage may be silent while it loads: libraries that start keep Python's lock


class ProcessPipeline:
    """Stages in processes of their own: started here, or by torchrun where `front` is the address that they come to."""

    def __init__(
        self, setups: Sequence[StageSetup], front: str = "", heartbeat: float = 5.0, start_timeout: float = 600.0
    ) -> None:
        self.setups, self.front = list(setups), front
        self.heartbeat, self.start_timeout = heartbeat, start_timeout
        self._launched: Launched | None = None
        self._limited: Launched | None = None  # the one whose connections have a time limit for sending
        self._results: deque[StepResult] = deque()
        self._counters: list[StageCounters] = [StageCounters() for _ in setups]
        self._computing: list[float] = [0.0] * len(setups)
        self._answered: list[float] = [0.0] * len(setups)
        self._ready: set[int] = set()

    def start(self) -> None:
        """Start or await the processes, and wait until all have loaded. Raises StageError, or what a stage met while loading."""
        if self._launched is not None:
            return
        started = listen(self.front, len(self.setups), self.start_timeout) if self.front else launch(self.setups)
        self._launched, self._ready, self._answered = started, set(), [0.0] * len(self.setups)
        try:
            for number, setup in enumerate(self.setups):
                self._tell(number, {"setup": setup.to_json() | {"rendezvous": started.rendezvous}})
            self._await_loading()
        except BaseException:  # Ctrl-C, too: nobody else knows of these processes
            self._end(patience=0.0)
            raise
        started.met()

    def send(self, batch: MicroBatch) -> None:
        """Tell every stage about a micro-batch. Raises StageError within seconds where one died, or does not listen."""
        message = json.dumps({"batch": batch.to_json()}).encode()
        for number in range(len(self.setups)):
            self._send(number, message)

    def receive(self) -> StepResult:
        """The oldest result. Raises StageError within seconds where a stage died, stopped, or hangs."""
        begin = asked = monotonic()
        while not self._results:
            if self._listen(self.heartbeat / 4):
                continue
            now = monotonic()
            if asked == begin or now - asked > self.heartbeat / 2:
                self._ask(range(len(self.setups)))
                asked = now
            silent = [n for n, answered in enumerate(self._answered) if now - max(answered, begin) > self.heartbeat]
            if silent:
                raise self._silent(silent[0], self.heartbeat)
            if now - begin > self.setups[0].step_timeout:
                longest = max(range(len(self.setups)), key=lambda n: self._computing[n])
                who, seconds = self.setups[longest], self._computing[longest]
                raise self._fail(
                    StageError(
                        f"{who} hangs: it has computed one micro-batch for {seconds:.0f} s; all requests are ended "
                        f"(where it is only slow: a step_timeout of more than {self.setups[0].step_timeout:.0f} s)"
                    )
                )
        return self._results.popleft()

    def counters(self) -> list[StageCounters]:
        """Per stage, asked for now."""
        begin = monotonic()
        self._answered = [0.0] * len(self.setups)
        self._ask(range(len(self.setups)))
        while min(self._answered) < begin:
            self._listen(self.heartbeat)
            if monotonic() - begin > self.heartbeat and min(self._answered) < begin:
                raise self._silent(self._answered.index(min(self._answered)), self.heartbeat)
        return list(self._counters)

    def close(self) -> None:
        """Ask the stages to end, and see to it that they do."""
        if self._launched is None:
            return
        for connection in self._connections:
            try:
                connection.send_bytes(json.dumps({"close": True}).encode())
            except OSError:
                continue  # it has ended already
        self._end(patience=3.0)

    @property
    def _connections(self) -> list[Connection]:
        if self._launched is None:
            raise StageError("the pipeline is closed")
        return self._launched.connections

    def _await_loading(self) -> None:
        """Until all stages have loaded. One that has spoken once answers pings; before, it is only given `start_timeout`."""
        stages, patience = range(len(self.setups)), _LOADING * self.heartbeat
        asked, awake = monotonic(), list[int]()  # when pings were sent, and to whom
        deadline = asked + self.start_timeout
        while len(self._ready) < len(stages):
            self._listen(self.heartbeat / 4)
            now = monotonic()
            if now > deadline:
                slow = min(set(stages) - self._ready)
                raise self._fail(StageError(f"{self.setups[slow]} did not load within {self.start_timeout:.0f} s"))
            if now - asked > patience:
                silent = [number for number in awake if self._answered[number] < asked]
                if silent:
                    raise self._silent(silent[0], patience)
                asked, awake = now, [number for number in stages if self._answered[number]]
                self._ask(awake)

    def _tell(self, number: int, message: object) -> None:
        self._send(number, json.dumps(message).encode())

    def _send(self, number: int, message: bytes) -> None:
        """Send to a stage; one that takes nothing for a heartbeat, so that its socket is full, does not listen any more."""
        connections = self._connections
        if self._limited is not self._launched:
            for connection in connections:
                limit_sends(connection, self.heartbeat)
            self._limited = self._launched
        try:
            connections[number].send_bytes(message)
        except BlockingIOError:
            raise self._silent(number, self.heartbeat) from None
        except OSError:
            raise self._find_fault(number) from None

    def _ask(self, stages: Iterable[int]) -> None:
        for number in stages:
            self._tell(number, {"ping": True})

    def _silent(self, number: int, seconds: float) -> errors.GenirError:
        why = f"has not answered for {seconds:.0f} s: it was stopped, or its machine is gone"
        return self._fail(StageError(f"{self.setups[number]} {why}"))

    def _listen(self, timeout: float) -> bool:
        """Take in what stages say, for at most `timeout` seconds; whether there was anything."""
        connections = self._connections
        ready = wait(connections, timeout)
        for number, connection in enumerate(connections):
            if connection in ready:
                try:
                    self._take_in(number, json.loads(connection.recv_bytes()))
                except (EOFError, OSError):
                    raise self._find_fault(number) from None
        return bool(ready)

    def _take_in(self, number: int, message: dict[str, Any]) -> None:
        if "result" in message:
            self._results.append(StepResult.from_json(message["result"]))
        elif "error" in message:
            raise self._find_fault(number, message)
        elif "ready" in message:
            self._ready.add(number)
        else:
            self._counters[number] = StageCounters(**message["counters"])
            self._computing[number] = message["computing"]
            self._answered[number] = monotonic()

    def _find_fault(self, number: int, report: dict[str, Any] | None = None) -> errors.GenirError:
        """The error to raise, with everything ended: what a stage says of itself, then who died, then who lost a neighbour."""
        said: dict[int, dict[str, Any]] = {} if report is None else {number: report}
        dead: list[int] = [number] if report is None else []
        deadline = monotonic() + _BLAME
        open_ones = {c: n for n, c in enumerate(self._connections) if n not in dead}
        while open_ones and monotonic() < deadline and not any(r["kind"] != NEIGHBOUR for r in said.values()):
            for connection in wait(list(open_ones), max(0.0, deadline - monotonic())):
                who = open_ones[connection]  # type: ignore[index]
                try:
                    message = json.loads(connection.recv_bytes())  # type: ignore[union-attr]
                except (EOFError, OSError):
                    del open_ones[connection]  # type: ignore[arg-type]
                    if who not in said:
                        dead.append(who)
                    continue
                if "error" in message:
                    said[who] = message
        for reported in said.values():
            if reported["kind"] != NEIGHBOUR:
                return self._fail(getattr(errors, reported["kind"], StageError)(reported["error"]))
        who = dead[0] if dead else min(said)
        how = self._launched.how_it_ended(who) if self._launched and who in dead else "lost its neighbour"
        return self._fail(StageError(f"{self.setups[who]} {how}; all requests are ended, start the engine again"))

    def _fail(self, error: errors.GenirError) -> errors.GenirError:
        """End every process, without patience."""
        self._end(patience=0.0)
        return error

    def _end(self, patience: float) -> None:
        """End what was launched, and forget it."""
        if self._launched is not None:
            self._launched.end(patience)
            self._launched = None


def main() -> None:
    """A stage, from the command line."""
    try:
        connection = own_connection()
    except errors.GenirError as error:
        sys.exit(f"genir: {error}")
    StageProcess(connection).run()


if __name__ == "__main__":
    main()
