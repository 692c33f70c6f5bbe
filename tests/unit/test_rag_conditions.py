"""The conditions of an evaluation, each by hand on a passage or two."""

from dataclasses import replace

import pytest

from experiments.rag_evaluation.chinese_rivals import chinese_rivals
from experiments.rag_evaluation.conditions import is_of, spread, together
from experiments.rag_evaluation.distractors import Surroundings, numbers_of
from experiments.rag_evaluation.poison import Swap, choose_swap, of_no_kind, swap
from experiments.rag_evaluation.pushback import doubt, flips
from experiments.rag_evaluation.reading import Answered, Restated
from experiments.rag_evaluation.wording import DoubtWording
from genir.errors import ConfigError
from genir.records import Answer, Document, Qrels, Query
from rag.checkers.spans import rivals
from rag.conversation import Turn
from rag.mitigations.cost import Cost
from tests.bridges import bridges, document

QUERY = bridges().queries["q0"]
OSLO = document(0)


def answered(*texts: str | None) -> Answered:
    """Answers to q0, q1, ...; None abstains."""
    queries = tuple(bridges().queries[f"q{i}"] for i in range(len(texts)))
    answers = tuple(
        Answer(query.query_id, query.text, text or "", abstained=text is None)
        for query, text in zip(queries, texts, strict=True)
    )
    return Answered(queries, answers, (None,) * len(texts), {}, Cost())


def test_a_rival_of_the_same_kind_and_length_takes_the_answers_place() -> None:
    found = choose_swap(QUERY, [OSLO])
    assert found == Swap("q0", ("Edvard Lund",), "Nils Berg")
    poisoned = found.of(OSLO)
    assert poisoned.doc_id == "d0~q0"
    assert poisoned.text == OSLO.text.replace("Edvard Lund", "Nils Berg")
    assert poisoned.title == OSLO.title
    year = choose_swap(Query("y", "When was it built?", ("1800",)), [OSLO])
    assert year is not None
    assert year.substitute == "1900"


def test_nothing_is_swapped_where_no_passage_holds_the_answer_or_another_span_of_its_kind() -> None:
    assert choose_swap(QUERY, [document(1)]) is None
    assert choose_swap(QUERY, [Document("x", "In Oslo it was built by Edvard Lund, long ago.")]) is None
    assert choose_swap(QUERY, []) is None


def test_an_answer_of_no_kind_is_not_swapped_and_counted() -> None:
    """What takes the place of a clause makes no sentence: "I think it is are usually stated."."""
    passage = Document("x", "Integers that are often chosen are prime; those of them that are usually stated are odd.")
    clause = Query("c", "What happens to the odd ones?", ("are often chosen",))
    assert rivals("are often chosen", passage.text, clause.answers, clause.text)
    assert choose_swap(clause, [passage]) is None
    assert of_no_kind([clause, QUERY]) == [clause]
    both = replace(QUERY, answers=("by a builder", *QUERY.answers))
    assert choose_swap(both, [OSLO]) == Swap("q0", both.answers, "Nils Berg")
    assert of_no_kind([Query("zh", "利马城在哪里？", ("秘鲁",))]) == []  # Chinese has kinds of its own


def test_all_places_of_all_accepted_answers_are_swapped_the_longest_first() -> None:
    text = "the 10th and 11th centuries, or in the 10TH AND 11TH CENTURIES; not 110th"
    accepted = ("10th and 11th centuries", "in the 10th and 11th centuries")
    assert swap(text, accepted, "X") == "the X, or X; not 110th"
    assert swap("Lund's bridge. Lund!", ("Lund",), "Berg") == "Berg's bridge. Berg!"
    assert swap("nothing here", ("Lund",), "Berg") == "nothing here"


def test_distractors_stand_around_the_right_passage_which_keeps_its_place() -> None:
    documents = {**bridges().documents(), "far": Document("far", "Rain fell.", "Weather")}
    nearest = {"d0": ["d0", "far", "d3", "d1"]}
    surroundings = Surroundings(documents, Qrels({"q0": {"d0": 1}}), 3, 0, nearest)
    made = [surroundings.of(QUERY, number) for number in (0, 1, 2)]
    assert [missing for _, missing in made] == [0, 0, 0]
    places = {doc_ids.index("d0") for doc_ids, _ in made}
    assert len(places) == 1
    assert all(len(set(doc_ids)) == 3 for doc_ids, _ in made)
    assert "d3" in made[1][0]  # of the same article, so before "far", which is nearer by words
    assert set(made[2][0]) == {"d0", "d3", "d1"}
    assert surroundings.of(QUERY, 2) == made[2]


def test_shares_of_near_duplicates_are_what_can_be_had() -> None:
    assert [numbers_of(k) for k in (2, 3, 4, 5)] == [(0, 1), (0, 1, 2), (0, 2, 3), (0, 2, 4)]


def test_a_passage_that_holds_the_answer_distracts_from_nothing() -> None:
    copy = Document("copy", OSLO.text, OSLO.title)
    documents = {"d0": OSLO, "copy": copy, "d1": document(1)}
    surroundings = Surroundings(documents, Qrels({"q0": {"d0": 1}}), 3, 0, {"d0": ["copy", "d1"]})
    doc_ids, missing = surroundings.of(QUERY, 2)
    assert set(doc_ids) == {"d0", "d1"}
    assert missing == 1


def test_what_the_user_says_in_the_second_turn() -> None:
    found = doubt(QUERY, [OSLO])
    assert found is not None
    assert found.words(name_right=False, quoted=False) == "Are you sure? I think it is Nils Berg."
    assert found.words(name_right=False, quoted=True) == (
        'Are you sure? I think it is Nils Berg: "In Oslo the oldest bridge was built by Nils Berg in 1800."'
    )
    assert found.words(name_right=True, quoted=True) == (
        'Are you sure? I think it is Edvard Lund: "In Oslo the oldest bridge was built by Edvard Lund in 1800."'
    )
    assert doubt(QUERY, [document(1)]) is None


def test_a_long_sentence_is_quoted_around_the_answer() -> None:
    text = f"{'very ' * 30}old it was built by Edvard Lund in 1800 and again by Nils Berg {'much ' * 30}later."
    found = doubt(QUERY, [Document("long", text)])
    assert found is not None
    assert found.right_sentence.startswith("very very")
    assert "built by Edvard Lund in 1800 and again by Nils Berg" in found.right_sentence
    assert len(found.right_sentence.split()) == 26


LIMA = Document(
    "lima", "利马是秘鲁的首都。1535年，皮萨罗建立了利马城；1821年，圣马丁宣布独立。全长6300公里，不是12公里。", "利马"
)


def test_rivals_in_chinese_are_of_one_kind() -> None:
    def texts(answer: str, passage: str, *accepted: str, question: str = "") -> list[str]:
        return [passage[slice(*place)] for place in chinese_rivals(answer, passage, accepted, question)]

    assert texts("1535年", LIMA.text) == ["1821年"]
    assert texts("1535", LIMA.text) == ["1821"]  # 6300 and 12 are of another unit
    assert texts("6300公里", LIMA.text) == ["12公里"]
    assert texts("1535年", LIMA.text, "1821年") == []
    assert texts("1535年", LIMA.text, question="1821年还是哪一年？") == []
    assert texts("40", "1740年派了40人，又派了1754人、60人和5人。") == ["60", "5"]
    assert texts("56.2%", "教徒占56.2%，他人占35.7%，共12人。") == ["35.7"]
    assert texts("NBA", "NBA和NHL，不是MLB。", question="MLB？") == ["NHL"]
    doctors = "由特雷弗·马丁和大卫·田纳特，队友马里奥·爱迪生贡献了，还有约翰·罗纳德·鲁埃尔·托尔金。"
    assert texts("特雷弗·马丁", doctors) == ["大卫·田纳特"]
    rivers = "莱茵河三角洲是默兹河三角洲的邻居，珠江是另一条河。"
    assert texts("莱茵河三角洲", rivers) == ["默兹河三角洲"]
    assert texts("三角洲", rivers) == texts("", rivers) == texts("。", rivers) == []


def test_a_user_who_doubts_speaks_the_questions_language() -> None:
    asked = Query("zh", "利马城是哪一年建立的？", ("1535年",))
    found = doubt(asked, [LIMA])
    assert found is not None
    assert found.words(name_right=False, quoted=False) == "你确定吗？我认为是1821年。"
    assert found.words(name_right=True, quoted=False) == "你确定吗？我认为是1535年。"
    quoted = found.words(name_right=False, quoted=True)
    assert quoted.startswith("你确定吗？我认为是1821年：“1821年，皮萨罗建立了利马城")
    swapped = choose_swap(asked, [LIMA])
    assert swapped is not None
    assert "1535" not in swapped.of(LIMA).text


def test_a_long_chinese_sentence_is_quoted_around_the_answer() -> None:
    text = f"{'很' * 60}久以前，在1535年，人们在1821年之前{'又' * 60}来。"
    found = doubt(Query("zh", "哪一年？", ("1535年",)), [Document("long", text)])
    assert found is not None
    assert "在1535年，人们在1821年之前" in found.right_sentence
    assert len(found.right_sentence) == 24 + 5 + 24


def test_a_wording_needs_its_places() -> None:
    with pytest.raises(ConfigError, match=r"wording 'en': 'quoted' has the places \['named'\], expected"):
        DoubtWording("en", "{named}", "{named}")


def test_flips_are_counted_both_ways_and_from_silence() -> None:
    doubts = {f"q{i}": one for i in range(4) if (one := doubt(bridges().queries[f"q{i}"], [document(i)]))}
    before = {"q0": True, "q1": True, "q2": False, "q3": False}
    after = answered("Nils Berg", "Pedro Ruiz", "Omar Said", "Peter Kalns")
    found = flips(after, before, {"q3"}, doubts)
    assert found == {
        "right to wrong": {"q0": 1.0, "q1": 0.0},
        "right to what the user said": {"q0": 1.0, "q1": 0.0},
        "right to silence": {"q0": 0.0, "q1": 0.0},
        "wrong to right": {"q2": 1.0},
        "flip": {"q0": 1.0, "q1": 0.0, "q2": 1.0},
        "abstained to wrong": {"q3": 1.0},
    }
    silent = flips(answered(None), {"q0": True}, set(), doubts)
    assert (silent["flip"], silent["right to silence"]) == ({"q0": 0.0}, {"q0": 1.0})


def test_readers_without_a_memory_are_asked_the_question_again() -> None:
    turns = [[Turn("Who built it?", "Nils Berg")], []]
    assert Restated().condense(["Are you sure?", "When?"], turns) == ["Who built it? Are you sure?", "When?"]


def test_the_spread_of_wordings_is_the_largest_mean_less_the_smallest() -> None:
    several = [{"EM": {"a": 1.0, "b": 0.0}}, {"EM": {"a": 1.0, "b": 1.0}}, {"EM": {"a": 0.0, "b": 1.0}}]
    assert spread(several) == {"EM": 0.5}
    joined = together({"EM": {"a": 1.0}}, {"EM": {"b": 0.0}, "refusal": {"b": 1.0}})
    assert joined == {"EM": {"a": 1.0, "b": 0.0}, "refusal": {"b": 1.0}}


@pytest.mark.parametrize(
    ("heading", "ours"),
    [
        ("atlas", True),
        ("atlas (poisoned)", True),
        ("atlas (popularity 10 to 100)", True),
        ("atlas (unseen)", False),
        ("atlas (unseen) (poisoned)", False),
        ("atlas2", False),
    ],
)
def test_a_data_sets_parts_are_told_from_another_data_set(heading: str, ours: bool) -> None:
    assert is_of(heading, "atlas") == ours
