"""A generator that says what it was told to, and keeps the prompts it was given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from genir.protocols import Generation, SamplingParams


@dataclass
class ScriptedGenerator:
    """Replies in turn, the last one for ever; streamed in pieces of `size` characters."""

    replies: Sequence[str]
    logprobs: tuple[float, ...] = ()
    size: int = 3
    name: str = "scripted"
    prompts: list[str] = field(default_factory=list)

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """The replies, each with the log-probabilities."""
        return [Generation(self._reply(prompt), (), self.logprobs) for prompt in prompts]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The reply in pieces."""
        reply = self._reply(prompt)
        yield from (reply[i : i + self.size] for i in range(0, len(reply), self.size))

    def _reply(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.replies[min(len(self.prompts), len(self.replies)) - 1]


@dataclass
class CountingGenerator(ScriptedGenerator):
    """One that counts characters as tokens, and has a context."""

    context: int | None = None

    def count_tokens(self, text: str) -> int:
        """Characters."""
        return len(text)

    def context_length(self) -> int | None:
        """The context."""
        return self.context
