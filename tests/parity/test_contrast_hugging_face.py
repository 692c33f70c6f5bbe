"""Context-aware decoding with alpha is Hugging Face's classifier-free guidance with scale 1 + alpha."""

import torch

from genir.protocols import SamplingParams
from rag.contrast import ContrastiveDecoder
from rag.generators.hf import HFGenerator
from tests.contracts.test_generators import tiny_llama, tiny_tokenizer


def test_greedy_tokens_are_those_of_guidance() -> None:
    generator = HFGenerator.of(tiny_llama(), tiny_tokenizer(), label="tiny")
    tokenizer, model = generator.load()
    grounded, closed = "Helium is a noble gas. What is helium?", "What is helium?"
    for alpha in (0.5, 1.0):
        [ours] = ContrastiveDecoder(generator, alpha).generate([grounded], [closed], SamplingParams(max_new_tokens=12))
        ids, negative = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (grounded, closed))
        theirs = model.generate(
            ids, guidance_scale=1 + alpha, negative_prompt_ids=negative, do_sample=False, max_new_tokens=12
        )
        assert list(ours.tokens) == theirs[0, ids.shape[1] :].tolist()
        assert torch.tensor(ours.logprobs).le(0).all()
