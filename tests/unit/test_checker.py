"""The trained checker: its features by hand, what a head learns, keeping it, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genir.errors import ArtefactError, DataError
from rag.checkers.features import NAMES, ClaimFeatures, asks_for
from rag.checkers.network import SpanScorer
from rag.checkers.trained import ClaimChecker, Lesson, LogisticHead
from rag.verification import NO_SUPPORT, Statement, SupportChecker
from tests.tiny_checker import save_pair_encoder
from tests.tiny_text_models import WordEncoder

EVIDENCE = "Ada Byron designed the bridge in 1887. Otto Lang left the town in 1850. It does not matter."
QUESTION = "Who designed the bridge?"


def features(claim: str, question: str = QUESTION, evidence: str = EVIDENCE) -> dict[str, float]:
    [row] = ClaimFeatures(WordEncoder()).rows([Statement(claim, evidence, question)])[0].tolist()
    return dict(zip(NAMES, row, strict=True))


def test_the_right_span_stands_among_the_questions_words() -> None:
    right, wrong = features("Ada Byron"), features("Otto Lang")
    for name in ("near", "nearest", "in_sentence", "cosine"):
        assert right[name] > wrong[name], name
    assert (right["sentence_gap"], right["cosine_gap"]) == (0.0, 0.0)
    assert wrong["sentence_gap"] < 0
    assert (right["whole"], right["held"], right["nowhere"], right["who:name"]) == (1.0, 1.0, 0.0, 1.0)
    assert right["nearest"] == pytest.approx(np.exp(-1 / 6))  # "designed" is the next word


def test_what_the_evidence_does_not_hold() -> None:
    absent = features("Grace Hopper in 1999")
    assert (absent["held"], absent["nowhere"], absent["new_numbers"], absent["near"]) == (0.0, 1.0, 1.0, 0.0)
    assert features("the bridge")["echo"] == 1.0


def test_a_claim_by_itself_is_held_against_its_sentence() -> None:
    plain = features("Ada Byron designed the bridge", "")
    denied = features("Ada Byron never designed the bridge", "")
    assert (plain["negated"], denied["negated"]) == (0.0, 1.0)
    up = features("Salt increases pressure", "", "Salt decreases the pressure.")
    assert (up["opposed"], features("Salt decreases pressure", "", "Salt decreases it.")["opposed"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who came?", "who"),
        ("In what year did it end?", "year"),
        ("How many people came?", "number"),
        ("When did it end?", "when"),
        ("The name of the town is what?", "what"),
        ("Is it so?", "other"),
        ("谁来了?", "other"),
    ],
)
def test_what_questions_ask_for(question: str, kind: str) -> None:
    assert asks_for(question) == kind


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How much did it cost?", "number"),
        ("How long is it?", "number"),
        ("What percentage came?", "number"),
        ("Which percentage came?", "what"),
        ("What number came?", "what"),
        ("How old is it?", "other"),
        ("How tall is the man who came?", "who"),
        ("How long ago did it end?", "number"),
        ("How far is it?", "other"),
        ("这条河有多长？", "other"),
    ],
)
def test_the_shipped_weights_know_no_other_questions_of_number(question: str, kind: str) -> None:
    """The measure of answer types reads more of them; what the weights were trained with stays as it was."""
    row = features("Ada Byron", question)
    assert [name for name, value in row.items() if ":" in name and value] == [f"{kind}:name"]


def lessons() -> list[Lesson]:
    names = ("Ada Byron", "Otto Lang", "Max Born", "Eva Hill")
    made = []
    for i, name in enumerate(names):
        other = names[i - 1]
        text = f"{name} designed the bridge. Then {other} left the town."
        made.append(Lesson(Statement(name, text, QUESTION), "supported"))
        made.append(Lesson(Statement(other, text, QUESTION), "unsupported"))
        made.append(Lesson(Statement(f"{name} designed a bridge", text), "supported"))
        made.append(Lesson(Statement(f"{name} never designed it", text), "contradicted"))
        made.append(Lesson(Statement(f"{other} sold nine cars", text), "unsupported"))
    return made


@pytest.fixture
def fitted() -> ClaimChecker:
    return ClaimChecker(WordEncoder()).fit(lessons())


def test_it_learns_both_tasks(fitted: ClaimChecker) -> None:
    assert isinstance(fitted, SupportChecker)
    assert fitted.name == "features"
    text = "Lea Moss designed the bridge. Then Tom Ray left the town."
    right, wrong, said, denied = fitted.check(
        [
            Statement("Lea Moss", text, QUESTION),
            Statement("Tom Ray", text, QUESTION),
            Statement("Lea Moss designed a bridge", text),
            Statement("Lea Moss never designed it", text),
        ]
    )
    assert right.supported > 0.5 > wrong.supported
    assert said.supported > denied.supported
    assert denied.contradicted > said.contradicted
    for one in (right, wrong, said, denied):
        assert 0.0 <= one.supported + one.contradicted <= 1.0 + 1e-9


def test_empty_statements(fitted: ClaimChecker) -> None:
    assert fitted.check([]) == []
    blank = [Statement("", EVIDENCE, QUESTION), Statement("Ada", " ", QUESTION)]
    assert fitted.check(blank) == [NO_SUPPORT, NO_SUPPORT]


def test_a_task_without_lessons_is_done_by_the_other_head() -> None:
    checker = ClaimChecker(WordEncoder()).fit([one for one in lessons() if one.statement.question])
    assert set(checker.heads) == {"answer"}
    [found] = checker.check([Statement("Ada Byron", EVIDENCE)])
    assert 0.0 < found.supported < 1.0


def test_lessons_that_teach_nothing() -> None:
    with pytest.raises(DataError, match="nothing to fit a checker on"):
        ClaimChecker(WordEncoder()).fit([])
    with pytest.raises(DataError, match="1 lessons for the checker's task 'answer', all of them supported"):
        ClaimChecker(WordEncoder()).fit(lessons()[:1])
    with pytest.raises(ArtefactError, match="the trained checker was neither fitted nor loaded"):
        ClaimChecker(WordEncoder()).check([Statement("a", "b")])


def test_a_head_by_hand() -> None:
    head = LogisticHead(
        ("supported", "unsupported"), np.array([[1.0], [0.0]]), np.array([0.0, 1.0]), np.array([2.0]), np.array([4.0])
    )
    [[right, wrong]] = head.probabilities(np.array([[10.0]])).tolist()
    assert right == pytest.approx(1 / (1 + np.exp(1 - 2)))
    assert right + wrong == pytest.approx(1.0)


def test_a_saved_checker_checks_the_same(tmp_path: Path) -> None:
    folder = save_pair_encoder(tmp_path / "encoder")
    from genir.embedding import TextEncoder

    torch.manual_seed(0)
    encoder = TextEncoder(str(folder), precision="float32")
    checker = ClaimChecker(encoder, SpanScorer.fresh(str(folder), question_tokens=24, passage_tokens=60)).fit(lessons())
    assert (checker.name, checker.features[-1]) == ("trained", "span_logit")
    checker.save(tmp_path / "checker")
    statements = [lesson.statement for lesson in lessons()[:5]]
    again = ClaimChecker.load(tmp_path / "checker")
    for one, other in zip(checker.check(statements), again.check(statements), strict=True):
        assert one.supported == pytest.approx(other.supported, abs=1e-2)
    assert {path.suffix for path in (tmp_path / "checker").iterdir()} == {".json", ".safetensors", ""}
    shape = json.loads((tmp_path / "checker" / "checker.json").read_text())
    shape["features"] = shape["features"][:-2]
    (tmp_path / "checker" / "checker.json").write_text(json.dumps(shape))
    with pytest.raises(ArtefactError, match=r"a checker of \d+ features, this version has \d+ others: train it again"):
        ClaimChecker.load(tmp_path / "checker")
    (tmp_path / "checker" / "checker.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match=r"no readable checker \(.*\); train it with `genir rag train-checker`"):
        ClaimChecker.load(tmp_path / "checker")
