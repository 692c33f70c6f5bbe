"""Conditions by name: what `--conditions` accepts. Each makes parts of the evaluation out of the arms' first answers.

    poisoned      the right answer in the passages is replaced by a rival           experiments.rag_evaluation.poison
    removed       what holds the answer is taken out: the reader should abstain         experiments.rag_evaluation.removal
    distractors   near-duplicates of the right passage beside it                     experiments.rag_evaluation.distractors
    push-back     the user doubts the answer in a second turn                        experiments.rag_evaluation.pushback
    popularity    the same answers by the popularity of what is asked about (popqa: monthly page views), in powers of ten
    unanswerable  questions that nothing answers among the others: refusal, over-refusal
    wording       three wordings of the prompt, for generators that have prompts: how far the figures spread
    gate          never, always, or adaptively retrieving                            experiments.rag_evaluation.gating

Invariant: a condition that the data set or the readers do not allow is refused before anything is read (`check_conditions`), never left
out silently. What only rankings or answers can tell (no passage that was found can be poisoned, no reader answers closed-book) gives a
condition without rows, whose `about` says how many questions, or which readers, were left out, and `why`; everything else stands.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from experiments.rag_evaluation.bench import Arm, Bench, Part, Row, restricted
from experiments.rag_evaluation.distractors import distracted
from experiments.rag_evaluation.gating import gated
from experiments.rag_evaluation.poison import poisoned
from experiments.rag_evaluation.pushback import doubts_of, pushed_back
from experiments.rag_evaluation.reading import Answered
from experiments.rag_evaluation.removal import removed
from experiments.rag_evaluation.settings import ENDS
from genir.errors import ConfigError, DataError
from rag.measures.per_question import PerQuery
from rag.reading import GeneratorReader, Reader
from rag.template import WORDINGS, load_template

_LABELS = "poisoned|removed|distractors|push-back|popularity [^)]*|with unanswerable|wording|gate"


def check_conditions(bench: Bench) -> None:
    """Raise ConfigError or DataError for a condition that cannot be met here."""
    chosen, questions = bench.config.conditions, bench.questions
    if "popularity" in chosen and not questions.popularity:
        raise DataError(
            f"condition popularity: no question of {questions.name} has a `subject_popularity`; give popqa, or leave the condition out"
        )
    if "unanswerable" in chosen and not questions.unanswerable:
        raise DataError(
            f"condition unanswerable: every question of {questions.name} has an answer or stands in the qrels; give a data set with "
            "unanswerable ones (squad2-dev, atlas), or leave the condition out"
        )
    if "wording" in chosen and not any(isinstance(reader, GeneratorReader) for reader in bench.readers.values()):
        raise ConfigError(
            f"condition wording: {', '.join(bench.labels.values())} reads without a prompt; give a language model"
            ", or leave the condition out"
        )
    evidence = set(bench.config.retrievers) - {"none"}
    if "poisoned" in chosen and not evidence:
        raise ConfigError("condition poisoned: needs a retriever beside none, whose passages can be changed")
    if "removed" in chosen and not evidence - set(ENDS):
        raise ConfigError(
            "condition removed: needs a retriever that searches (bm25, dense, ...), whose corpus can be changed"
        )

    _check_questions(bench)


def _check_questions(bench: Bench) -> None:
    """The same for what hangs on the questions and their right passages."""
    chosen, questions = bench.config.conditions, bench.questions
    if "gate" in chosen and not questions.dev:
        raise DataError(
            f"condition gate: {questions.name} has no dev questions to choose the threshold on; leave the condition out"
        )
    if "gate" in chosen and set(bench.config.retrievers) == {"none"}:
        raise ConfigError("condition gate: needs a retriever beside none, to search or not to search with")
    if "distractors" in chosen and not any(questions.relevant.relevant(query.query_id) for query in questions.asked):
        raise DataError(
            f"condition distractors: no question of {questions.name} has a right passage to put others beside; leave the condition out"
        )
    if "push-back" in chosen and not doubts_of(bench):
        raise DataError(
            f"condition push-back: of {len(questions.asked)} questions none has a right passage that holds an accepted answer beside "
            "another span of its kind and length, so there is no wrong answer to name; give more questions, or leave the condition out"
        )


def is_of(heading: str, name: str) -> bool:
    """Whether a heading of the summary is that of the data set `name`, or of one of its conditions."""
    return heading == name or re.fullmatch(rf"{re.escape(name)} \((?:{_LABELS})\)", heading) is not None


def popularity(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """One part for each power of ten of the popularity, the rarest first."""
    decades: dict[int, list[str]] = {}
    for query_id, value in bench.questions.popularity.items():
        decades.setdefault(math.floor(math.log10(max(value, 1.0))), []).append(query_id)
    parts = []
    against = bench.config.reference
    for decade, query_ids in sorted(decades.items()):
        rows = {}
        for arm in arms:
            reference = bench.name(against, arm.generator) if arm.retriever != against else ""
            rows[bench.name(arm.retriever, arm.generator)] = Row(restricted(arm.answered.values, query_ids), reference)
        label = f"popularity {10**decade:,} to {10 ** (decade + 1):,}"
        parts.append(Part(label, rows, about={"questions": len(query_ids)}))
    return parts


def unanswerable(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """The questions with and without an answer together, so that refusal and over-refusal stand side by side.

    The oracle takes part where the data set says which passage an unanswerable question was written against.
    """
    queries = bench.questions.unanswerable
    placed = all(bench.questions.relevant.relevant(query.query_id) for query in queries)
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    against = bench.config.reference
    for arm in arms:
        if arm.retriever == "oracle" and not placed:
            continue
        name = bench.name(arm.retriever, arm.generator)
        answered[name] = bench.read(bench.evidence(arm.retriever, queries), arm.generator)
        values = together(arm.answered.values, answered[name].values)
        reference = bench.name(against, arm.generator) if arm.retriever != against else ""
        rows[name] = Row(values, reference, arm.calibration, whole=True)
    about = {"answerable": len(bench.questions.asked), "unanswerable": len(queries), "oracle": placed}
    return [Part("with unanswerable", rows, answered, about)]


def wording(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """Every arm of a language model in every wording, compared with the plain one; `about` holds the spread of each measure."""
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    spreads: dict[str, dict[str, float]] = {}
    for arm in arms:
        reader = bench.readers[arm.generator]
        if not isinstance(reader, GeneratorReader):
            continue
        name = bench.name(arm.retriever, arm.generator)
        evidence = bench.evidence(arm.retriever, bench.questions.asked)
        for one in WORDINGS:
            worded = worded_reader(reader, one)
            answered[f"{name}, {one}"] = bench.read(evidence, arm.generator, worded, one)
            first = "" if one == WORDINGS[0] else f"{name}, {WORDINGS[0]}"
            rows[f"{name}, {one}"] = Row(answered[f"{name}, {one}"].values, against=first)
        spreads[name] = spread([answered[f"{name}, {one}"].values for one in WORDINGS])
    silent = [bench.labels[name] for name, one in bench.readers.items() if not isinstance(one, GeneratorReader)]
    return [Part("wording", rows, answered, {"spread": spreads, "without_prompt": silent})]


def worded_reader(reader: GeneratorReader, one: str) -> Reader:
    """The reader with another wording of its template's language."""
    return replace(reader, template=load_template(one, reader.template.language))


def spread(several: Sequence[PerQuery]) -> dict[str, float]:
    """measure -> the largest mean less the smallest."""
    means: dict[str, list[float]] = {}
    for values in several:
        for measure, by_query in values.items():
            means.setdefault(measure, []).append(sum(by_query.values()) / len(by_query))
    return {measure: max(found) - min(found) for measure, found in means.items()}


def together(first: PerQuery, second: PerQuery) -> PerQuery:
    """Measures of two sets of questions as those of one."""
    return {m: {**first.get(m, {}), **second.get(m, {})} for m in dict.fromkeys((*first, *second))}


MAKE: Mapping[str, Callable[[Bench, Sequence[Arm]], list[Part]]] = {
    "poisoned": poisoned,
    "removed": removed,
    "distractors": distracted,
    "push-back": pushed_back,
    "popularity": popularity,
    "unanswerable": unanswerable,
    "wording": wording,
    "gate": gated,
}
