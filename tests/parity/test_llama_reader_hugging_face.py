"""The engine's answers are Hugging Face's: token by token in float32, out of the folder that the reader is saved to."""

from pathlib import Path

import torch

from genir.protocols import SamplingParams
from genir.records import Document
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama_reader.network import ANSWERS
from rag.llama_reader.reader import save_reader
from tests.tiny_llama_reader import SMALL, tiny_network

PASSAGES = [
    Document("a", "The old bridge lies by the river. Oslo is the capital of Norway."),
    Document("b", "The Nile lies in Egypt. Cairo lies near the Nile."),
]
ASKED = ["What is the capital of Norway?", "What lies near the Nile?", "Who was the first king of Rome?"]


def test_greedy_answers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tokenizer, model = tiny_network(tmp_path / "encoder")
    with torch.no_grad():  # far from the start, so that what is written varies
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    save_reader(tmp_path / "reader", tokenizer, model, SMALL)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "reader", dtype=torch.float32).eval()
    maker = SMALL.maker(tokenizer)
    prompts = []
    for asked in ASKED:
        question = maker.question(asked)
        evidence = maker.evidence(question, PASSAGES)
        assert evidence is not None
        prompts += [prompt := maker.prompt(question, evidence), [*prompt, tokenizer.convert_tokens_to_ids(ANSWERS)]]
    with LlamaEngine(tmp_path / "reader", EngineOptions(threads=1, block_size=4)) as engine:
        ours = engine.generate(prompts, SamplingParams(max_new_tokens=8))
    for prompt, one in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            theirs = loaded.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
            logprobs = loaded(theirs).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        written = theirs[0, len(prompt) :]
        assert list(one.tokens) == written.tolist()
        expected = logprobs.gather(1, written[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=1e-4)
