"""What a mitigation is: answers in, answers out. Everything else in this folder is one.

Steps compose in order (`apply`): abstain, then verify is not verify, then abstain. An answer carries its passages by doc_id; their texts
come from `documents`. Two kinds of step hide behind the one Protocol: those that change an answer that is there, and those that read its
passages again in another way (`rag.mitigations.rereading`).

Invariants: one answer a question, in order, with its query_id, question and conversation as they were; an abstention stays one, except
where a step reads again; passages may be added behind those that were there, so that citations keep their numbers, and none is taken away
except by Verify-and-Edit, whose new answers are read from, and cite, other passages; no answers give no answers.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from genir.records import Answer, Document


@runtime_checkable
class Mitigation(Protocol):
    """Anything that changes answers for the better."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """The answers, in order, each kept, changed, or withdrawn. Raises DataError for a passage that `documents` lacks."""
        ...


def apply(steps: Sequence[Mitigation], answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
    """The answers after all steps, in order; as they were where there is none."""
    revised = list(answers)
    for step in steps:
        if revised:
            revised = step.revise(revised, documents)
            assert len(revised) == len(answers), step.name
    return revised
