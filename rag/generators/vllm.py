"""vLLM's offline engine as a `Generator`, where vLLM is installed (extra "vllm"; Linux, a GPU, or its build for CPUs).

Known gaps: the offline engine has no streaming, so `stream` gives the whole text as one piece; for pieces start `vllm serve` and use
`rag.generators.openai` with dialect "vllm". vLLM starts processes of its own: a script that uses this needs `if __name__ == "__main__":`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from genir.errors import ArtefactError, MissingExtraError
from genir.protocols import Generation, SamplingParams
from rag.chat_template import as_text
from rag.generators.limits import refuse


@dataclass
class VLLMGenerator:
    """`source` is a folder or hub name, loaded at the first prompt. `options` go to `vllm.LLM` (tensor_parallel_size, max_model_len, ...).

    `dtype`: "auto" keeps the checkpoint's.
    """

    source: str
    dtype: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        self._engine: Any = None

    @property
    def name(self) -> str:
        """The label, or the source where none was given."""
        return self.label or self.source

    def load(self) -> Any:
        """The engine, started once. Raises MissingExtraError without vLLM, ArtefactError for a model that it cannot load."""
        if self._engine is None:
            if find_spec("vllm") is None:
                raise MissingExtraError("vllm", "vllm", "the generator 'vllm'")
            from vllm import LLM

            try:
                self._engine = LLM(model=self.source, dtype=self.dtype, **self.options)
            except (OSError, ValueError) as error:
                raise ArtefactError(f"{self.source}: vLLM cannot load it: {str(error).splitlines()[0]}") from None
        return self._engine

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """One generation a prompt, in order; log-probabilities are the model's own (temperature 1, nothing cut off)."""
        if not prompts:
            return []
        refuse(params, ("num_beams", "length_penalty"), "the generator vllm")
        engine = self.load()
        from vllm import SamplingParams as VLLMParams

        wanted = VLLMParams(
            max_tokens=params.max_new_tokens,
            temperature=params.temperature,
            top_k=params.top_k or -1,
            top_p=params.top_p,
            stop=list(params.stop) or None,
            seed=params.seed,
            repetition_penalty=params.repetition_penalty,
            ignore_eos=params.ignore_eos,
            logprobs=0 if params.logprobs else None,  # 0: the chosen token's alone
        )
        tokenizer = engine.get_tokenizer()
        outputs = engine.generate([as_text(tokenizer, prompt) for prompt in prompts], wanted, use_tqdm=False)
        return [_generation(output.outputs[0]) for output in outputs]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The text of `generate`, as one piece."""
        yield from (piece for piece in self.stream_generation(prompt, params) if isinstance(piece, str))

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The pieces of `stream`, then what `generate` gives."""
        [generation] = self.generate([prompt], params)
        if generation.text:
            yield generation.text
        yield generation


def _generation(completion: Any) -> Generation:
    tokens = tuple(completion.token_ids)
    steps = zip(tokens, completion.logprobs or (), strict=bool(completion.logprobs))
    logprobs = tuple(at[token].logprob for token, at in steps)
    return Generation(completion.text, tokens, logprobs, completion.finish_reason)
