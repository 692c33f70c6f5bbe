"""The rows of mitigations in an evaluation: each arm's answers after each step alone, and after all of them one behind another.

What a step must tune it tunes on the arm's dev answers. Every row is compared with the arm's own answers. Closed-book, a step that
needs a retriever is left out, and named in `about`.
"""

from collections.abc import Sequence
from typing import Any, cast

from experiments.rag_evaluation.bench import Arm, Bench, Row
from experiments.rag_evaluation.mitigation_steps import Kit, make_steps
from experiments.rag_evaluation.mitigation_table import mitigation_table, rows_of
from experiments.rag_evaluation.reading import Answered
from genir.errors import ConfigError
from genir.manifest import MANIFEST, sha256_of
from rag.abstention import Loss
from rag.mitigations.tools import Tools

NEEDS_RETRIEVER = frozenset({"verify-and-edit"})
CHANGES_DECODING = frozenset({"contrast", "copy-decode"})


def check_mitigations(bench: Bench) -> None:
    """Raise ConfigError where abstention has nothing to be tuned on, or a step changes how a model writes that cannot be reached into."""
    if "abstain" in bench.config.mitigations and not bench.questions.dev:
        raise ConfigError(
            f"mitigation abstain: {bench.questions.name} has no dev questions to choose the threshold on; leave it out of --mitigations"
        )

    inside = [step for step in bench.config.mitigations if step in CHANGES_DECODING]
    for reader in bench.readers.values():
        make_steps(inside, Kit(Tools(reader), bench.documents))


def mitigated(bench: Bench, arms: Sequence[Arm]) -> tuple[dict[str, Row], dict[str, Answered], dict[str, Any]]:
    """(rows, answers, what was left out) of all arms; nothing without mitigations."""
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    left_out: list[str] = []
    for arm in arms:
        name = bench.name(arm.retriever, arm.generator)
        for row, steps in list(rows_of(bench.config.mitigations).items())[1:]:
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
    evidence = bench.evidence(arm.retriever, arm.answered.queries)
    about = {
        "steps": list(steps),
        "retriever": arm.retriever,
        "reader": bench.fingerprints[arm.generator],
        "answers": [_plain(arm.answered), None if arm.dev is None else _plain(arm.dev)],
        "k": bench.config.k,
        "coverage": bench.config.coverage,
        "loss": bench.config.loss,
        "model": None if bench.searcher.model is None else sha256_of(bench.searcher.model / MANIFEST),
    }

    def make() -> Answered:
        retriever = None if arm.retriever == "none" else bench.searcher.lazy(arm.retriever)
        tools = Tools(bench.readers[arm.generator], retriever, bench.store.checker, k=bench.config.k)
        dev = arm.dev
        kit = Kit(
            tools,
            bench.documents,
            () if dev is None else dev.queries,
            () if dev is None else dev.answers,
            wanted=bench.config.coverage,
            loss=cast(Loss, bench.config.loss),  # which GroundingConfig has checked
        )
        [row] = mitigation_table(
            {"all": steps}, arm.answered.answers, arm.answered.queries, kit, arm.answered.cost, bench.config.seed
        )
        return Answered(arm.answered.queries, row.answers, (None,) * len(row.answers), {}, row.cost)

    return bench.store.keep(about, evidence, make)


def _plain(answered: Answered) -> list[list[object]]:
    """What tells one list of answers from another."""
    return [
        [one.query_id, one.text, one.confidence, [passage.doc_id for passage in one.passages]]
        for one in answered.answers
    ]
