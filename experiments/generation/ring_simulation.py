"""A pipeline's schedule played through with given stage times: what a ring or a draining schedule would keep busy.

Nothing runs here. It answers for more stages than there are cores, from stage times that were measured one stage at a time.
"""

from collections.abc import Sequence


def simulate(
    stage_seconds: Sequence[float], micro_batches: int, tokens: int, hop: float = 0.0, drain: bool = False
) -> list[float]:
    """Busy share of each stage while every one of `micro_batches` generates `tokens` tokens.

    `stage_seconds` is a stage's time for one token of one micro-batch, `hop` the seconds from the end of one stage to the start of
    the next (the last one's to the first included). A ring lets a micro-batch in again at once; a draining schedule waits until all
    have left the last stage.
    """
    free = [0.0] * len(stage_seconds)  # when each stage ends what it has
    ready = [0.0] * micro_batches  # when each micro-batch may enter the first stage again
    for _ in range(tokens):
        # Micro-batches stay in their order: none overtakes another.
        for index in range(micro_batches):
            at = ready[index]
            for stage, seconds in enumerate(stage_seconds):
                at = max(at, free[stage]) + seconds
                free[stage] = at
                at += hop
            ready[index] = at
        if drain:
            ready = [max(ready)] * micro_batches
    return [micro_batches * tokens * seconds / max(free) for seconds in stage_seconds]
