"""Continuous batching: which sequences go into the next micro-batch, and what its result means for them. Integers only.

Requests wait, are admitted while blocks last, run, and leave between steps. A micro-batch is either a decode step (one token of every
sequence in it) or a chunk of prefill; while there is work of both kinds they take turns, so that a long prompt stalls nobody. At most
`in_flight` micro-batches are under way; a decode step takes its share of what runs (running / micro_batches, or more where that is
little), so that every stage finds one waiting. Micro-batches pass every stage in the order in which they were made: therefore a block
that an earlier one fills may be read, and a block that it no longer needs be written, by a later one.

When blocks run out, the youngest request that is not under way gives its blocks back and is computed again later; one that could
never fit is refused at once. A recomputed request writes the same text: its randomness depends on its seed and the place only.

Invariants: a request is in exactly one of waiting, prompts, ready, under way, finished; blocks held by nobody are free.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from genir.errors import GenirError
from rag.llama.batch import MicroBatch, StepResult
from rag.llama.beams import BeamSearch
from rag.llama.block_manager import BlockManager
from rag.llama.block_pool import BlockPool
from rag.llama.request import Request, Sequence


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a step: sequences that run at once, prefill tokens a micro-batch, micro-batches, and how many are under way.

    Micro-batches of fewer than `full_rows` sequences are joined as long as `fewest` are left; None joins none.
    """

    max_running: int = 64
    token_budget: int = 256
    micro_batches: int = 1
    fewest: int | None = None
    full_rows: int = 1
    micro_batch_size: int | None = None
    in_flight: int = 1
    use_cache: bool = True
    prefix_sharing: bool = True


@dataclass(slots=True)
class SchedulerCounts:
    """What has happened since the start. `waste` sums, over steps, the share of allocated slots that held nothing."""

    micro_batches: int = 0
    generated_tokens: int = 0
    prefill_tokens: int = 0
    shared_tokens: int = 0
    preemptions: int = 0
    waste: float = 0.0


@dataclass(slots=True)
class _Flight:
    """A micro-batch under way. `rows`: request, sequence, its new tokens, and whether a token is wanted behind them."""

    rows: list[tuple[Request, Sequence, int, bool]] = field(default_factory=list)
    decode: bool = False


class Scheduler:
    """`schedule` makes micro-batches until it says None; `complete` takes their results, in the same order."""

    def __init__(self, pool: BlockPool, limits: Limits, ends: Collection[int]) -> None:
        self.pool, self.limits, self.ends = pool, limits, frozenset(ends)
        self._blocks = BlockManager(pool, limits.prefix_sharing and limits.use_cache)
        self.counts = SchedulerCounts()
        self.flights: dict[int, _Flight] = {}
        self._waiting: deque[Request] = deque()
        self._prompts: deque[Request] = deque()
        self._ready: deque[Request] = deque()
        self._running: dict[int, Request] = {}  # by id, in order of admission
        self._prefill_next = True
        self._number = 0

    @property
    def has_work(self) -> bool:
        """Whether any request is not finished."""
        return bool(self._waiting or self._running)

    @property
    def is_stuck(self) -> bool:
        """Whether there is work that will never begin: to be asked once `schedule` has said None."""
        return self.has_work and not self.flights

    def unfinished(self) -> list[Request]:
        """All requests that are not finished."""
        return [*self._running.values(), *self._waiting]

    def check(self, prompt_length: int, max_new_tokens: int, width: int) -> None:
        """Raise GenirError for a request that could not run even if it were alone."""
        needed = self._blocks.needed_alone(prompt_length, max_new_tokens, width)
        if needed > self.pool.blocks:
            raise GenirError(
                f"prompt of {prompt_length} tokens + max_new_tokens {max_new_tokens} needs {needed} cache blocks, the memory "
                f"budget holds {self.pool.blocks} of {self.pool.block_size} tokens: give a larger cache or a shorter request"
            )
        if width > self.limits.max_running:
            raise GenirError(
                f"num_beams is {width}, but max_running lets {self.limits.max_running} sequences run at once"
            )

    def add(self, request: Request) -> None:
        """Queue a request that `check` let pass."""
        if request.width > 1:
            params = request.params
            ends = frozenset() if params.ignore_eos else self.ends
            request.beams = BeamSearch(request.width, params.length_penalty, params.max_new_tokens, ends)
        request.sequences = [Sequence(list(request.prompt_tokens))]
        self._waiting.append(request)

    def schedule(self) -> MicroBatch | None:
        """The next micro-batch, or None while nothing can start."""
        spare = self.limits.in_flight > 1  # one chunk of prefill may be under way beside the decode steps
        if len(self.flights) >= self.limits.in_flight + spare:
            return None
        self._admit()
        order = (self._prefill, self._decode) if self._prefill_next else (self._decode, self._prefill)
        batch = order[0]() or order[1]() or self._decode()  # a prompt that is shared whole is ready without prefill
        if batch is None:
            return None
        self._prefill_next = batch.decode
        self._count(batch)
        return batch

    def complete(self, result: StepResult) -> list[Request]:
        """Take in a result; returns the requests that wrote a token or ended."""
        flight = self.flights.pop(result.number)
        advanced: dict[int, Request] = {}
        places: dict[int, list[int]] = {}
        for place, (request, sequence, count, wanted) in enumerate(flight.rows):
            sequence.computed = 0 if wanted and not self.limits.use_cache else sequence.computed + count
            request.flying = False
            advanced.setdefault(request.id, request)
            if wanted:
                places.setdefault(request.id, []).append(place)
        for request in advanced.values():
            rows = places.get(request.id, [])
            if request.cancelled:
                self.finish(request, "cancelled")
            elif request.beams is not None and rows:
                self._advance_beams(request, [result.tops[row] for row in rows])
            elif rows:
                self._advance(request, result.tokens[rows[0]], result.logprobs[rows[0]] if result.logprobs else None)
            if not request.done:
                self._queue(request)
        return [request for request in advanced.values() if request.done or request.id in places]

    def cancel(self, request: Request) -> bool:
        """End a request; at once where it is not under way (then True), else with its micro-batch."""
        request.cancelled = True
        if request.done or request.flying:
            return False
        self.finish(request, "cancelled")
        return True

    def finish(self, request: Request, reason: str) -> None:
        """End a request that is not under way, and give its blocks back."""
        request.finish_reason = reason
        for queue in (self._waiting, self._prompts, self._ready):
            if request in queue:
                queue.remove(request)
        self._running.pop(request.id, None)
        self._blocks.release(request.sequences)

    # -- making micro-batches ---------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let waiting requests run while their prompts find room beside those already promised."""
        while self._waiting:
            request = self._waiting[0]
            running = self._running_sequences()
            promised = sum(self._blocks.missing(other) for other in self._prompts)
            if running and running + request.width > self.limits.max_running:
                break
            if self._running and self._blocks.missing(request) + promised > self.pool.free:
                break
            self._running[request.id] = self._waiting.popleft()
            self._queue(request)

    def _queue(self, request: Request) -> None:
        """Put a running request where its next micro-batch will look for it."""
        decodes = self.limits.use_cache and all(sequence.pending == 1 for sequence in request.sequences)
        (self._ready if decodes else self._prompts).append(request)

    def _prefill(self) -> MicroBatch | None:
        """Chunks of prompts, first come first served, up to the token budget."""
        batch, flight = MicroBatch(self._number, decode=False), _Flight()
        budget, most = self.limits.token_budget, self._share_of_running()
        for request in list(self._prompts):
            if budget <= 0 or len(flight.rows) >= most:
                break
            if request not in self._prompts:
                continue  # preempted for another in this very loop
            # Beams that were preempted stop one token short: their last tokens are decoded together.
            left_out = int(len(request.sequences) > 1)
            lead = request.sequences[0]
            for sequence in request.sequences:
                if sequence is not lead and lead.pending > 1:
                    break  # what the other beams will share is not computed yet
                self.counts.shared_tokens += self._blocks.begin(request, sequence)
                count = min(sequence.pending - left_out, budget)
                if count <= 0:
                    continue
                if not self._make_room(request, [sequence], count, batch):
                    break
                self._put(batch, flight, request, sequence, count)
                budget -= count
            if request.flying:
                self._prompts.remove(request)
            elif all(sequence.pending == 1 for sequence in request.sequences) and self.limits.use_cache:
                self._prompts.remove(request)  # all but the last token was shared
                self._ready.append(request)
        return self._launch(batch, flight)

    def _decode(self) -> MicroBatch | None:
        """One token of each of the sequences that have waited longest; neighbours are of like length.

        None while as many are under way as what runs should make: those that come back join what waits here.
        """
        batch, flight = MicroBatch(self._number, decode=True), _Flight(decode=True)
        chosen: list[tuple[Request, Sequence]] = []
        running, most = self._running_sequences(), self._share_of_running()
        flying = sum(flight.decode for flight in self.flights.values())
        if most and flying >= min(self.limits.in_flight, -(-running // most)):
            return None
        for request in list(self._ready):
            if chosen and len(chosen) + len(request.sequences) > most:
                break
            if request not in self._ready:
                continue  # preempted for another in this very loop
            if not self._make_room(request, request.sequences, 1, batch):
                break
            self._ready.remove(request)
            request.flying = True
            chosen += [(request, sequence) for sequence in request.sequences]
        order = sorted(range(len(chosen)), key=lambda i: (len(chosen[i][1].tokens), i))
        if any(request.beams is not None for request, _ in chosen):
            order = list(range(len(chosen)))  # beams are told apart by their order
        for i in order:
            self._put(batch, flight, *chosen[i], 1)
        return self._launch(batch, flight)

    def _running_sequences(self) -> int:
        return sum(request.width for request in self._running.values())

    def _share_of_running(self) -> int:
        """Most sequences of a micro-batch: what runs, dealt out over all micro-batches."""
        running, limits = self._running_sequences(), self.limits
        share = -(-running // limits.micro_batches)
        if share < limits.full_rows:
            share = max(share, min(limits.full_rows, -(-running // (limits.fewest or limits.micro_batches))))
        return min(share, limits.micro_batch_size or share)

    def _make_room(self, request: Request, sequences: list[Sequence], count: int, batch: MicroBatch) -> bool:
        """Blocks for the next `count` tokens of each; others are preempted where there are too few. False: not now."""
        while not self._blocks.fits(sequences, count):
            if not self._preempt_youngest(request):
                return False
        batch.copies += self._blocks.extend(sequences, count)
        return True

    def _preempt_youngest(self, keeper: Request) -> bool:
        """Take the blocks of the youngest request that is not under way; False where there is none but `keeper`."""
        for request in reversed(self._running.values()):
            if request is keeper or request.flying or not any(sequence.blocks for sequence in request.sequences):
                continue
            for queue in (self._prompts, self._ready):
                if request in queue:
                    queue.remove(request)
            self._blocks.release(request.sequences)
            del self._running[request.id]
            self._waiting.appendleft(request)
            request.preempted += 1
            self.counts.preemptions += 1
            return True
        return False

    def _put(self, batch: MicroBatch, flight: _Flight, request: Request, sequence: Sequence, count: int) -> None:
        """Append the next `count` tokens of a sequence to a micro-batch, and make the blocks that they fill findable."""
        start = sequence.computed
        wanted = count == sequence.pending
        tokens = sequence.tokens[start : start + count]
        batch.add(tokens, start, list(sequence.blocks), request.choice() if wanted else None)
        flight.rows.append((request, sequence, count, wanted))
        request.flying = True
        self._blocks.fill(sequence, start + count)

    def _launch(self, batch: MicroBatch, flight: _Flight) -> MicroBatch | None:
        if not flight.rows:
            return None
        self.flights[batch.number] = flight
        self._number += 1
        return batch

    # -- taking in results ------------------------------------------------------------------------------------------------------

    def _advance(self, request: Request, token: int, logprob: float | None) -> None:
        """One token more; ends the request at an end token or at its length."""
        request.tokens.append(token)
        request.sequences[0].tokens.append(token)
        if logprob is not None and request.params.logprobs:
            request.logprobs.append(logprob)
        self.counts.generated_tokens += 1
        if token in self.ends and not request.params.ignore_eos:
            self.finish(request, "stop")
        elif len(request.tokens) >= request.params.max_new_tokens:
            self.finish(request, "length")

    def _advance_beams(self, request: Request, tops: list[list[tuple[int, float]]]) -> None:
        """New beams share their parents' blocks; a block is copied only when one of them writes into it."""
        assert request.beams is not None
        going = request.beams.advance(tops)
        self.counts.generated_tokens += max(len(going), 1)
        if not going:
            best = request.beams.best()
            request.tokens, request.logprobs = list(best.tokens), list(best.logprobs) if request.params.logprobs else []
            ended = best.tokens[-1] in self.ends and not request.params.ignore_eos
            self.finish(request, "stop" if ended else "length")
            return
        old = request.sequences
        request.sequences = [self._blocks.fork(old[parent], token) for parent, token in going]
        self._blocks.release(old)

    def _count(self, batch: MicroBatch) -> None:
        self.counts.micro_batches += 1
        if not batch.decode:
            self.counts.prefill_tokens += len(batch.tokens)
        under_way = {id(sequence): n for flight in self.flights.values() for _, sequence, n, _ in flight.rows}
        self.counts.waste += self._blocks.waste(self._running.values(), under_way)
