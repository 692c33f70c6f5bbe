"""The engine: requests in, text out. Scheduler -> pipeline -> tokens -> text, once a step.

`LlamaEngine` is a `Generator`. `generate` and `stream` run alone; `submit`, `step` and `cancel` are for a server: any thread may submit
and cancel, one thread steps. A fault of a stage ends every request with a StageError that names it; the next request starts the stages
again.

Known gaps: top alternatives beside log-probabilities are not returned; a beam search is streamed only when it has ended.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import perf_counter
from types import TracebackType

from genir.errors import ConfigError, GenirError
from genir.protocols import Generation, SamplingParams
from rag.chat_template import worded
from rag.llama.block_pool import BlockPool
from rag.llama.config import LlamaConfig, read_config
from rag.llama.local_pipeline import LocalPipeline, Pipeline
from rag.llama.options import EngineOptions, blocks_of, limits_of, plan_of, setups_of
from rag.llama.pipeline import ProcessPipeline
from rag.llama.request import Request, check_params
from rag.llama.scheduler import Scheduler, SchedulerCounts
from rag.llama.stages import StagePlan, kv_bytes_per_token
from rag.llama.statistics import CacheStatistics, EngineStatistics
from rag.llama.text import FolderTokenizer, TextStream, Tokenizer, check_unicode, encode_prompt
from rag.llama.weights import pick_dtype

__all__ = ["EngineOptions", "LlamaEngine", "Request"]


class LlamaEngine:
    """A LLaMA model of a Hugging Face folder. The constructor does no work; `start`, or the first request, loads it.

    `chat`: a prompt of text is a user's turn, in the template of the folder's tokenizer, if it has one; else text to be continued. Special
    tokens that are spelled out in it are text either way (`rag.chat_template`); who wants them special gives token ids.
    """

    def __init__(
        self, folder: str | Path, options: EngineOptions | None = None, label: str = "", chat: bool = False
    ) -> None:
        self.folder, self.options, self.label, self.chat = Path(folder), options or EngineOptions(), label, chat
        self._inbox: deque[Request] = deque()
        self._numbers = count()
        self._texts: dict[int, TextStream] = {}
        self._config: LlamaConfig | None = None
        self._tokenizer: Tokenizer | None = None
        self._plan: StagePlan | None = None
        self._pipeline: Pipeline | None = None
        self._scheduler: Scheduler | None = None

    @property
    def name(self) -> str:
        """The label, or the folder's name where none was given."""
        return self.label or self.folder.name

    @property
    def config(self) -> LlamaConfig:
        """The model's shape, read once. Raises ArtefactError for a folder that holds no LLaMA."""
        if self._config is None:
            self._config = read_config(self.folder)
        return self._config

    @property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer, loaded once."""
        if self._tokenizer is None:
            self._tokenizer = FolderTokenizer.load(self.folder, self.config)
        return self._tokenizer

    @property
    def plan(self) -> StagePlan:
        """Which stage runs which layers, decided once."""
        if self._plan is None:
            self._plan = plan_of(self.config, self.options)
        return self._plan

    # -- life -------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the model into its stages; nothing where they run. Raises ArtefactError, ConfigError or StageError."""
        if self._pipeline is not None:
            return
        options, setups = self.options, setups_of(self.folder, self.config, self.options, self.plan)
        _ = self.tokenizer
        local = len(setups) == 1 and not options.front
        pipeline: Pipeline = (
            LocalPipeline(setups[0]) if local else ProcessPipeline(setups, options.front, options.heartbeat)
        )
        try:
            pipeline.start()
            pool = BlockPool(setups[0].blocks, options.block_size)
            self._scheduler = Scheduler(pool, limits_of(options), self.config.eos_token_ids)
            self._pipeline = pipeline
            self.reset_statistics()
        except BaseException:
            pipeline.close()
            self._pipeline = self._scheduler = None
            raise

    def close(self) -> None:
        """End the stages; requests that have not finished are cancelled. The next request starts them again."""
        self._end_all("cancelled", None)
        self._stop_stages()

    def restart(self) -> None:
        """`close`, then `start`."""
        self.close()
        self.start()

    def __enter__(self) -> "LlamaEngine":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- Generator --------------------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[str] | Sequence[Sequence[int]], params: SamplingParams) -> list[Generation]:
        """One generation a prompt (text, or token ids), in order; all of them run together."""
        requests: list[Request] = []
        try:
            for prompt in prompts:
                requests.append(self.submit(prompt, params))
            while not all(request.done for request in requests):
                self.step()
        finally:  # one was refused, or the caller interrupts: the others must not run on unseen
            for request in requests:
                request.cancelled = request.cancelled or not request.done
        return [request.generation() for request in requests]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The text of `generate`, in pieces as they become certain; leaving the iterator early cancels the request."""
        yield from (piece for piece in self.stream_generation(prompt, params) if isinstance(piece, str))

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The pieces of `stream`, then what `generate` gives."""
        request = self.submit(prompt, params)
        request.watched = True
        try:
            while not request.done:
                self.step()
                if piece := request.take():
                    yield piece
            yield request.generation()
        finally:
            if not request.done:
                self.cancel(request)

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, special ones included. Raises GenirError for a text that is not Unicode."""
        check_unicode(text, "prompt")
        return len(self.tokenizer.encode(*self._worded(text)))

    def context_length(self) -> int:
        """Most tokens of a prompt with its answer: what context and cache hold."""
        return self.room(0)

    # -- continuous batching ----------------------------------------------------------------------------------------------------

    def submit(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        on_update: Callable[[Request], None] | None = None,
    ) -> Request:
        """Queue a prompt (text, or token ids); any thread. `on_update` is called by the stepping thread after every token, and at the end.

        Raises GenirError, in one line, for a prompt that is empty, longer than the context, or could never fit the cache.
        """
        check_params(params)
        for stop in params.stop:
            check_unicode(stop, "stop string")
        if params.num_beams > 1 and not self.options.use_cache:
            raise ConfigError("num_beams above 1 needs the KV cache; leave use_cache on")
        context = self.config.max_position_embeddings
        if isinstance(prompt, str):
            check_unicode(prompt, "prompt")
            text, special = self._worded(prompt)
            tokens = encode_prompt(self.tokenizer, text, context, special)
        else:
            tokens = list(prompt)
        self._check(tokens, params)
        request = Request(next(self._numbers), tuple(tokens), params, on_update, watched=on_update is not None)
        self._inbox.append(request)
        return request

    def _worded(self, prompt: str) -> tuple[str, bool]:
        """The prompt as the model is to read it, and whether the tokenizer adds special tokens."""
        return worded(getattr(self.tokenizer, "hugging_face", None), prompt, self.chat)

    def cancel(self, request: Request) -> None:
        """End a request at the next step, with finish_reason "cancelled"; any thread."""
        request.cancelled = True

    def room(self, prompt_length: int) -> int:
        """Most tokens that may follow a prompt of this length: what context and cache hold, less the prompt."""
        pool = self._fitting.pool
        return min(self.config.max_position_embeddings, pool.blocks * pool.block_size) - prompt_length

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._inbox) or (self._scheduler is not None and self._scheduler.has_work)

    def step(self) -> list[Request]:
        """Let micro-batches in, wait for one to come out; returns the requests that wrote a token or ended. One thread only.

        Raises StageError where a stage died, hangs or met NaN. Whatever is raised, Ctrl-C too, has ended every request and the stages: a
        step cannot be taken up in its middle. The next request starts them again.
        """
        try:
            changed = self._advance()
            for request in changed:
                self._write(request)
        except BaseException as error:
            told = error if isinstance(error, GenirError) else GenirError(f"the engine was interrupted: {error!r}")
            self._end_all("error", told)
            self._stop_stages()
            raise
        return changed

    def check_stages(self) -> None:
        """Ask the stages for a sign of life while nothing runs; stepping thread only.

        Raises StageError where one died or was stopped; what waits stays queued, and the next step, or `start`, starts the stages again.
        """
        if self._pipeline is None:
            return
        try:
            self._pipeline.counters()
        except BaseException:
            self._stop_stages()
            raise

    def _advance(self) -> list[Request]:
        changed = self._receive_requests()
        scheduler, pipeline = self._running()
        while (batch := scheduler.schedule()) is not None:
            pipeline.send(batch)
        if scheduler.is_stuck:
            free, blocks = scheduler.pool.free, scheduler.pool.blocks
            raise GenirError(
                f"none of {len(scheduler.unfinished())} requests can go on, {free} of {blocks} cache blocks are free: "
                "give a larger cache, and report this, because requests that cannot fit are to be refused"
            )
        if scheduler.flights:
            changed += scheduler.complete(pipeline.receive())
        return changed

    def _running(self) -> tuple[Scheduler, Pipeline]:
        """Scheduler and pipeline. Raises GenirError where the engine was not started."""
        if self._scheduler is None or self._pipeline is None:
            raise GenirError("the engine does not run: call start() first")
        return self._scheduler, self._pipeline

    def _stop_stages(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = self._scheduler = None

    def _receive_requests(self) -> list[Request]:
        """Take in what was submitted and cancelled since the last step."""
        self.start()
        assert self._scheduler is not None
        while self._inbox:
            self._scheduler.add(self._inbox.popleft())
        return [one for one in self._scheduler.unfinished() if one.cancelled and self._scheduler.cancel(one)]

    def _write(self, request: Request) -> None:
        """Tokens to text; ends the request at a stop string. Text that nobody watches is decoded once, at the end."""
        assert self._scheduler is not None
        text = self._texts.get(request.id)
        if text is None:
            text = self._texts[request.id] = TextStream(self.tokenizer, request.params.stop, request.prompt_tokens)
        if request.watched or request.params.stop or request.done:
            text.feed(request.tokens[text.fed :])
            request.text = text.certain
            if text.stopped and not request.done:
                self._scheduler.finish(request, "stop")
        if request.done:
            request.text = self._texts.pop(request.id).finish()
            if text.stopped and request.finish_reason == "length":
                request.finish_reason = "stop"  # met in what had been held back
        if request.on_update is not None:
            request.on_update(request)

    def _end_all(self, reason: str, error: GenirError | None) -> None:
        """End every request that has not finished."""
        waiting = [] if self._scheduler is None else self._scheduler.unfinished()
        while self._inbox:  # one by one: what is submitted in the meantime must not be lost
            waiting.append(self._inbox.popleft())
        for request in waiting:
            request.finish_reason, request.error = reason, error
            self._texts.pop(request.id, None)
            if request.on_update is not None:
                request.on_update(request)

    def _check(self, tokens: Sequence[int], params: SamplingParams) -> None:
        """Refuse what cannot run."""
        context = self.config.max_position_embeddings
        if not tokens:
            raise GenirError("empty prompt: expected at least one token; this tokenizer adds none of its own")
        if max(tokens) >= self.config.vocab_size or min(tokens) < 0:
            wrong = next(token for token in tokens if not 0 <= token < self.config.vocab_size)
            raise GenirError(f"prompt holds token {wrong}, the model knows 0 to {self.config.vocab_size - 1}")
        if len(tokens) + params.max_new_tokens > context:
            raise GenirError(
                f"prompt of {len(tokens)} tokens + max_new_tokens {params.max_new_tokens} exceeds the context of {context} tokens "
                f"of {self.name!r}: give fewer or shorter passages, or a smaller max_new_tokens"
            )
        self._fitting.check(len(tokens), params.max_new_tokens, params.num_beams)

    @property
    def _fitting(self) -> Scheduler:
        """The running scheduler, or one like it, to ask whether a request can fit."""
        running = self._scheduler  # which the stepping thread may take away
        if running is not None:
            return running
        pool = BlockPool(blocks_of(self.config, self.options, self.plan), self.options.block_size)
        return Scheduler(pool, limits_of(self.options), ())

    # -- figures ----------------------------------------------------------------------------------------------------------------

    def reset_statistics(self) -> None:
        """Let `statistics` count from now on."""
        scheduler, pipeline = self._running()
        scheduler.counts = SchedulerCounts()
        self._since, self._before = perf_counter(), [replace(counters) for counters in pipeline.counters()]

    def statistics(self) -> EngineStatistics:
        """What was done since the start or the last reset. Raises GenirError where the engine does not run."""
        scheduler, pipeline = self._running()
        now, before, counts, pool = pipeline.counters(), self._before, scheduler.counts, scheduler.pool
        itemsize = pick_dtype(self.options.dtype, self.config).itemsize
        token_bytes = kv_bytes_per_token(self.config, self.config.num_hidden_layers, itemsize)
        cache = CacheStatistics(
            blocks=pool.blocks,
            block_size=pool.block_size,
            bytes=pool.blocks * pool.block_size * token_bytes,
            free=pool.free,
            shared_tokens=counts.shared_tokens,
            waste=counts.waste / max(1, counts.micro_batches),
        )
        return EngineStatistics(
            wall=perf_counter() - self._since,
            prefill_busy=tuple(a.prefill_busy - b.prefill_busy for a, b in zip(now, before, strict=True)),
            decode_busy=tuple(a.decode_busy - b.decode_busy for a, b in zip(now, before, strict=True)),
            micro_batches=counts.micro_batches,
            generated_tokens=counts.generated_tokens,
            prefill_tokens=counts.prefill_tokens,
            preemptions=counts.preemptions,
            weights_bytes_read=tuple(counters.weights_bytes_read for counters in now),
            cache=cache,
        )
