"""Engines side by side behind one small class each: the same prompts (token ids) in, exactly `new_tokens` greedy tokens a prompt out.

Prefix sharing is off everywhere: rounds repeat their prompts, and no engine shall profit from having seen them. Log-probabilities
are off, end tokens are ignored. Every peer is opened once, and warmed up before it is timed.
"""

import json
import logging
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from genir.errors import GenirError
from genir.protocols import SamplingParams

if TYPE_CHECKING:
    from rag.llama.engine import EngineOptions
    from rag.llama.statistics import EngineStatistics

Tokens = list[list[int]]


class Peer(Protocol):
    """An engine, opened by `with`."""

    def run(self, prompts: Tokens, new_tokens: int) -> Tokens:
        """What it writes after each prompt."""
        ...

    def __enter__(self) -> "Peer": ...

    def __exit__(self, *_: object) -> None: ...


@dataclass
class Timed:
    """Rounds of one peer: its tokens, the seconds of each round and, of our engine, what it was busy with."""

    tokens: Tokens = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statistics: list["EngineStatistics"] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Generated tokens/s (median), and the seconds behind it."""
        written = sum(map(len, self.tokens))
        return {"tokens_per_second": written / statistics.median(self.seconds), "seconds": self.seconds}

    def utilisation(self) -> list[float]:
        """Busy share of each stage, the median over the rounds."""
        return [statistics.median(shares) for shares in zip(*(one.utilisation for one in self.statistics), strict=True)]


def alternate(peers: Mapping[str, Peer], prompts: Tokens, new_tokens: int, repeats: int) -> dict[str, Timed]:
    """One round to warm up and compare, then `repeats` timed rounds, the peers in turns."""
    timed = {name: Timed(peer.run(prompts, new_tokens)) for name, peer in peers.items()}
    for _ in range(repeats):
        for name, peer in peers.items():
            if isinstance(peer, OurPeer):
                peer.engine.reset_statistics()
            started = time.perf_counter()
            peer.run(prompts, new_tokens)
            timed[name].seconds.append(time.perf_counter() - started)
            if isinstance(peer, OurPeer):
                timed[name].statistics.append(peer.engine.statistics())
    return timed


@contextmanager
def opened(peers: Mapping[str, Peer]) -> Iterator[Mapping[str, Peer]]:
    """All peers started; closed again whatever happens."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(peer) for name, peer in peers.items()}


def agreement(found: Tokens, reference: Tokens) -> float:
    """Share of prompts whose tokens are all the same."""
    return sum(a == b for a, b in zip(found, reference, strict=True)) / len(reference)


@dataclass
class OurPeer:
    """Our engine with `options`."""

    folder: Path
    options: "EngineOptions"

    def __enter__(self) -> "OurPeer":
        from rag.llama.engine import LlamaEngine

        self.engine: LlamaEngine = LlamaEngine(self.folder, self.options)
        self.engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def run(self, prompts: Tokens, new_tokens: int) -> Tokens:
        """All prompts are there from the start; the engine's options say how many run together."""
        params = SamplingParams(max_new_tokens=new_tokens, ignore_eos=True, logprobs=False)
        requests = [self.engine.submit(prompt, params) for prompt in prompts]
        while self.engine.has_work:
            self.engine.step()
        return [list(request.generation().tokens) for request in requests]


@dataclass
class HuggingFacePeer:
    """transformers: `generate` on one batch, or `generate_batch` (continuous batching) where `continuous`."""

    folder: Path
    dtype: str
    threads: int
    continuous: bool = False
    device: str = "cpu"

    @staticmethod
    def can_batch_continuously() -> bool:
        """Whether this version of transformers has `generate_batch` as it is called here."""
        try:
            from transformers.generation.configuration_utils import ContinuousBatchingConfig  # noqa: F401
        except ImportError:
            return False
        return True

    def __enter__(self) -> "HuggingFacePeer":
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(self.threads)
        model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=getattr(torch, self.dtype))
        self.model = model.eval().to(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        if self.continuous:
            self.model.destroy_cached_continuous_batching_manager()
        del self.model

    def run(self, prompts: Tokens, new_tokens: int) -> Tokens:
        """Greedy, and never ended by a token."""
        import torch
        from transformers import GenerationConfig

        torch.set_num_threads(self.threads)  # our engine, in this process when it has one stage, sets its own
        never = -1 if self.continuous else None  # as an end token
        wanted = GenerationConfig(do_sample=False, max_new_tokens=new_tokens, eos_token_id=never, pad_token_id=0)
        if self.continuous:
            return self._continuous(prompts, wanted)
        ids = torch.tensor(prompts, device=self.device)
        with torch.inference_mode():
            written = self.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)
        found: Tokens = written[:, ids.shape[1] :].tolist()
        return found

    def _continuous(self, prompts: Tokens, wanted: Any) -> Tokens:
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # its advice on every call
        sizes: dict[str, Any] = {}
        if self.device == "cpu":  # sized by itself from a GPU's free memory only
            pages = sum(-(-(len(prompt) + wanted.max_new_tokens) // 256) for prompt in prompts)
            sizes = {"num_blocks": pages + len(prompts), "max_batch_tokens": max(256, sum(map(len, prompts)))}
        config = ContinuousBatchingConfig(allow_block_sharing=False, **sizes)
        found = self.model.generate_batch(prompts, wanted, config, persistent_manager=True)
        if len(found) != len(prompts):
            raise GenirError(f"Hugging Face's generate_batch answered {len(found)} of {len(prompts)} prompts")
        return [list(output.generated_tokens) for output in found.values()]


@dataclass
class VLLMPeer:
    """vLLM in an interpreter of its own, spoken to by lines of JSON."""

    python: str
    folder: Path
    dtype: str
    context: int

    def __enter__(self) -> "VLLMPeer":
        script = Path(__file__).with_name("vllm_worker.py")
        command = [self.python, str(script), str(self.folder), self.dtype, str(self.context)]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise GenirError(
                f"--vllm {self.python}: {error.strerror}; give a Python interpreter that has vLLM"
            ) from None
        self._read()  # "ready"
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()  # the worker ends at the end of its input
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self, prompts: Tokens, new_tokens: int) -> Tokens:
        """One line there, one line back."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"prompts": prompts, "new_tokens": new_tokens}) + "\n")
        self.process.stdin.flush()
        found: Tokens = self._read()["tokens"]
        return found

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise GenirError(
                f"--vllm {self.python}: ended with code {self.process.wait()}; its own messages stand above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
