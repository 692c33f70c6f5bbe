"""What a model of views is trained on: every text with its document becomes texts with each of the document's views."""

from collections.abc import Sequence
from dataclasses import replace

from docids.views import ViewsTable
from experiments.training.teaching import TeacherConfig
from genir.errors import ConfigError
from genir.records import DocIDTokens
from genir.training import Example


def view_examples(examples: Sequence[Example], table: ViewsTable) -> tuple[list[Example], list[DocIDTokens]]:
    """Examples whose targets number the identifiers, one of a text for each view of its document; and those identifiers.

    The targets of `examples` number the documents, as in `table.numbered()`. A text's weight is shared out among the views, so that
    a document with many counts no more than one with few.
    """
    identifiers = table.identifiers()
    number_of = {tokens: number for number, tokens in enumerate(identifiers)}
    own = [[number_of[view.tokens] for view in views] for views in table.views.values()]
    made = [
        replace(example, target=target, weight=example.weight / len(own[example.target]))
        for example in examples
        for target in own[example.target]
    ]
    return made, identifiers


def check_views(rounds: int, teacher: TeacherConfig, self_distillation: float) -> None:
    """Raise ConfigError for what identifiers with views cannot have: rounds of learning them anew, and teachers."""
    if rounds or teacher.source != "none" or self_distillation:
        raise ConfigError(
            f'[learned] rounds = {rounds}, [teacher] source = "{teacher.source}", [objective] self_distillation = '
            f"{self_distillation:g}: these are for one identifier a document, not for views; leave them out"
        )
