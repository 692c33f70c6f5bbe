"""Beam search of one request, over log-probabilities that come step by step: which beams go on, which hypotheses are finished.

The rules are Hugging Face's (transformers 5, GenerationMixin._beam_search, early_stopping=False): of all candidates, those that end
the text, or reach max_new_tokens, and rank among the best num_beams join the finished pool, scored by
sum / length ** length_penalty; the best num_beams of the others run on; it is over when none is left, or none can beat the worst of
a full pool. Lengths count generated tokens, the end token included.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BeamHypothesis:
    """Generated tokens with their log-probabilities and the score they are ranked by."""

    score: float
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(slots=True)
class BeamSearch:
    """The state of a search: running beams, best first, and the finished pool."""

    num_beams: int
    length_penalty: float
    max_new_tokens: int
    ends: Collection[int]
    running: list[BeamHypothesis] = field(default_factory=lambda: [BeamHypothesis(0.0, (), ())])  # score: plain sum
    finished: list[BeamHypothesis] = field(default_factory=list)
    done: bool = False

    @property
    def candidates(self) -> int:
        """Best tokens wanted of every beam: enough that num_beams are left when the end tokens are taken out."""
        return max(2, 1 + len(self.ends)) * self.num_beams

    def advance(self, tops: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, int]]:
        """(old beam, token) of the beams that run on, given every running beam's best tokens; empty when the search is over."""
        found = [
            (beam.score + logprob, number, token, logprob)
            for number, (beam, top) in enumerate(zip(self.running, tops, strict=True))
            for token, logprob in top
        ]
        found.sort(key=lambda one: (-one[0], one[1], one[2]))
        going: list[tuple[int, int]] = []
        running: list[BeamHypothesis] = []
        for rank, (score, number, token, logprob) in enumerate(found[: self.candidates]):
            old = self.running[number]
            new = BeamHypothesis(score, (*old.tokens, token), (*old.logprobs, logprob))
            if token in self.ends or len(new.tokens) >= self.max_new_tokens:
                if rank < self.num_beams:
                    self._finish(new)
            elif len(running) < self.num_beams:
                running.append(new)
                going.append((number, token))
        self.running = running
        self.done = self._is_over()
        return [] if self.done else going

    def best(self) -> BeamHypothesis:
        """The finished hypothesis with the highest score."""
        return self.finished[0]

    def _is_over(self) -> bool:
        if not self.running:
            return True
        full = len(self.finished) >= self.num_beams
        # Hugging Face judges running beams at their present length.
        reached = self.running[0].score / len(self.running[0].tokens) ** self.length_penalty
        return full and reached <= self.finished[-1].score

    def _finish(self, beam: BeamHypothesis) -> None:
        score = beam.score / len(beam.tokens) ** self.length_penalty
        self.finished.append(BeamHypothesis(score, beam.tokens, beam.logprobs))
        self.finished.sort(key=lambda one: -one.score)
        del self.finished[self.num_beams :]
