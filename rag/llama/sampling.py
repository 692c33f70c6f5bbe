"""The next token from the last stage's scores: greedy, or drawn after temperature, top-k and top-p.

All randomness is one number in [0, 1) a token, made from the request's seed and the token's place (`uniform`), so that a text does
not depend on what else is in the batch, on preemption, or on the number of stages. Log-probabilities are the model's own: temperature
1, nothing cut off, no penalty.

Shape letters: S sequences, V vocabulary.
"""

from collections.abc import Sequence

import torch

from rag.llama.batch import Choice

_MASK = (1 << 64) - 1
_COLDEST = 1e-30  # a float32 knows no temperature far below


def uniform(seed: int, place: int) -> float:
    """A number in [0, 1), the same for the same seed and place: the finaliser of SplitMix64 (Steele et al. 2014), twice."""
    state = _mix((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK)
    return (_mix((state + place * 0x9E3779B97F4A7C15) & _MASK) >> 11) / (1 << 53)


def choose(
    logits: torch.Tensor, choices: Sequence[Choice]
) -> tuple[list[int], list[float], list[list[tuple[int, float]]], bool]:
    """(tokens, log-probabilities, best tokens, whether all scores were numbers) for logits (S, V), float32.

    Log-probabilities are empty where nobody wants them; best tokens are empty for sequences that want none.
    """
    tokens, finite = _best(logits)  # of the model's own scores: what a request does to its own row ends nobody else's
    if not finite:
        return tokens, [], [], False
    scores = _penalised(logits, choices)
    if scores is not logits:
        tokens, _ = _best(scores)
    for row, choice in enumerate(choices):
        if choice.temperature > 0:
            tokens[row] = _draw(scores[row], choice)
    wanted = any(choice.logprob for choice in choices)
    logprobs = _logprobs(logits, tokens) if wanted else []
    tops = [_top(scores[row], choice.top) if choice.top else [] for row, choice in enumerate(choices)]
    return tokens, logprobs, tops, True


def _penalised(logits: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
    """Scores of tokens written before are made worse (Keskar et al. 2019, section 4.1, in Hugging Face's form)."""
    if all(choice.penalty == 1.0 for choice in choices):
        return logits
    scores = logits.clone()
    for row, choice in enumerate(choices):
        if choice.penalty != 1.0 and choice.penalised:
            seen = torch.tensor(choice.penalised, device=logits.device)
            old = scores[row, seen]
            scores[row, seen] = torch.where(old < 0, old * choice.penalty, old / choice.penalty)
    return scores


def _best(scores: torch.Tensor) -> tuple[list[int], bool]:
    """(greedy tokens, whether all best scores were numbers) of scores (S, V)."""
    if scores.device.type == "cpu":
        from rag.llama.compiled import best_tokens

        return best_tokens(scores)
    best = scores.argmax(1)
    return best.tolist(), bool(scores.gather(1, best[:, None]).isfinite().all())


def _draw(scores: torch.Tensor, choice: Choice) -> int:
    """A token from scores (V,) by inverting the distribution function at `choice.uniform`, most probable token first."""
    # The best score is 0, so that no temperature is so low that it overflows.
    scaled = (scores - scores.max()) / max(choice.temperature, _COLDEST)
    if 0 < choice.top_k < len(scaled):
        scaled, index = scaled.topk(choice.top_k)
    else:
        scaled, index = scaled.sort(descending=True, stable=True)
    total = scaled.softmax(-1).cumsum(-1, dtype=torch.float64)
    if choice.top_p < 1:
        # A token stays while those before it hold less than top_p.
        total = total[: int(torch.searchsorted(total, choice.top_p)) + 1]
    place = int(torch.searchsorted(total, choice.uniform * float(total[-1]), right=True))
    return int(index[min(place, len(total) - 1)])


def _logprobs(logits: torch.Tensor, tokens: list[int]) -> list[float]:
    chosen = logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
    values: list[float] = (chosen - logits.logsumexp(1)).clamp(max=0.0).tolist()
    return values


def _top(scores: torch.Tensor, count: int) -> list[tuple[int, float]]:
    """The `count` best tokens of scores (V,) with their log-probabilities."""
    values, index = (scores - scores.logsumexp(0)).topk(min(count, len(scores)))
    return list(zip(index.tolist(), values.tolist(), strict=True))


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
