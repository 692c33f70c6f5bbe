"""The rows of mitigations in an evaluation: each arm's answers after each step alone, and after all of them one behind another.

What a step must tune it tunes on the arm's dev answers. Every row is compared with the arm's own answers. Closed-book, a step that
needs a retriever is left out, and named in `about`.

Answers are kept with the prompt that they began with, where a row did not begin by reading anew, and the calls of its steps.

Invariant: a row costs the search, the reading and its steps, whether or not runs, answers and indexes were there already: what is kept is
kept with what it took, and models and indexes are there before anything is measured.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from experiments.rag_evaluation.bench import Arm, Bench, Row
from experiments.rag_evaluation.mitigation_rows import reads_anew, revise, rows_of
from experiments.rag_evaluation.mitigation_steps import REREADING, SEARCHING, TUNED, Kit, hugging_face, make_signal
from experiments.rag_evaluation.models import load_model
from experiments.rag_evaluation.reading import Answered
from genir.errors import ConfigError
from genir.manifest import MANIFEST, sha256_of
from genir.protocols import Retriever
from rag.abstention import Loss, Target
from rag.mitigations.tools import Tools
from rag.reading import GeneratorReader

NEEDS_RETRIEVER = frozenset({"verify-and-edit"})


def check_mitigations(bench: Bench) -> None:
    """Raise ConfigError where abstention has nothing to be tuned on, a step changes how a model writes that cannot be reached into, or
    the signal asks of a reader what it cannot give.
    """
    if "abstain" in bench.config.mitigations and not bench.questions.dev:
        raise ConfigError(
            f"mitigation abstain: {bench.questions.name} has no dev questions to choose the threshold on; leave it out of --mitigations"
        )
    inside = [step for step in bench.config.mitigations if step in REREADING]
    for reader in bench.readers.values():
        for step in inside:
            hugging_face(reader, step)
        if TUNED.intersection(bench.config.mitigations):
            make_signal(bench.config.signal, Kit(Tools(reader), bench.documents))


def mitigated(bench: Bench, arms: Sequence[Arm]) -> tuple[dict[str, Row], dict[str, Answered], dict[str, Any]]:
    """(rows, answers, what was left out) of all arms; nothing without mitigations."""
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    left_out: list[str] = []
    for arm in arms:
        name = bench.name(arm.retriever, arm.generator)
        for row, steps in rows_of(bench.config.mitigations).items():
            if arm.retriever == "none" and NEEDS_RETRIEVER & set(steps):
                left_out.append(f"{name} + {row}")
                continue
            found = _revised(bench, arm, steps)
            shown = f"{name} + {row.replace('+', ' + ')}"
            answered[shown] = found
            rows[shown] = Row(found.values, against=name, cost=found.cost, whole=True)
    return rows, answered, {"without_retriever": left_out} if left_out else {}


def _revised(bench: Bench, arm: Arm, steps: Sequence[str]) -> Answered:
    """The arm's answers after the steps, made or kept."""
    config, evidence = bench.config, bench.evidence(arm.retriever, arm.answered.queries)
    about = {
        "steps": list(steps),
        "cost": "of the steps alone",
        "retriever": arm.retriever,
        "reader": bench.fingerprints[arm.generator],
        "answers": [_plain(arm.answered), None if arm.dev is None else _plain(arm.dev)],
        "k": config.k,
        "target": [config.target, config.wanted],
        "signal": [config.signal, config.drawn, config.temperature],
        "loss": config.loss,
        "model": None if bench.searcher.model is None else sha256_of(bench.searcher.model / MANIFEST),
    }
    if isinstance(bench.readers[arm.generator], GeneratorReader):
        about["calls"] = "kept"  # earlier versions kept none; of readers without prompts there are none

    unasked = (None,) * len(arm.answered.answers)  # the first prompts are kept with the arm's own answers

    def make() -> Answered:
        reader, dev = bench.readers[arm.generator], arm.dev
        load_model(reader)
        tools = Tools(reader, _retriever(bench, arm.retriever, steps), bench.store.checker, k=config.k)
        kit = Kit(
            tools,
            bench.documents,
            () if dev is None else dev.queries,
            () if dev is None else dev.answers,
            signal=config.signal,
            target=cast(Target, config.target),  # which GroundingConfig has checked
            wanted=config.wanted,
            loss=cast(Loss, config.loss),
            samples=config.drawn,
            temperature=config.temperature,
        )
        made = revise(steps, arm.answered.answers, kit)
        return Answered(arm.answered.queries, made.answers, unasked, {}, made.cost, made.calls)

    kept = bench.store.keep(about, evidence, make)
    if reads_anew(steps):
        return replace(kept, cost=evidence.searched + kept.cost)
    return replace(kept, cost=arm.answered.cost + kept.cost, prompts=arm.answered.prompts)


def _retriever(bench: Bench, name: str, steps: Sequence[str]) -> Retriever | None:
    """What the steps search with, built before anything is measured; built for nothing but searches."""
    if name == "none":
        return None
    return bench.searcher.live(name) if SEARCHING.intersection(steps) else bench.searcher.playback(name, {})


def _plain(answered: Answered) -> list[list[object]]:
    """What tells one list of answers from another."""
    return [
        [one.query_id, one.text, one.confidence, [passage.doc_id for passage in one.passages]]
        for one in answered.answers
    ]
