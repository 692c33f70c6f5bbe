"""The checker that ships: when it is the default, what it says with its own weights, and what it leaves to words."""

import json
from pathlib import Path

import pytest

from experiments.checkers import benchmark
from genir.errors import ArtefactError
from genir.records import Answer, Claim
from rag.checkers import shipped
from rag.checkers.shipped import WEIGHTS, ShippedChecker, features_can_run
from rag.measures.hallucination import source_conflicts
from rag.verification import Statement, Support, SupportChecker, verdicts_of

needs_encoder = pytest.mark.skipif(
    not features_can_run(), reason='the extra "dense" is not installed, or no weights ship'
)
QUESTION = "Who designed the old bridge?"
PASSAGE = "The old bridge was designed by Ada Byron. It was sold in 1850 to Otto Lang."


def test_it_is_the_default_where_it_can_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(benchmark, "features_can_run", lambda: True)
    assert benchmark.default_checker() == "features"
    assert isinstance(benchmark.make_checker("features"), ShippedChecker)
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    assert not features_can_run()


def test_without_it_the_lexical_one_says_what_it_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "features_can_run", lambda: False)
    with pytest.warns(
        UserWarning, match=r"\(lexical\), which sees no wrong copy and no contradiction: pip install 'genir\[dense\]'"
    ):
        assert benchmark.default_checker() == "lexical"


def test_questions_in_chinese_get_the_one_that_reads_them() -> None:
    assert benchmark.default_checker(unspaced=True) == "lexical"


def test_chinese_is_judged_by_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)  # nothing is loaded for it
    checker = ShippedChecker()
    assert isinstance(checker, SupportChecker)
    assert checker.check([Statement("东京", "东京是日本的首都。", "日本的首都是哪里？")]) == [Support(1.0)]
    assert checker.check([]) == []
    with pytest.raises(ArtefactError, match="no readable checker"):
        checker.check([Statement("Oslo", "Oslo is old.", "What is old?")])


@needs_encoder
def test_a_copy_that_does_not_answer_is_not_supported() -> None:
    right, rival, absent, elsewhere, chinese = ShippedChecker(device="cpu").check(
        [
            Statement("Ada Byron", PASSAGE, QUESTION),
            Statement("Otto Lang", PASSAGE, QUESTION),
            Statement("Grace Hopper", PASSAGE, QUESTION),
            Statement("Max Born", "Max Born ate bread in Rome.", QUESTION),
            Statement("东京", "东京是日本的首都。", "日本的首都是哪里？"),
        ]
    )
    assert right.verdict() == "supported"
    assert rival.verdict() != "supported"
    assert absent.verdict() == "contradicted"
    assert elsewhere.verdict() == "unsupported"
    assert chinese == Support(1.0)


NORWAY = "Norway. The capital of Norway is Oslo. Its currency is the krone."
TOWER = "Eiffel Tower. The Eiffel Tower was completed in 1889 by the company of Gustave Eiffel."


@needs_encoder
@pytest.mark.parametrize(
    ("claim", "evidence", "question", "verdict"),
    [
        ("Norway's capital city is Oslo", NORWAY, "What is the capital of Norway?", "supported"),
        ("Oslo serves as Norway's capital.", NORWAY, "What is the capital of Norway?", "supported"),
        ("The answer is Oslo.", NORWAY, "What is the capital of Norway?", "supported"),
        ("Its currency is the krone.", NORWAY, "What is the capital of Norway?", "supported"),
        ("The capital of Norway is not Oslo.", NORWAY, "What is the capital of Norway?", "contradicted"),
        ("The capital of Norway is Bergen.", NORWAY, "What is the capital of Norway?", "contradicted"),
        ("He is angry.", NORWAY, "What is the capital of Norway?", "unsupported"),
        ("The tower was finished in 1889.", TOWER, "When was the Eiffel Tower built?", "supported"),
        ("The Eiffel Tower was not built in 1889.", TOWER, "When was the Eiffel Tower built?", "contradicted"),
    ],
)
def test_a_sentence_is_judged_by_what_it_adds_to_its_question(
    claim: str, evidence: str, question: str, verdict: str
) -> None:
    [found] = ShippedChecker(device="cpu").check([Statement(claim, evidence, question)])
    assert found.verdict() == verdict, found


@needs_encoder
def test_two_things_said_of_one_question_do_not_contradict_each_other_and_a_denial_does() -> None:
    def contradicts(*texts: str) -> bool:
        claims = tuple(Claim(text, 0, len(text)) for text in texts)
        answer = Answer("q", "What is the capital of Norway?", " ".join(texts), (), claims=claims)
        return source_conflicts([answer], {"q": []}, ShippedChecker(device="cpu"))["q"].self_contradicting

    assert not contradicts("The capital of Norway is Oslo.", "Its currency is the krone.")
    assert not contradicts("The capital of Norway is Oslo.", "Norway is a country in Europe.")
    assert contradicts("He was born in Oslo.", "He was not born in Oslo.")


@needs_encoder
def test_what_ships_is_small_and_says_how_it_was_made() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 30_000
    manifest = json.loads((WEIGHTS / "manifest.json").read_text())
    assert manifest["stage"] == "claim checker"
    assert not [text for text in _strings(manifest) if text.startswith(("/", "~"))]
    trained = benchmark.make_checker(f"trained:{WEIGHTS}", "cpu")
    assert trained.name == "features"
    assert set(verdicts_of(ShippedChecker())) == set(verdicts_of(trained))


def _strings(found: object) -> list[str]:
    if isinstance(found, dict):
        return [text for value in found.values() for text in _strings(value)]
    if isinstance(found, list):
        return [text for value in found for text in _strings(value)]
    return [found] if isinstance(found, str) else []
