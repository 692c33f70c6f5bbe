"""The scheduler with its block pool, on a model that is a hash: no tensor, so that thousands of steps take seconds.

The fake model keeps what was written in every slot, as the real cache does, and makes the next token from the tokens that a sequence's
block table leads to: a wrong block, a missing copy or a lost token changes the text.
"""

import random
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.errors import GenirError
from genir.protocols import SamplingParams
from rag.llama.batch import MicroBatch, StepResult
from rag.llama.block_pool import BlockPool, chain_keys
from rag.llama.options import EngineOptions, limits_of
from rag.llama.request import Request
from rag.llama.scheduler import Limits, Scheduler

VOCABULARY = 50
END = 7


def next_tokens(tokens: tuple[int, ...], count: int = 6) -> list[tuple[int, float]]:
    """The fake model: best tokens behind a text, with log-probabilities."""
    draw = random.Random(str(tokens))
    return [(token, -0.5 - rank - draw.random()) for rank, token in enumerate(draw.sample(range(VOCABULARY), count))]


class FakeStages:
    """Runs micro-batches in order; `slots` is its cache."""

    def __init__(self, block_size: int) -> None:
        self.size = block_size
        self.slots: dict[int, tuple[int, int] | None] = {}
        self.results: deque[StepResult] = deque()

    def send(self, batch: MicroBatch) -> None:
        batch = MicroBatch.from_json(batch.to_json())  # what a stage in another process would see
        saved = {
            source: [self.slots.get(source * self.size + i) for i in range(self.size)] for source, _ in batch.copies
        }
        for source, target in batch.copies:
            for i, value in enumerate(saved[source]):
                self.slots[target * self.size + i] = value
        at, rows = 0, []
        for start, count, table in zip(batch.starts, batch.counts, batch.tables, strict=True):
            for place, token in zip(range(start, start + count), batch.tokens[at : at + count], strict=True):
                self.slots[table[place // self.size] * self.size + place % self.size] = (place, token)
            at += count
            rows.append((start + count, table))
        chosen, tops = [], []
        for (length, table), choice in zip(rows, batch.choices, strict=True):
            seen = [self.slots[table[place // self.size] * self.size + place % self.size] for place in range(length)]
            assert [place for place, _ in seen] == list(range(length)), "a slot was overwritten"
            best = next_tokens(tuple(token for _, token in seen), max(6, choice.top if choice else 0))
            chosen.append(-1 if choice is None else best[0][0])
            tops.append(best[: choice.top] if choice else [])
        self.results.append(StepResult(batch.number, chosen, [], tops))


def alone(prompt: list[int], length: int) -> list[int]:
    """What greedy decoding writes, with no engine at all."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + length:
        tokens.append(next_tokens(tuple(tokens))[0][0])
        if tokens[-1] == END:
            break
    return tokens[len(prompt) :]


def run(scheduler: Scheduler, requests: list[Request]) -> None:
    stages = FakeStages(scheduler.pool.block_size)
    for request in requests:
        scheduler.add(request)
    while scheduler.has_work:
        while (batch := scheduler.schedule()) is not None:
            stages.send(batch)
        assert stages.results, "work, but nothing under way"
        scheduler.complete(stages.results.popleft())


def request(number: int, prompt: list[int], **params: object) -> Request:
    return Request(number, tuple(prompt), SamplingParams(**params))  # type: ignore[arg-type]


def prompts(count: int, seed: int = 0, longest: int = 30) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(VOCABULARY) for _ in range(draw.randint(1, longest))] for _ in range(count)]


@pytest.mark.parametrize("in_flight", [1, 2, 4])
@pytest.mark.parametrize("blocks", [14, 60, 400])
def test_batched_is_alone_whatever_is_under_way_and_however_tight_the_memory(in_flight: int, blocks: int) -> None:
    pool = BlockPool(blocks, 4)
    scheduler = Scheduler(pool, Limits(max_running=8, token_budget=16, micro_batches=4, in_flight=in_flight), [END])
    requests = [request(i, prompt, max_new_tokens=20) for i, prompt in enumerate(prompts(20))]
    run(scheduler, requests)
    assert [r.tokens for r in requests] == [alone(list(r.prompt_tokens), 20) for r in requests]
    assert pool.free == blocks
    if blocks != 60:
        assert (scheduler.counts.preemptions > 0) == (blocks == 14)


@pytest.mark.parametrize(
    ("running", "rows"),
    [(1, [1]), (2, [1, 1]), (6, [3, 3]), (16, [8, 8]), (20, [8, 8, 4]), (32, [8] * 4), (48, [12] * 4)],
)
def test_micro_batches_are_two_a_stage_once_they_are_large_enough(running: int, rows: list[int]) -> None:
    """Two stages. Four micro-batches of four would read the weights twice as often as two of eight."""
    limits = limits_of(EngineOptions(stages=2, token_budget=2 * running))
    assert (limits.micro_batches, limits.in_flight) == (4, 4)
    scheduler, stages = Scheduler(BlockPool(500, 4), limits, []), FakeStages(4)
    for number in range(running):
        scheduler.add(request(number, [1, 2], max_new_tokens=3))
    prefill = []
    while (batch := scheduler.schedule()) is not None:
        prefill.append(len(batch.counts))
        stages.send(batch)
    assert prefill == rows
    while stages.results:
        scheduler.complete(stages.results.popleft())
    decode = []
    while (batch := scheduler.schedule()) is not None:
        assert batch.decode
        decode.append(len(batch.counts))
    assert decode == rows


def test_micro_batches_that_were_asked_for_are_made() -> None:
    assert limits_of(EngineOptions(stages=2, micro_batches=3)).fewest == 3
    assert limits_of(EngineOptions()).micro_batches == 1


def test_without_a_cache_every_step_computes_everything_again() -> None:
    scheduler = Scheduler(BlockPool(100, 4), Limits(token_budget=16, use_cache=False), [END])
    requests = [request(i, prompt, max_new_tokens=9) for i, prompt in enumerate(prompts(3, longest=8))]
    run(scheduler, requests)
    assert [r.tokens for r in requests] == [alone(list(r.prompt_tokens), 9) for r in requests]
    computed = sum(len(r.prompt_tokens) + i for r in requests for i in range(len(r.tokens)))
    assert scheduler.counts.prefill_tokens == computed


def test_a_common_beginning_is_computed_once_and_changes_nothing() -> None:
    common = prompts(1, seed=3, longest=30)[0] + [1] * 20
    texts = [[*common, *prompt] for prompt in prompts(6, seed=5)]
    counts = {}
    for sharing in (True, False):
        scheduler = Scheduler(BlockPool(200, 4), Limits(token_budget=16, prefix_sharing=sharing), [END])
        requests = [request(i, prompt, max_new_tokens=8) for i, prompt in enumerate(texts)]
        run(scheduler, requests)
        assert [r.tokens for r in requests] == [alone(prompt, 8) for prompt in texts]
        counts[sharing] = scheduler.counts.prefill_tokens
    assert counts[True] < counts[False] - 4 * 20


def test_a_chunk_of_a_long_prompt_waits_behind_a_decode_step() -> None:
    """A prompt of a hundred chunks once stalled everybody else until it was done."""
    scheduler = Scheduler(BlockPool(500, 4), Limits(token_budget=8, micro_batches=1), [])
    short, long = request(0, [1, 2, 3], max_new_tokens=20), request(1, list(range(40)) * 4, max_new_tokens=2)
    stages, kinds = FakeStages(4), []
    for one in (short, long):
        scheduler.add(one)
    while scheduler.has_work:
        batch = scheduler.schedule()
        assert batch is not None
        kinds.append(batch.decode)
        stages.send(batch)
        scheduler.complete(stages.results.popleft())
    assert kinds[:10] == [False, True] * 5


def test_beams_share_blocks_copy_on_write_and_survive_preemption() -> None:
    texts = prompts(5, seed=11, longest=18)
    free = Scheduler(BlockPool(400, 4), Limits(max_running=64), [END])
    wide = [request(i, prompt, max_new_tokens=12, num_beams=3) for i, prompt in enumerate(texts)]
    run(free, wide)
    tight = Scheduler(BlockPool(17, 4), Limits(max_running=9, token_budget=8, micro_batches=2, in_flight=2), [END])
    narrow = [request(i, prompt, max_new_tokens=12, num_beams=3) for i, prompt in enumerate(texts)]
    run(tight, narrow)
    assert [r.tokens for r in wide] == [r.tokens for r in narrow]
    assert tight.counts.preemptions
    assert tight.pool.free == 17


def test_what_can_never_fit_is_refused_at_once() -> None:
    scheduler = Scheduler(BlockPool(4, 4), Limits(max_running=2), [])
    scheduler.check(8, 8, 1)
    with pytest.raises(
        GenirError, match="prompt of 8 tokens \\+ max_new_tokens 9 needs 5 cache blocks, the memory budget holds 4"
    ):
        scheduler.check(8, 9, 1)
    with pytest.raises(GenirError, match="num_beams is 3, but max_running lets 2"):
        scheduler.check(1, 1, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_random_arrivals_cancels_and_lengths_lose_no_block(seed: int) -> None:
    """40 requests that fit an example, 1,000 in all: arrivals, cancels, beams, shared beginnings, tight memory, several under way."""
    draw = random.Random(seed)
    size, blocks = draw.choice([1, 2, 4, 8]), draw.choice([40, 80, 300])
    limits = Limits(
        max_running=draw.choice([3, 8, 20]),
        token_budget=draw.choice([5, 16, 64]),
        micro_batches=draw.choice([1, 2, 4]),
        micro_batch_size=draw.choice([None, 1, 3]),
        in_flight=draw.choice([1, 2, 4]),
        prefix_sharing=draw.random() < 0.7,
    )
    pool = BlockPool(blocks, size)
    scheduler, stages = Scheduler(pool, limits, [END]), FakeStages(size)
    common = [draw.randrange(VOCABULARY) for _ in range(12)]
    coming: list[Request] = []
    running: list[Request] = []
    cancelled = set()
    while len(coming) < 40:
        prompt = common[: draw.choice([0, 5, 12])] + [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 12))]
        width = draw.choice([1, 1, 1, 2, 6])
        drawn = request(len(coming), prompt, max_new_tokens=draw.randint(1, 10), num_beams=width)
        coming += [drawn] if fits(scheduler, drawn) else []
    while coming or scheduler.has_work:
        while coming and draw.random() < 0.4:
            running.append(coming.pop())
            scheduler.add(running[-1])
        if running and draw.random() < 0.1:
            one = draw.choice(running)
            cancelled.add(one.id)
            scheduler.cancel(one)
        while draw.random() < 0.8 and (batch := scheduler.schedule()) is not None:
            stages.send(batch)
        if stages.results:
            scheduler.complete(stages.results.popleft())
        assert pool.free + pool.held == blocks
    assert pool.free == blocks
    for one in running:
        assert one.done
        if one.id not in cancelled:
            assert one.tokens == (
                alone(list(one.prompt_tokens), one.params.max_new_tokens) if one.width == 1 else searched_alone(one)
            )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_wide_beams_that_just_fit_always_finish(seed: int) -> None:
    """Beams computed again once took copies of the prompt beyond what `check` had counted, and waited for blocks for ever."""
    draw = random.Random(seed)
    size, width, length, new = draw.choice([2, 4, 8]), draw.randint(2, 6), draw.randint(20, 60), draw.randint(5, 30)
    shared = length // size
    blocks = shared + width * (-(-(length + new) // size) - shared)
    limits = Limits(
        token_budget=draw.choice([7, 16, 32]),
        micro_batches=draw.choice([1, 2]),
        in_flight=draw.choice([1, 2]),
        prefix_sharing=draw.random() < 0.5,
    )
    texts = [[draw.randrange(VOCABULARY) for _ in range(length)] for _ in range(3)]

    def searches() -> list[Request]:
        widths = (width, draw.randint(1, width), width)
        return [
            request(i, text, max_new_tokens=new, num_beams=w, ignore_eos=True)
            for i, (text, w) in enumerate(zip(texts, widths, strict=True))
        ]

    state = draw.getstate()
    tight, scheduler = searches(), Scheduler(BlockPool(blocks, size), limits, [END])
    for one in tight:
        scheduler.check(length, new, one.width)
    with pytest.raises(GenirError, match="the memory budget holds"):
        scheduler.check(length + size, new, width)
    run(scheduler, tight)
    assert scheduler.pool.free == blocks
    draw.setstate(state)
    roomy = searches()
    run(Scheduler(BlockPool(10 * blocks, size), Limits(prefix_sharing=False), [END]), roomy)
    assert [one.tokens for one in tight] == [one.tokens for one in roomy]


@pytest.mark.parametrize("sharing", [True, False])
def test_beams_computed_again_share_what_they_have_in_common(sharing: bool) -> None:
    limits = Limits(token_budget=16, prefix_sharing=sharing)
    scheduler, stages = Scheduler(BlockPool(200, 4), limits, []), FakeStages(4)
    one = request(0, prompts(1, seed=2, longest=3)[0] + [1] * 60, max_new_tokens=9, num_beams=6)
    scheduler.add(one)
    while len(one.sequences) < 6:
        stages.send(scheduler.schedule())  # type: ignore[arg-type]
        scheduler.complete(stages.results.popleft())
    assert scheduler._preempt_youngest(request(1, [1]))
    assert scheduler.pool.free == 200
    for _ in range(30):
        stages.send(scheduler.schedule())  # type: ignore[arg-type]
        scheduler.complete(stages.results.popleft())
        if len(one.sequences[0].tokens) >= len(one.prompt_tokens) + 5:
            break
    shared = len(one.prompt_tokens) // 4
    assert {tuple(sequence.blocks[:shared]) for sequence in one.sequences} == {tuple(one.sequences[0].blocks[:shared])}
    assert scheduler.pool.held <= shared + 6 * 2


def searched_alone(one: Request) -> list[int]:
    """What a beam search writes with the memory to itself."""
    again = replace(one, sequences=[], tokens=[], logprobs=[], beams=None, finish_reason="", preempted=0)
    run(Scheduler(BlockPool(400, 4), Limits(prefix_sharing=False), [END]), [again])
    return again.tokens


def fits(scheduler: Scheduler, one: Request) -> bool:
    try:
        scheduler.check(len(one.prompt_tokens), one.params.max_new_tokens, one.width)
    except GenirError:
        return False
    return True


def test_the_pool_hands_out_shares_finds_and_forgets() -> None:
    pool = BlockPool(3, 2)
    keys = chain_keys([1, 2, 3, 4, 5], 2)
    assert len(keys) == 2
    assert keys == chain_keys([1, 2, 3, 4], 2)
    assert chain_keys([9, 2, 3, 4], 2)[1] != keys[1]
    first, second = pool.take(), pool.take()
    pool.register(first, keys[0])
    pool.register(second, keys[1])
    assert pool.find(keys) == [first, second]
    pool.share(first)
    assert pool.holders(first) == 2
    pool.release([first, second])
    pool.release([first])
    assert pool.free == 3
    assert pool.find(keys) == [first, second]  # nobody holds them, but they can still be found
    taken = [pool.take() for _ in range(3)]
    assert taken[0] not in (first, second)  # what can be found is reused last, the beginning of a chain after its end
    assert taken[1:] == [second, first]
    assert pool.find(keys) == []
    with pytest.raises(IndexError, match="no free block"):
        pool.take()


def test_a_micro_batch_and_its_result_survive_the_journey() -> None:
    scheduler = Scheduler(BlockPool(20, 4), Limits(), [])
    scheduler.add(request(0, [1, 2, 3], temperature=0.7, top_k=5, repetition_penalty=1.2))
    batch = scheduler.schedule()
    assert batch is not None
    assert MicroBatch.from_json(batch.to_json()) == batch
