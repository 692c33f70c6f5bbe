"""Between the network and the engine: checks requests, follows their tokens, and makes replies of them.

A request becomes one engine request a choice (`n` choices of a prompt differ in their seeds: seed, seed + 1, ...), all of them
batched with everybody else's. A client that leaves ends its requests. `completion` and `chat` may take long over a long prompt: they are
for a thread of their own, beside the event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from genir.errors import GenirError
from genir.protocols import SamplingParams
from rag.llama.text import PromptTooLongError, TextStream, encode_prompt
from rag.serving.chat import chat_prompt
from rag.serving.loop import EngineDownError, EngineLoop, Listen, Update
from rag.serving.replies import ApiError, Choice, ReplyForm, TokenTexts, usage_of
from rag.serving.requests import ChatBody, CompletionBody

if TYPE_CHECKING:
    from rag.llama.request import Request
    from rag.llama.text import FolderTokenizer

_LOOK_UP = 0.25  # seconds between looks whether a client is still there, whether tokens flow or not

Gone = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Job:
    """A checked request: its prompts as tokens, how to continue them, and how to reply."""

    prompts: Sequence[Sequence[int]]
    n: int
    params: SamplingParams
    form: ReplyForm


@dataclass
class Desk:
    """Where requests come in and replies go out; one for all clients."""

    loop: EngineLoop

    def completion(self, body: CompletionBody) -> Job:
        """The job of a completion request. Raises ApiError where it cannot be done."""
        self.check_model(body.model)
        if body.logprobs is not None and body.logprobs > 1:
            raise ApiError(
                400, f"logprobs {body.logprobs}: only the chosen tokens' are known here; ask for 1", "logprobs"
            )
        prompts = [
            self._encode(prompt, "prompt") if isinstance(prompt, str) else list(prompt) for prompt in body.prompt
        ]
        logprobs = body.logprobs is not None
        params = _params(body, body.max_tokens, logprobs)
        for prompt in prompts:
            self._check_prompt(prompt, params.max_new_tokens, "prompt")
        return Job(prompts, body.n, params, ReplyForm(False, self.loop.engine.name, logprobs, body.return_token_ids))

    def chat(self, body: ChatBody) -> Job:
        """The job of a chat request. Raises ApiError where it cannot be done."""
        self.check_model(body.model)
        if body.top_logprobs:
            raise ApiError(
                400, "top_logprobs: only the chosen tokens' log-probabilities are known here", "top_logprobs"
            )
        tokenizer = cast("FolderTokenizer", self.loop.engine.tokenizer)
        try:
            asked = chat_prompt(tokenizer, body.messages)
        except ValueError as error:
            raise ApiError(400, str(error), "messages") from None
        prompt = self._encode(asked.text, "messages", asked.special)
        wanted = body.max_completion_tokens or body.max_tokens
        length = wanted or max(1, self.loop.engine.room(len(prompt)))
        self._check_prompt(prompt, length, "messages")
        params = _params(body, length, body.logprobs)
        params = replace(params, stop=(*params.stop, *asked.stop))
        return Job(
            [prompt], body.n, params, ReplyForm(True, self.loop.engine.name, body.logprobs, body.return_token_ids)
        )

    async def whole(self, job: Job, gone: Gone) -> dict[str, Any]:
        """The reply, once everything is written."""
        choices: dict[int, Choice] = {}
        async with aclosing(self._updates(job, gone)) as updates:
            async for choice, _ in updates:
                choices[choice.index] = choice
        return job.form.whole([choices[index] for index in sorted(choices)], _usage(job, list(choices.values())))

    async def events(self, job: Job, with_usage: bool, gone: Gone) -> AsyncGenerator[dict[str, Any], None]:
        """The same as a stream."""
        choices: dict[int, Choice] = {}
        async with aclosing(self._updates(job, gone)) as updates:
            async for choice, update in updates:
                if choice.index not in choices and job.form.chat:
                    yield job.form.opening(choice)
                choices[choice.index] = choice
                if update.text or update.finish_reason or job.form.logprobs or job.form.token_ids:
                    yield job.form.piece(choice, update)
        if with_usage:
            yield job.form.usage(_usage(job, list(choices.values())))

    async def _updates(self, job: Job, gone: Gone) -> AsyncGenerator[tuple[Choice, Update], None]:
        """Every choice's updates as they come, until all have ended; leaving early ends the engine's requests."""
        here, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Update]]()
        tokenizer = self.loop.engine.tokenizer
        choices = [
            Choice(turn + job.n * number, TokenTexts(TextStream(tokenizer, prompt=prompt)))
            for number, prompt in enumerate(job.prompts)
            for turn in range(job.n)
        ]
        running: dict[int, Request] = {}

        def listen_as(index: int) -> Listen:
            def listen(update: Update) -> None:
                with suppress(RuntimeError):  # the server has shut down in the meantime
                    here.call_soon_threadsafe(queue.put_nowait, (index, update))

            return listen

        try:
            for choice in choices:
                prompt, turn = divmod(choice.index, job.n)
                params = replace(job.params, seed=job.params.seed + turn)
                running[choice.index] = self._submit(job.prompts[prompt], params, listen_as(choice.index))
            looked = monotonic()
            while running:
                if monotonic() - looked >= _LOOK_UP:
                    looked = monotonic()
                    if await gone():
                        raise ApiError(499, "the client closed the connection")
                try:
                    index, update = await asyncio.wait_for(queue.get(), _LOOK_UP)
                except TimeoutError:
                    continue
                if update.error is not None:
                    raise ApiError(500, str(update.error))
                if update.finish_reason:
                    del running[index]
                choices[index].add(update, job.form.logprobs)
                yield choices[index], update
        finally:
            for request in running.values():
                self.loop.cancel(request)

    def _submit(self, prompt: Sequence[int], params: SamplingParams, listen: Listen) -> "Request":
        try:
            return self.loop.submit(prompt, params, listen)
        except EngineDownError as error:
            raise ApiError(503, str(error)) from None
        except GenirError as error:
            raise ApiError(400, str(error)) from None

    def check_model(self, name: str) -> None:
        """Raise ApiError (404) for the name of a model that is not served; none at all is the only one."""
        served = self.loop.engine.name
        if name not in ("", served):
            raise ApiError(
                404, f"the model {name!r} does not exist here; this server has {served!r}", "model", "model_not_found"
            )

    def _encode(self, text: str, param: str, special: bool = True) -> list[int]:
        """A prompt's tokens. Raises ApiError for a text that has none, or far too many."""
        engine = self.loop.engine
        try:
            return encode_prompt(engine.tokenizer, text, engine.config.max_position_embeddings, special)
        except PromptTooLongError as error:
            raise ApiError(400, str(error), param, "context_length_exceeded") from None
        except GenirError as error:
            raise ApiError(400, str(error), param) from None

    def _check_prompt(self, prompt: Sequence[int], new_tokens: int, param: str) -> None:
        config, served = self.loop.engine.config, self.loop.engine.name
        if not prompt:
            raise ApiError(400, "empty prompt: expected at least one token; this tokenizer adds none of its own", param)
        if not all(0 <= token < config.vocab_size for token in prompt):
            raise ApiError(
                400, f"a prompt token lies outside the vocabulary: expected 0 to {config.vocab_size - 1}", param
            )
        if len(prompt) + new_tokens > config.max_position_embeddings:
            raise ApiError(
                400,
                f"prompt of {len(prompt)} tokens + max_tokens {new_tokens} exceeds the context of {config.max_position_embeddings} "
                f"tokens of {served!r}: shorten the prompt, or ask for fewer tokens",
                param,
                "context_length_exceeded",
            )


def _params(body: CompletionBody | ChatBody, max_new_tokens: int, logprobs: bool) -> SamplingParams:
    return SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=body.temperature,
        top_k=max(0, body.top_k),
        top_p=body.top_p,
        stop=tuple(filter(None, body.stop)),
        seed=body.seed,
        repetition_penalty=body.repetition_penalty,
        ignore_eos=body.ignore_eos,
        logprobs=logprobs,
    )


def _usage(job: Job, choices: Sequence[Choice]) -> dict[str, int]:
    return usage_of(sum(map(len, job.prompts)), choices)
