"""An engine without a model, for tests of the server: it echoes each prompt token by token, and fails or stalls on demand.

One token is one byte; a `step` gives every running request its next one. Temperature above 0 shifts every byte by the seed, so that
seeds can be seen in the text.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from genir.errors import GenirError
from genir.protocols import SamplingParams

END = 257


class ByteTokenizer:
    """One id a byte; 256 starts a text, 257 ends it. Hugging Face's own tokenizer, which it stands for, is itself."""

    chat_template: str | None = None
    begin: Sequence[int] = (256,)

    @property
    def hugging_face(self) -> "ByteTokenizer":
        return self

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [*(self.begin if add_special_tokens else ()), *text.encode()]}

    def encode(self, text: str, special: bool = True) -> list[int]:
        return self(text, add_special_tokens=special)["input_ids"]

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode(errors="replace")


@dataclass
class ScriptedRequest:
    """What the engine's own request shows."""

    prompt: list[int]
    params: SamplingParams
    on_update: Callable[["ScriptedRequest"], None]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""
    error: GenirError | None = None
    taken: int = 0

    def take(self) -> str:
        piece, self.taken = self.text[self.taken :], len(self.text)
        return piece


@dataclass
class ScriptedEngine:
    """Echoes prompts while `go` is set; `faults` are raised by the next steps, one each, once `fault_after` tokens are written."""

    name: str = "echo"
    context: int = 96
    cache: int = 1000
    faults: list[Exception] = field(default_factory=list)
    fault_after: int = 0
    pause: float = 0.0  # seconds a step
    restart_fault: GenirError | None = None
    stage_fault: GenirError | None = None  # what the next look at the stages finds
    running: list[ScriptedRequest] = field(default_factory=list)
    cancelled: list[ScriptedRequest] = field(default_factory=list)
    most_together: int = 0
    starts: int = 0
    tokenizer: Any = field(default_factory=ByteTokenizer)
    go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.config = SimpleNamespace(vocab_size=258, max_position_embeddings=self.context)
        self.go.set()

    def start(self) -> None:
        self.starts += 1

    def restart(self) -> None:
        if self.restart_fault is not None:
            raise self.restart_fault
        self.starts += 1

    def close(self) -> None:
        self.running.clear()

    @property
    def has_work(self) -> bool:
        return bool(self.running)

    def room(self, prompt_length: int) -> int:
        return min(self.context, self.cache) - prompt_length

    def check_stages(self) -> None:
        if self.stage_fault is not None:
            fault, self.stage_fault = self.stage_fault, None
            raise fault

    def submit(self, prompt: Sequence[int], params: SamplingParams, on_update: Any) -> ScriptedRequest:
        if params.top_p < 0.01:
            raise GenirError("the engine refuses this")
        if len(prompt) + params.max_new_tokens > self.cache:
            raise GenirError("the cache is too small")
        request = ScriptedRequest(list(prompt), params, on_update)
        self.running.append(request)
        return request

    def cancel(self, request: ScriptedRequest) -> None:
        self.cancelled.append(request)
        request.finish_reason = request.finish_reason or "cancelled"

    def step(self) -> None:
        self.go.wait()
        time.sleep(self.pause)
        if self.faults and max(len(request.tokens) for request in self.running) >= self.fault_after:
            self.running.clear()
            raise self.faults.pop(0)
        self.most_together = max(self.most_together, len(self.running))
        for request in list(self.running):
            if not request.finish_reason:
                self._advance(request)
            if request.finish_reason:
                self.running.remove(request)
            request.on_update(request)

    def _advance(self, request: ScriptedRequest) -> None:
        written, params = len(request.tokens), request.params
        source = [token for token in request.prompt if token < 256]
        token = source[written] if written < len(source) else END
        if params.temperature and token != END:
            token = (token + params.seed) % 128
        request.tokens.append(token)
        if params.logprobs:
            request.logprobs.append(-0.5)
        text = self.tokenizer.decode(request.tokens)
        ends = [at for at in (text.find(stop) for stop in params.stop) if at >= 0]
        if ends or token == END:
            request.finish_reason = "stop"
            request.text = text[: min(ends, default=len(text))]
        elif written + 1 == params.max_new_tokens:
            request.finish_reason, request.text = "length", text
        else:
            held = max((len(stop) - 1 for stop in params.stop), default=0)
            request.text = text[: max(0, len(text.rstrip("\ufffd")) - held)]
