"""Settings of the model that retrieves and answers in one sequence."""

from dataclasses import dataclass

from genir.errors import ConfigError
from rag.prompt import UNKNOWN


@dataclass(frozen=True)
class JointSettings:
    """What travels with the weights: how a sequence is put together, and how it is searched and written.

    A sequence is: prompt with the question, identifier, passage, `separator`, the question again (`repeat_question`), `separator`, answer.
    With `copy` an answer is a run of whole words of the passage (see `rag.copying`), or `unknown`.
    """

    max_passage_tokens: int = 160  # title included; what lies behind is not read
    max_new_tokens: int = 24  # of an answer
    separator: str = "\n"  # where the tokenizer makes nothing of it, the network's end-of-sequence token
    repeat_question: bool = True
    copy: bool = True
    unknown: str = UNKNOWN
    num_beams: int = 10
    batch_size: int = 16  # questions that are searched and answered together

    def __post_init__(self) -> None:
        if min(self.max_passage_tokens, self.max_new_tokens, self.num_beams, self.batch_size) < 1:
            raise ConfigError(f"impossible joint settings: {self}; expected every number to be 1 or more")
        if not self.unknown.strip():
            raise ConfigError("joint unknown is empty: expected what the model says where a passage holds no answer")


@dataclass(frozen=True)
class LossWeights:
    """What the parts of a sequence count; each part is a mean over its tokens. Prompt, passage and repeated question count nothing.

    `first` is the weight of an answer's first token among its tokens: it says where to look, the rest is copied. A weight of 0 leaves its
    part out: identifier = 0 trains a reader, answer = 0 a retriever.
    """

    identifier: float = 1.0
    answer: float = 1.0
    first: float = 3.0

    def __post_init__(self) -> None:
        if min(self.identifier, self.answer) < 0 or self.first <= 0 or self.identifier + self.answer == 0:
            raise ConfigError(
                f"impossible loss: {self}; expected identifier and answer of 0 or more, not both 0, and first above 0"
            )


@dataclass(frozen=True)
class LessonSettings:
    """What answers are learnt from, beside every question with its own passage.

    `invented`: so many copies of each answered question whose names and values are made up, in question, passage and answer alike, so that
    looking is learnt and not the facts. `unanswerable`: share of the questions that are asked once more of a passage without the answer.
    """

    invented: int = 1
    unanswerable: float = 0.1

    def __post_init__(self) -> None:
        if self.invented < 0 or not 0 <= self.unanswerable <= 1:
            raise ConfigError(f"impossible lessons: {self}; expected invented >= 0 and unanswerable in 0..1")
