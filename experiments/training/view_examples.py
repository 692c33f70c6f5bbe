"""What a model of views is trained on: texts with the best view of their document, or with each."""

from collections.abc import Sequence
from dataclasses import replace

from docids.views import ViewsTable
from experiments.training.teaching import TeacherConfig
from genir.errors import ConfigError
from genir.training import Example


def view_numbers(table: ViewsTable) -> list[list[int]]:
    """Per document, in corpus order, which of `table.identifiers()` are its own, each once."""
    number_of = {tokens: number for number, tokens in enumerate(table.identifiers())}
    return [list(dict.fromkeys(number_of[view.tokens] for view in views)) for views in table.views.values()]


def view_examples(examples: Sequence[Example], own: Sequence[Sequence[int]]) -> list[Example]:
    """Examples whose targets number the identifiers, one of a text for each view of its document (`own`, of `view_numbers`).

    The targets of `examples` number the documents, as in `table.numbered()`. A text's weight is shared out among the views, so that
    a document with many counts no more than one with few.
    """
    return [
        replace(example, target=target, weight=example.weight / len(own[example.target]))
        for example in examples
        for target in own[example.target]
    ]


def check_views(rounds: int, teacher: TeacherConfig, self_distillation: float) -> None:
    """Raise ConfigError for what identifiers with views cannot have: rounds of learning them anew, and teachers."""
    if rounds or teacher.source != "none" or self_distillation:
        raise ConfigError(
            f'[learned] rounds = {rounds}, [teacher] source = "{teacher.source}", [objective] self_distillation = '
            f"{self_distillation:g}: these are for one identifier a document, not for views; leave them out"
        )
