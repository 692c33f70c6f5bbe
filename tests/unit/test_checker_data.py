"""What checkers are measured on and learn from: made by hand in small, and as it comes where the real data are."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from experiments.checkers.data import (
    BASELINES,
    Judged,
    checker_sets,
    halueval_pairs,
    scifact_sentences,
    swapped_pairs,
)
from experiments.checkers.learning import half_of, sentence_lessons, verdict_table
from experiments.checkers.lessons import Questions, answer_lessons, sentences_with, span_lessons, stretch
from experiments.checkers.scoring import auroc, resampled_auroc
from genir.errors import DataError
from genir.formats import load_dataset, write_dataset
from genir.records import Dataset, Document, Qrels, Query, Verdict
from rag.checkers.spans import find, kind_of
from rag.checkers.trained import ClaimChecker, Lesson
from rag.verification import Statement, Support
from tests.tiny_checker import towns


def judged(*right: bool) -> list[Judged]:
    return [Judged(Statement("c", "e"), one, group) for group, one in enumerate(right)]


def write_tiny_root(root: Path) -> Path:
    """The three folders that checkers are measured on, with a few lines each."""
    write_dataset(towns(), root / "squad-small")
    corpus = (Document("k0", "Ada built the bridge. Otto left."), Document("k1", "Oslo is a town."))
    queries = {"h0": Query("h0", "Who built it?", ("Ada",)), "h1": Query("h1", "What is Oslo?", ("a town",))}
    write_dataset(
        Dataset("h", corpus, queries, {"test": Qrels({"h0": {"k0": 1}, "h1": {"k1": 1}})}), root / "halueval-qa"
    )
    wrong = {"h0": ["Otto", "Otto built it by himself"], "h1": ["a great lake of the north"]}
    add(root / "halueval-qa", {key: {"hallucinated_answers": value} for key, value in wrong.items()})
    abstract = (
        Document("d0", "Salt was given. Salt raised the pressure. Sugar did not raise it. Nothing else changed."),
    )
    claims = {
        f"c{i}": Query(f"c{i}", text) for i, text in enumerate(("Salt raises it", "Sugar raises it", "Tea helps"))
    }
    qrels = {split: Qrels({f"c{i}": {"d0": 1} for i in range(3)}) for split in ("train", "test")}
    write_dataset(Dataset("s", abstract, claims, qrels), root / "scifact")
    evidence = {
        "c0": [
            {"doc": "d0", "label": "SUPPORT", "sentences": [1]},
            {"doc": "d0", "label": "SUPPORT", "sentences": [9]},
        ],
        "c1": [{"doc": "d0", "label": "CONTRADICT", "sentences": [2]}],
        "c2": [],
    }
    add(root / "scifact", {key: {"evidence": value} for key, value in evidence.items()})
    return root


def add(folder: Path, more: dict[str, dict[str, object]]) -> None:
    path = folder / "queries.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(one | more[one["_id"]]) + "\n" for one in records))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_root(tmp_path_factory.mktemp("root"))


def test_hallucinated_answers_stand_beside_the_right_ones(root: Path) -> None:
    whole = halueval_pairs(root / "halueval-qa")
    assert [(one.statement.claim, one.right, one.group) for one in whole.judged] == [
        *(("Ada", True, 0), ("Otto", False, 0)),
        *(("Ada", True, 0), ("Otto built it by himself", False, 0)),
        *(("a town", True, 1), ("a great lake of the north", False, 1)),
    ]
    assert whole.judged[0].statement == Statement("Ada", "Ada built the bridge. Otto left.", "Who built it?")
    matched = halueval_pairs(root / "halueval-qa", most_words_apart=1)
    assert (matched.name, matched.pairs, matched.left_out) == ("halueval-qa-matched", 1, 2)
    assert [BASELINES["length"](one.statement) for one in matched.judged] == [-3.0, -4.0]
    assert [BASELINES["containment"](one.statement) for one in whole.judged[2:4]] == [1.0, 0.4]


def test_swapped_answers_stand_in_the_passage(root: Path) -> None:
    made = swapped_pairs(load_dataset(root / "squad-small"), "test", seed=1)
    assert (made.pairs, made.left_out) == (4, 0)
    for right, wrong in zip(made.judged[::2], made.judged[1::2], strict=True):
        assert (right.right, wrong.right, right.group) == (True, False, wrong.group)
        assert right.statement.claim != wrong.statement.claim
        assert find(wrong.statement.claim, wrong.statement.evidence)
    assert made == swapped_pairs(load_dataset(root / "squad-small"), "test", seed=1)


def test_rationales_by_their_numbers(root: Path) -> None:
    made = scifact_sentences(root / "scifact", "test")
    assert [(one.statement.claim, one.statement.evidence, one.right) for one in made.judged] == [
        ("Salt raises it", "Salt raised the pressure.", True),
        ("Sugar raises it", "Sugar did not raise it.", False),
    ]
    assert made.left_out == 1  # sentence 9 of 4
    verdicts = [lesson.verdict for lesson in sentence_lessons(root / "scifact", "train")]
    assert verdicts == ["supported", "unsupported", "contradicted", "unsupported"]


def test_auroc_by_hand() -> None:
    found = auroc([3.0, 1.0, 2.0, 1.0], judged(True, True, False, False))
    assert found.value == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert auroc([1.0, 0.0], judged(True, False)).value == 1.0
    with pytest.raises(DataError, match="AUROC of 2 right and 0 wrong statements: expected both kinds"):
        auroc([1.0, 2.0], judged(True, True))


def test_auroc_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.4
    scores = np.round(rng.normal(size=200) + right, 1)
    assert auroc(scores.tolist(), judged(*right.tolist())).value == pytest.approx(roc_auc_score(right, scores))


def test_a_difference_is_paired() -> None:
    """Scores of one order never differ, however wide the interval of each; and a difference by hand."""
    statements = judged(*[True, False] * 30)
    rng = np.random.default_rng(0)
    some = rng.normal(size=60) + np.tile([0.8, 0.0], 30)
    one, twice, none = (resampled_auroc(scores.tolist(), statements) for scores in (some, 2 * some, np.zeros(60)))
    assert one.interval().high - one.interval().low > 0.1
    same = one.minus(twice).interval()
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert one.interval() == auroc(some.tolist(), statements)
    apart = one.minus(none).interval()
    assert (apart.value, apart.low) == (one.value - 0.5, pytest.approx(one.interval().low - 0.5))


def test_a_bootstrap_draws_questions_not_statements() -> None:
    # One question, ten times the same pair: drawn as a whole it has no spread.
    pair = [Judged(Statement("c", "e"), right, 0) for right in (True, False)] * 10
    found = auroc([1.0, 2.0] * 10, pair)
    assert (found.low, found.high) == (0.0, 0.0)


# --- what is learnt from ----------------------------------------------------------------------------------------------


def test_lessons_hold_the_answer_and_its_rivals() -> None:
    lessons = span_lessons(Questions.of(towns(), "train"), words=100, wrong_passages=0.0, seed=0)
    assert len(lessons) == 16
    for lesson in lessons:
        said = [lesson.passage[start:end] for start, end in lesson.places]
        assert sum(lesson.right) == 1
        assert len(set(said)) == len(said)
        assert {kind_of(one) for one in said} == {"name"}
    assert lessons == span_lessons(Questions.of(towns(), "train"), 100, 0.0, 0)
    assert len(span_lessons(Questions.of(towns(), "train"), 100, 0.0, 0, most=5)) == 5


def test_passages_without_the_answer_have_no_right_place() -> None:
    lessons = span_lessons(Questions.of(towns(), "train"), words=100, wrong_passages=0.99, seed=0)
    elsewhere = [lesson for lesson in lessons if not any(lesson.right)]
    assert len(elsewhere) > 8
    assert {query.text for query in towns().queries.values()} == {lesson.question for lesson in lessons}


def test_a_stretch_is_whole_sentences_around_the_place() -> None:
    import random

    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    start = text.index("Seven")
    for seed in range(5):
        first, last = stretch(text, (start, start + 5), 6, random.Random(seed))
        assert text[first:last] in ("Four five six. Seven eight nine.", "Seven eight nine. Ten eleven twelve.")
    assert stretch(text, (0, 60), 1, random.Random(0)) == (0, len(text))  # over several sentences


def test_statements_of_all_verdicts() -> None:
    made = list(answer_lessons(Questions.of(towns(), "dev"), 0))
    counts = Counter(one.verdict for one in made)
    assert counts["supported"] == 2 * 16  # against the passage, and against the answer's sentence alone
    assert min(counts["unsupported"], counts["contradicted"]) >= 16
    assert {one.statement.claim for one in made if one.verdict == "supported"} >= {"Accra", "built it Accra"}


def test_verdicts_follow_from_what_the_evidence_holds() -> None:
    query = Query("q", "Who designed the old bridge?", ("Ada Byron",))
    home = Document("h", "The old bridge was designed by Ada Byron. In the end Otto Lang left.", "Town § 1")
    other = Document("o", "The mill was built by Max Born. It burnt down.", "Town § 2")
    asked = Questions((query,), {"q": home}, {"h": (query,)}, {"h": (home, other), "o": (home, other)})
    made = [lesson for seed in range(8) for lesson in answer_lessons(asked, seed)]
    for one in made:
        answered, right = find("Ada Byron", one.statement.evidence), one.statement.claim.endswith("Ada Byron")
        expected = ("supported" if right else "contradicted") if answered else "unsupported"
        assert one.verdict == expected, one
    said = {(one.statement.claim, one.verdict) for one in made}
    assert said >= {("Otto Lang", "contradicted"), ("Otto Lang", "unsupported"), ("Ada Byron", "unsupported")}
    assert said >= {("Max Born", "contradicted"), ("Max Born", "unsupported"), ("Ada Born", "contradicted")}


def test_what_a_citation_is_read_as() -> None:
    passage = Document("d", "Oslo is old. Lima is new. Old Oslo lies north.", "Towns")
    assert sentences_with(["Oslo"], passage) == "Towns. Oslo is old. Old Oslo lies north."
    assert sentences_with(["new", "north"], Document("d", passage.text)) == "Lima is new. Old Oslo lies north."


def test_a_table_of_verdicts() -> None:
    class Sure:
        verdicts: tuple[Verdict, ...] = ("supported",)

        def check(self, statements: Sequence[Statement]) -> list[Support]:
            return [Support(float(one.claim == "a")) for one in statements]

    lessons = [Lesson(Statement("a", "e"), "supported"), Lesson(Statement("b", "e"), "contradicted")]
    table = verdict_table(cast(ClaimChecker, Sure()), lessons)
    assert table["supported"] == {"supported": 1, "unsupported": 0, "contradicted": 0}
    assert table["contradicted"] == {"supported": 0, "unsupported": 1, "contradicted": 0}


def test_halves_of_a_split_are_apart() -> None:
    halves = [half_of(towns(), "dev", parity).qrels["dev"].judgements.keys() for parity in (0, 1)]
    assert not set(halves[0]) & set(halves[1])
    assert len(halves[0] | halves[1]) == 8


def test_other_folders_are_refused(root: Path, tmp_path: Path) -> None:
    write_tiny_root(tmp_path)
    queries = tmp_path / "halueval-qa" / "queries.jsonl"
    queries.write_text(queries.read_text().replace("hallucinated_answers", "other_answers"))
    with pytest.raises(DataError, match=r"queries\.jsonl:1: has no list 'hallucinated_answers'"):
        checker_sets(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        checker_sets(tmp_path / "nowhere")


def test_the_baselines_of_real_pairs_are_those_published_with_the_data(shared_data: Path) -> None:
    made = halueval_pairs(shared_data / "halueval-qa")
    figures = {
        name: auroc([baseline(one.statement) for one in made.judged], made.judged, resamples=1).value
        for name, baseline in BASELINES.items()
    }
    assert figures == pytest.approx({"length": 0.963, "containment": 0.913}, abs=6e-4)
    matched = halueval_pairs(shared_data / "halueval-qa", most_words_apart=1)
    assert 0 < matched.pairs < made.pairs / 4
