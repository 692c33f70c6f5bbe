"""What rows have to do with each other: a cell of one row that names another.

A link lets the article of the row named hold a sentence about the row that names it (the article on Mars says that
Phobos orbits it). A mirrored fact is one that tells, the other way round, what an unseen entity's own row says
(France: capital Paris; Paris: capital of France): it must not train a reader that is to know nothing of unseen
entities.
Known gap: names are matched as strings, so an attribute may refer to a kind only if its values never mean a namesake
outside the atlas (the capital of Arizona is no constellation).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from experiments.atlas.prose import Sentence, seeded, state
from experiments.atlas.questions import Fact
from experiments.atlas.tables import Kind, Row

Names = Mapping[str, Sequence[Row]]


def rows_named(rows: Iterable[Row]) -> Names:
    """Form of a name -> the rows that bear it, in its exact spelling."""
    bearers: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for form in row.forms:
            bearers[form].append(row)
    return bearers


def links(
    kinds: Sequence[Kind], stated: Mapping[str, Collection[str]], borrowable: Collection[str], seed: int
) -> dict[str, list[Sentence]]:
    """doc_id -> sentences of other rows that name it. `stated` holds the corpus's attributes by doc_id.

    Only rows in `borrowable` lend sentences, and only attributes whose wording says what kind they refer to.
    """
    names = rows_named(row for kind in kinds for row in kind.rows)
    found: dict[str, list[Sentence]] = defaultdict(list)
    for kind in kinds:
        for row in kind.rows:
            for attribute in stated[row.doc_id] if row.doc_id in borrowable else ():
                target = _named_in(row, attribute, kind, names)
                if target is not None and target.doc_id in stated:
                    rng = seeded(seed, "link", f"{row.doc_id}/{attribute}")
                    found[target.doc_id].append(state(row, attribute, kind.wording, rng))
    return found


def _named_in(row: Row, attribute: str, kind: Kind, names: Names) -> Row | None:
    """The one row that a cell names; None where there is none, or where that row's own article names this one."""
    bearers = names.get(row.values[attribute][0], ())
    targets = [other for other in bearers if other.kind in kind.wording.attributes[attribute].refers_to]
    if len(targets) != 1 or any(set(row.forms) & set(accepted) for accepted in targets[0].values.values()):
        return None
    return targets[0]


def mirrored(facts: Iterable[Fact], rows: Mapping[str, Row], unseen: Collection[str]) -> Iterator[Fact]:
    """The facts about seen entities that name an unseen one whose own row names them back."""
    names = rows_named(rows.values())
    for fact in facts:
        if fact.doc_id in unseen:
            continue
        forms = set(rows[fact.doc_id].forms)
        others = {other.doc_id for value in fact.accepted for other in names.get(value, ())}
        if any(forms & set(cell) for other in others & set(unseen) for cell in rows[other].values.values()):
            yield fact
