"""A stage in a process of its own: hears of micro-batches from the front, passes hidden states on. The only file of torch.distributed.

Hidden states go from stage to stage by gloo, or nccl between GPUs. A stage posts the receive for the next micro-batch before it computes
the present one, and its sends are not waited for, so that nothing drains; sends and receives between two stages keep one order.

A stage whose front is gone ends itself, from the moment that it has begun to load.

Known gap: with nccl a stage needs a GPU of its own.
"""

import json
import os
import signal
import sys
import threading
from collections import deque
from dataclasses import asdict
from datetime import timedelta
from multiprocessing.connection import Connection
from queue import SimpleQueue
from time import perf_counter

import torch
import torch.distributed as dist

from genir import errors
from rag.llama.batch import MicroBatch, StepResult
from rag.llama.runner import StageError, StageRunner, StageSetup
from rag.llama.weights import pick_dtype

NEIGHBOUR = "neighbour"  # how a stage reports that the one beside it is gone


class StageProcess:
    """One stage in a process of its own, until the front says so or is gone; see `rag.llama.pipeline` for what they say."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._speaking = threading.Lock()
        self._inbox: SimpleQueue[MicroBatch | None] = SimpleQueue()
        self._under_way: deque[tuple[dist.Work | None, torch.Tensor]] = deque()

    def run(self) -> None:
        """Load, say so, then work. Ends the process: with 0 where the front said so, else with 1, on which torchrun may restart it."""
        # Ctrl-C reaches the whole terminal; the front decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._setup = StageSetup.from_json(json.loads(self._connection.recv_bytes())["setup"])
        except (EOFError, OSError):
            sys.exit("genir: the front is gone before it said what to run")
        if self._setup.cores:
            os.sched_setaffinity(0, self._setup.cores)
        self._runner = StageRunner(self._setup)
        code = 1
        try:
            threading.Thread(target=self._hear, daemon=True).start()  # first: while it loads, too, its front may go
            self._report()
            self._join()
            self._runner.load()
            self._say({"ready": True})
            self._work()
            code = 0
        except errors.GenirError as error:
            self._say({"error": str(error), "kind": type(error).__name__})
        except Exception as error:  # torch's, gloo's, or ours: whatever it is, the front must hear of it
            reason = (str(error) or repr(error)).splitlines()[0]
            lost = isinstance(error, dist.DistError) or "onnection" in reason or "gloo" in reason
            kind = NEIGHBOUR if lost else StageError.__name__
            self._say({"error": f"{self._setup} failed: {reason}", "kind": kind})
        finally:
            os._exit(code)  # threads of gloo and of this class may be waiting for ever

    def _join(self) -> None:
        """The process group of all stages."""
        setup, cuda = self._setup, self._setup.device.startswith("cuda")
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            init_method=setup.rendezvous,
            rank=setup.number,
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=timedelta(seconds=max(setup.step_timeout, 60) * 2),
        )

    def _work(self) -> None:
        """Micro-batches in the order in which the front made them."""
        expected: deque[tuple[MicroBatch, torch.Tensor | None, dist.Work | None]] = deque()
        while True:
            while not expected or not self._inbox.empty():
                batch = self._inbox.get()
                if batch is None:
                    return
                expected.append((batch, *self._expect(batch)))
            batch, hidden, arrival = expected.popleft()
            if arrival is not None:
                arrival.wait()
            made = self._runner.run(batch, hidden)
            if isinstance(made, StepResult):
                self._say({"result": [made.number, made.tokens, made.logprobs, made.tops]})
            else:
                self._pass_on(made)

    def _expect(self, batch: MicroBatch) -> tuple[torch.Tensor | None, dist.Work | None]:
        """Post the receive for a micro-batch's hidden states (T, E)."""
        if self._setup.part.first:
            return None, None
        shape = len(batch.tokens), self._setup.config.hidden_size
        hidden = torch.empty(shape, dtype=pick_dtype(self._setup.dtype, self._setup.config), device=self._setup.device)
        return hidden, dist.irecv(hidden, self._setup.number - 1)

    def _pass_on(self, hidden: torch.Tensor) -> None:
        """Send hidden states on, keep them until they have left."""
        self._under_way.append((dist.isend(hidden.contiguous(), self._setup.number + 1), hidden))
        while len(self._under_way) > 64 or (self._under_way and self._is_sent(self._under_way[0][0])):
            work, _ = self._under_way.popleft()
            if work is not None:
                work.wait()

    @staticmethod
    def _is_sent(work: dist.Work | None) -> bool:
        return work is None or work.is_completed()

    def _hear(self) -> None:
        """What the front says, on a thread of its own, so that a ping is answered while a micro-batch is computed."""
        try:
            while True:
                message = json.loads(self._connection.recv_bytes())
                if "batch" in message:
                    self._inbox.put(MicroBatch.from_json(message["batch"]))
                elif "ping" in message:
                    self._report()
                else:
                    self._inbox.put(None)
                    return
        except (EOFError, OSError):
            os._exit(1)  # the front is gone

    def _report(self) -> None:
        since = self._runner.computing_since
        computing = 0.0 if since is None else perf_counter() - since
        self._say({"counters": asdict(self._runner.counters), "computing": computing})

    def _say(self, message: object) -> None:
        with self._speaking:
            self._connection.send_bytes(json.dumps(message).encode())
