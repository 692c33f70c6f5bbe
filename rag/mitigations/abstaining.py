"""Abstention by calibrated threshold: answers below it are withdrawn (`rag.abstention` says how it was chosen)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genir.errors import ConfigError
from genir.records import Answer, Document
from rag.abstention import Threshold
from rag.mitigations.revision import withdraw
from rag.mitigations.signals import ConfidenceSignal, Signal


@dataclass(frozen=True)
class Abstention:
    """Raises ConfigError where the threshold was chosen for another signal."""

    threshold: Threshold
    signal: Signal = field(default_factory=ConfidenceSignal)
    name: str = "abstain"

    def __post_init__(self) -> None:
        if self.signal.name != self.threshold.signal:
            raise ConfigError(
                f"a threshold for {self.threshold.signal!r} cannot judge {self.signal.name!r}: tune one for that signal"
            )

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """See Mitigation."""
        values = self.signal.of(answers, documents)
        return [
            answer if answer.abstained or self.threshold.answers(value) else withdraw(answer)
            for answer, value in zip(answers, values, strict=True)
        ]
