"""Hugging Face's own constrained beam search, for parity tests: generate with prefix_allowed_tokens_fn."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

Ranking = list[tuple[tuple[int, ...], float]]


def allowed_tokens(
    identifiers: Sequence[tuple[int, ...]], prompt: int, end: int
) -> Callable[[int, torch.Tensor], list[int]]:
    """What may follow behind a prompt of `prompt` tokens; the end token where nothing else may."""
    trie: dict[int, Any] = {}
    for identifier in identifiers:
        node = trie
        for token in identifier:
            node = node.setdefault(token, {})

    def look_up(_: int, written: torch.Tensor) -> list[int]:
        node = trie
        for token in written[prompt:].tolist():
            node = node.get(token, {})
        return list(node) or [end]

    return look_up


def generated(
    network: Any,
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    identifiers: Sequence[tuple[int, ...]],
    end: int,
    **case: Any,
) -> list[Ranking]:
    """Rankings behind left-padded prompts, or of an encoder-decoder; without dead beams (scores about -1e9)."""
    prompt = 1 if network.config.is_encoder_decoder else input_ids.shape[1]
    found = network.generate(
        input_ids,
        attention_mask=mask,
        num_return_sequences=case["num_beams"],
        max_new_tokens=max(map(len, identifiers)) + 1,
        do_sample=False,
        prefix_allowed_tokens_fn=allowed_tokens(identifiers, prompt, end),
        return_dict_in_generate=True,
        output_scores=True,
        **case,
    )
    rankings: list[Ranking] = [[] for _ in input_ids]
    rows = zip(found.sequences[:, prompt:].tolist(), found.sequences_scores.tolist(), strict=True)
    for row, (tokens, score) in enumerate(rows):
        if score > -1e8:
            rankings[row // case["num_beams"]].append((tuple(tokens[: tokens.index(end) + 1]), score))
    return rankings


def assert_same(ours: Any, theirs: list[Ranking]) -> None:
    """The same sequences in the same order, with the same scores."""
    assert [[h.tokens for h in row] for row in ours] == [[tokens for tokens, _ in row] for row in theirs]
    for row_ours, row_theirs in zip(ours, theirs, strict=True):
        assert [h.score for h in row_ours] == pytest.approx([score for _, score in row_theirs], rel=1e-5, abs=1e-5)
