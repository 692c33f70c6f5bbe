"""CausalModel gives the identifiers, order and scores of Hugging Face's generate, and the loss of its training."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig
from genir.objectives import CrossEntropyObjective, TrainingBatch
from tests.hugging_face_search import assert_same, generated
from tests.tiny_causal_networks import END, VOCAB, tiny_causal

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260k"
KINDS = ["llama", "llama_gqa", "gpt2", "bloom"]

# Few tokens, so that beginnings are shared and one identifier is often a prefix of another (but for its end token).
identifier_sets = st.lists(
    st.lists(st.integers(2, 6), min_size=1, max_size=4).map(lambda tokens: (*tokens, END)),
    min_size=1,
    max_size=30,
    unique=True,
)


@cache
def networks(kind: str) -> tuple[Any, CausalModel]:
    """One for Hugging Face, and the same in a model of ours."""
    return tiny_causal(kind), CausalModel(tiny_causal(kind), None, CausalConfig(max_text_tokens=16), None, None)


def prompts(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded token ids (3, 6) and their mask; with seed 0, 3, .. nothing is padded."""
    input_ids = torch.randint(2, VOCAB, (3, 6), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(input_ids)
    mask[1, : seed % 3] = 0
    mask[2, : 2 * (seed % 3)] = 0
    return input_ids * mask, mask


def right_padded(input_ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same rows with their padding behind them."""
    shifts = (mask == 0).sum(1).tolist()
    rolled = [[row.roll(-n) for row, n in zip(rows, shifts, strict=True)] for rows in (input_ids, mask)]
    return torch.stack(rolled[0]), torch.stack(rolled[1])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    identifiers=identifier_sets,
    seed=st.integers(0, 99),
    num_beams=st.integers(2, 12),
    length_penalty=st.sampled_from([0.0, 1.0]),
)
def test_beam_search(
    kind: str, identifiers: list[tuple[int, ...]], seed: int, num_beams: int, length_penalty: float
) -> None:
    network, model = networks(kind)
    input_ids, mask = prompts(seed)
    case = {"num_beams": num_beams, "length_penalty": length_penalty}
    theirs = generated(network, input_ids, mask, identifiers, END, **case)
    tree = PrefixTree.build(identifiers)
    for batch in ((input_ids, mask), right_padded(input_ids, mask)):
        assert_same(beam_search(model.begin_tokens(*batch), tree, 3, scoring="vocabulary", **case), theirs)
    assert model.shares_prompts is (kind != "bloom")


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_labels_with_the_prompt_masked(kind: str) -> None:
    """Left in the loss, a prompt of 100 tokens drowns an identifier of 4: nothing fails, the model learns to babble."""
    network, model = networks(kind)
    input_ids, mask = prompts(1)
    identifiers = [(3, 4, 5), (6, 2, 2), (5, 5, 3)]
    written = torch.tensor([(*identifier, END) for identifier in identifiers])
    whole, seen = torch.cat([input_ids, written], 1), torch.cat([mask, torch.ones_like(written)], 1)
    labels = torch.cat([torch.full_like(input_ids, -100), written], 1)
    positions = {} if kind == "bloom" else {"position_ids": (seen.cumsum(1) - 1).clamp(min=0)}
    theirs = network(input_ids=whole, attention_mask=seen, labels=labels, **positions).loss
    objective = CrossEntropyObjective(model, identifiers)
    for batch in ((input_ids, mask), right_padded(input_ids, mask)):
        ours = objective.loss(TrainingBatch(*batch, torch.arange(3), torch.ones(3)))
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.skipif(not STORIES.is_dir(), reason="needs ../shared/models/stories260k")
def test_a_real_llama() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network, tokenizer = AutoModelForCausalLM.from_pretrained(STORIES), AutoTokenizer.from_pretrained(STORIES)
    model = CausalModel.build(CausalConfig(source=str(STORIES), max_text_tokens=32))
    texts = ["Once upon a time, there was a little girl named", "The boy was called", "One day, she saw a big, red"]
    names = ["Lily", "Tom and Lily", "Tom", "ran to the park", "ball", "ball."]
    identifiers = [tuple(tokenizer(name, add_special_tokens=False)["input_ids"]) for name in names]
    ended = [(*identifier, model.end_token or 0) for identifier in identifiers]
    rows = tokenizer(texts)["input_ids"]
    assert model.tokenize(texts) == rows
    found = beam_search(model.begin(texts), PrefixTree.build(ended), 3, 6, scoring=model.scoring)
    assert [names[row[0].leaf] for row in found] == ["Lily", "Tom", "ball."]
    case = {"num_beams": 6, "length_penalty": 0.0}
    theirs = generated(network, *model.pad(rows), ended, model.end_token or 0, pad_token_id=0, **case)
    assert_same(found, theirs)
    scores = model.score(texts, identifiers)
    for row, hypotheses in zip(scores.tolist(), found, strict=True):
        assert {h.leaf: h.score for h in hypotheses} == pytest.approx(dict(enumerate(row)), abs=1e-4)
