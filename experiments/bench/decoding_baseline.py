"""Hugging Face's constrained beam search, for comparison: its callback, its rankings, and whether two rankings agree."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

Found = list[list[tuple[tuple[int, ...], float]]]  # per query: identifier tokens and score, best first


def prefix_allowed_tokens_fn(
    identifiers: Sequence[Sequence[int]], pad_token: int
) -> Callable[[int, torch.Tensor], list[int]]:
    """The callback for `generate` of an encoder-decoder: every beginning's legal continuations, looked up at once."""
    allowed: dict[tuple[int, ...], list[int]] = {}
    for identifier in sorted(map(tuple, identifiers)):
        for length, token in enumerate(identifier):
            known = allowed.setdefault(identifier[:length], [])
            if not known or known[-1] != token:
                known.append(token)
    finished = [pad_token]

    def look_up(_: int, written: torch.Tensor) -> list[int]:
        return allowed.get(tuple(written.tolist()[1:]), finished)

    return look_up


def generate(
    network: Any,
    callback: Callable[[int, torch.Tensor], list[int]],
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    beams: int,
    longest: int,
    renormalise: bool,
    compare: bool,
) -> Found:
    """One search of an encoder-decoder's `generate`; `renormalise` takes the log-softmax over the allowed tokens.

    Rankings are returned for `compare` only: keeping the scores costs time that a timed round must not pay.
    """
    network.set_attn_implementation("sdpa")
    found = network.generate(
        input_ids,
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=beams,
        length_penalty=0.0,
        do_sample=False,
        max_new_tokens=longest + 1,
        prefix_allowed_tokens_fn=callback,
        renormalize_logits=renormalise,
        return_dict_in_generate=compare,
        output_scores=compare,
    )
    if not compare:
        return []
    return rankings(found.sequences[:, 1:], found.sequences_scores, network.config.eos_token_id, beams)


def rankings(sequences: torch.Tensor, scores: torch.Tensor, end_token: int, beams: int) -> Found:
    """What `generate` returned (batch x beams rows, prompt cut off) as rankings, less its dead beams (about -1e9)."""
    rows = []
    for tokens, score in zip(sequences.tolist(), scores.tolist(), strict=True):
        cut = tokens.index(end_token) + 1 if end_token in tokens else len(tokens)
        rows.append((tuple(tokens[:cut]), score))
    starts = range(0, len(rows), beams)
    return [[(tokens, score) for tokens, score in rows[s : s + beams] if score > -1e8] for s in starts]


def agree(theirs: Found, ours: Found, tolerance: float = 1e-4) -> bool:
    """Whether two sets of rankings are the same, but for order (and the last place) among scores within `tolerance`."""
    for row_theirs, row_ours in zip(theirs, ours, strict=True):
        if len(row_theirs) != len(row_ours):
            return False
        scores = dict(row_theirs)
        last = row_theirs[-1][1] if row_theirs else 0.0
        for (_, score_theirs), (tokens, score_ours) in zip(row_theirs, row_ours, strict=True):
            if abs(score_theirs - score_ours) > tolerance:
                return False
            if abs(scores.get(tokens, last) - score_ours) > tolerance:
                return False
    return True
