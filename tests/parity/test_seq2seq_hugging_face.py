"""Encoder-decoders against Hugging Face's generate: T5 and BART, log-softmax over everything and over what is allowed."""

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel
from genir.protocols import Scoring
from tests.hugging_face_search import assert_same, generated

PAD, END, VOCAB = 0, 1, 24
TOKENS = {"vocab_size": VOCAB, "pad_token_id": PAD, "decoder_start_token_id": PAD, "eos_token_id": END}

# Few tokens, so that beginnings are shared and one identifier is often a prefix of another (but for its end token).
identifier_sets = st.lists(
    st.lists(st.integers(2, 6), min_size=1, max_size=4).map(lambda tokens: (*tokens, END)),
    min_size=1,
    max_size=30,
    unique=True,
)


@cache
def model(kind: str) -> Seq2SeqModel:
    from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    if kind == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        network: Any = T5ForConditionalGeneration(T5Config(**TOKENS, **shape))
    else:
        shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "max_position_embeddings": 32}
        heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
        widths = {f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")}
        forced = {"forced_eos_token_id": None, "forced_bos_token_id": None, "bos_token_id": None}
        config = BartConfig(**TOKENS, **shape, **heads, **widths, **forced, init_std=0.4)
        network = BartForConditionalGeneration(config)
        network.final_logits_bias.normal_(generator=torch.Generator().manual_seed(0))
    return Seq2SeqModel(network.eval(), None, Seq2SeqConfig(), None, None)


@pytest.mark.parametrize("shares", [True, False], ids=["shared", "row"])
@pytest.mark.parametrize("scoring", ["vocabulary", "allowed"])
@pytest.mark.parametrize("kind", ["t5", "bart"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(identifiers=identifier_sets, num_beams=st.integers(2, 12), length_penalty=st.sampled_from([0.0, 1.0]))
def test_same_rankings(
    kind: str, scoring: Scoring, shares: bool, identifiers: list[tuple[int, ...]], num_beams: int, length_penalty: float
) -> None:
    ours = model(kind)
    input_ids = torch.randint(2, VOCAB, (4, 5), generator=torch.Generator().manual_seed(len(identifiers)))
    mask = torch.ones_like(input_ids)
    mask[1, 3:] = 0  # padded on the right
    if kind == "t5":  # its positions are relative: padding on the left changes nothing either
        mask[2, :2] = 0
    case = {"num_beams": num_beams, "length_penalty": length_penalty}
    ours.network.set_attn_implementation("sdpa")
    renormalise = scoring == "allowed"
    theirs = generated(ours.network, input_ids, mask, identifiers, END, renormalize_logits=renormalise, **case)
    with_beams = "genir_beams" if shares else "sdpa"
    ours.network.set_attn_implementation(with_beams)
    ours.shares_cross_attention = shares
    tree = PrefixTree.build(identifiers)
    assert_same(beam_search(ours.begin_tokens(input_ids, mask), tree, 4, scoring=scoring, **case), theirs)
