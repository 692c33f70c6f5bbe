"""Same identifiers, order and scores as Hugging Face's generate with prefix_allowed_tokens_fn, on tiny networks."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel

END, PAD, VOCAB, LONGEST = 1, 0, 24, 4

# Few tokens, so that beginnings are shared and one identifier is often a prefix of another (but for its end token).
identifier_sets = st.lists(
    st.lists(st.integers(2, 6), min_size=1, max_size=LONGEST).map(lambda tokens: (*tokens, END)),
    min_size=1,
    max_size=30,
    unique=True,
)
cases = {"num_beams": st.integers(2, 12), "length_penalty": st.sampled_from([0.0, 1.0])}


@cache
def tiny_t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=VOCAB, decoder_start_token_id=PAD, **shape)).eval()


@cache
def tiny_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"pad_token_id": PAD, "eos_token_id": END, "bos_token_id": None}
    config = LlamaConfig(vocab_size=VOCAB, num_key_value_heads=1, initializer_range=0.4, **shape, **tokens)
    return LlamaForCausalLM(config).eval()


class CausalNextToken:
    """A causal network as a NextToken: the left-padded prompts are read once, then one token a beam."""

    def __init__(self, network: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> None:
        from transformers import DynamicCache

        self.network, self.input_ids, self.mask, self.cache = network, input_ids, mask, DynamicCache()

    def __call__(self, tokens: torch.Tensor, parents: torch.Tensor | None) -> torch.Tensor:
        input_ids = self.input_ids
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        if parents is not None:
            self.cache.reorder_cache(parents)
            self.mask = torch.nn.functional.pad(self.mask[parents], (0, 1), value=1)
            input_ids, positions = tokens[:, None], self.mask.sum(1, keepdim=True) - 1
        output = self.network(
            input_ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        return output.logits[:, -1]


def allowed_tokens(identifiers: list[tuple[int, ...]], prompt: int) -> Callable[[int, torch.Tensor], list[int]]:
    trie: dict[int, Any] = {}
    for identifier in identifiers:
        node = trie
        for token in identifier:
            node = node.setdefault(token, {})

    def look_up(_: int, written: torch.Tensor) -> list[int]:
        node = trie
        for token in written[prompt:].tolist():
            node = node.get(token, {})
        return list(node) or [END]

    return look_up


def generated(
    network: Any, input_ids: torch.Tensor, mask: torch.Tensor, identifiers: list[tuple[int, ...]], **case: Any
) -> list[list[tuple[tuple[int, ...], float]]]:
    """Hugging Face's rankings, without its dead beams (scores about -1e9)."""
    prompt = 1 if network.config.is_encoder_decoder else input_ids.shape[1]
    found = network.generate(
        input_ids,
        attention_mask=mask,
        num_return_sequences=case["num_beams"],
        max_new_tokens=LONGEST + 2,
        do_sample=False,
        prefix_allowed_tokens_fn=allowed_tokens(identifiers, prompt),
        return_dict_in_generate=True,
        output_scores=True,
        **case,
    )
    rankings: list[list[tuple[tuple[int, ...], float]]] = [[] for _ in input_ids]
    for row, (tokens, score) in enumerate(
        zip(found.sequences[:, prompt:].tolist(), found.sequences_scores.tolist(), strict=True)
    ):
        if score > -1e8:
            rankings[row // case["num_beams"]].append((tuple(tokens[: tokens.index(END) + 1]), score))
    return rankings


def assert_same(ours: Any, theirs: list[list[tuple[tuple[int, ...], float]]]) -> None:
    assert [[h.tokens for h in row] for row in ours] == [[tokens for tokens, _ in row] for row in theirs]
    for row_ours, row_theirs in zip(ours, theirs, strict=True):
        assert [h.score for h in row_ours] == pytest.approx([score for _, score in row_theirs], rel=1e-5, abs=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(identifiers=identifier_sets, **cases)
def test_t5(identifiers: list[tuple[int, ...]], num_beams: int, length_penalty: float) -> None:
    network = tiny_t5()
    input_ids = torch.randint(2, VOCAB, (3, 5), generator=torch.Generator().manual_seed(len(identifiers)))
    mask = torch.ones_like(input_ids)
    mask[1, 3:] = 0
    case = {"num_beams": num_beams, "length_penalty": length_penalty}
    network.set_attn_implementation("sdpa")
    theirs = generated(network, input_ids, mask, identifiers, **case)
    model = Seq2SeqModel(network, None, Seq2SeqConfig(), None, None)
    tree = PrefixTree.build(identifiers)
    ours = beam_search(model.begin_tokens(input_ids, mask), tree, 3, scoring="vocabulary", **case)
    assert_same(ours, theirs)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(identifiers=identifier_sets, **cases)
def test_llama(identifiers: list[tuple[int, ...]], num_beams: int, length_penalty: float) -> None:
    network = tiny_llama()
    input_ids = torch.randint(2, VOCAB, (3, 5), generator=torch.Generator().manual_seed(len(identifiers)))
    mask = torch.ones_like(input_ids)
    mask[1, :2] = 0
    case = {"num_beams": num_beams, "length_penalty": length_penalty}
    theirs = generated(network, input_ids, mask, identifiers, **case)
    next_token = CausalNextToken(network, input_ids, mask)
    ours = beam_search(next_token, PrefixTree.build(identifiers), 3, scoring="vocabulary", **case)
    assert_same(ours, theirs)
