"""A conversation at the desk: what was asked and answered before a question, within limits, and how it is drawn.

Invariant: the newest turns are kept; what is left out of a conversation is counted, and said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.demo.limits import Limits, RefusalError, check_text
from experiments.demo.markup import element, escaped
from experiments.demo.progress import Progress
from experiments.demo.wording import Wording
from rag.conversation import RuleCondenser
from rag.prompt import Turn


@dataclass(frozen=True)
class Conversation:
    """The turns in front of a question, oldest first, and how many before them were left out."""

    turns: tuple[Turn, ...] = ()
    forgotten: int = 0


def continued(last: Progress | None, limits: Limits) -> Conversation:
    """What stands in front of the next question: the last one's conversation, and itself where it was answered."""
    if last is None:
        return Conversation()
    asked = last.asked
    if last.answer is None:
        return Conversation(asked.turns, asked.forgotten)
    room = max(1, limits.history - limits.question)
    turns = [*asked.turns, Turn(asked.question, last.answer.text[:room])]
    kept = turns[-limits.turns :]
    while len(kept) > 1 and _length(kept) > limits.history:
        del kept[0]
    return Conversation(tuple(kept), asked.forgotten + len(turns) - len(kept))


def check_turns(turns: Sequence[Turn], limits: Limits) -> tuple[Turn, ...]:
    """The turns without white space around them. Raises RefusalError for too many, too long ones, and for one without a question."""
    if len(turns) > limits.turns:
        raise RefusalError(
            413, f"the history has {len(turns)} turns: expected at most {limits.turns}; send the last ones"
        )
    for number, turn in enumerate(turns, 1):
        if not turn.question.strip():
            raise RefusalError(400, f"turn {number} of the history has no question: expected what was asked")
        check_text(turn.question, f"the question of turn {number}")
        check_text(turn.answer, f"the answer of turn {number}")
    if _length(turns) > limits.history:
        raise RefusalError(
            413,
            f"the history has {_length(turns)} characters: expected at most {limits.history}; send the last turns, or shorter answers",
        )
    return tuple(Turn(turn.question.strip(), turn.answer.strip()) for turn in turns)


def condensed(question: str, turns: Sequence[Turn]) -> str:
    """What to search for: the question made complete by the turns before it, as `rag.answering` makes it."""
    return RuleCondenser().condense([question], [turns])[0] if turns else question


def conversation_html(conversation: Conversation, wording: Wording, question: str = "", searched: str = "") -> str:
    """The earlier turns, and the question with what was searched for; nothing where there are no earlier turns."""
    if not conversation.turns:
        return ""
    left_out = wording.forgotten.format(count=conversation.forgotten) if conversation.forgotten else ""
    turns = "".join(
        element("dt", escaped(turn.question)) + element("dd", escaped(turn.answer)) for turn in conversation.turns
    )
    body = element("p", escaped(left_out), class_="note") if left_out else ""
    body += element("dl", turns + (element("dt", escaped(question), class_="now") if question else ""))
    if searched:
        body += element("p", escaped(wording.searched_for.format(query=searched)), class_="searched")
    return element("div", body, class_="turns")


def _length(turns: Sequence[Turn]) -> int:
    return sum(len(turn.question) + len(turn.answer) for turn in turns)
