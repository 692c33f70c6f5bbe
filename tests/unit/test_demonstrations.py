"""Worked examples: true ones, chosen at random or by the question, never the question itself."""

import pytest

from genir.errors import ConfigError, DataError
from genir.records import Dataset, Document, Qrels, Query
from rag.demonstrations import PASSAGE_WORDS, RandomShots, SimilarShots, collect_shots
from rag.packing import count_words
from rag.prompt import Shot

POOL = tuple(
    Shot(question, answer, "A passage.")
    for question, answer in (
        ("What is the capital of Norway?", "Oslo"),
        ("Who discovered helium?", "Janssen"),
        ("What is the symbol of neon?", "Ne"),
        ("What is the capital of Peru?", "Lima"),
        ("日本的首都是哪里？", "东京"),
    )
)


def test_examples_come_from_queries_whose_answer_stands_in_their_passage(tiny_dataset: Dataset) -> None:
    queries = [tiny_dataset.queries[query_id] for query_id in ("q1", "q4", "q2", "q5")]
    qrels = Qrels({"q1": {"d1": 1}, "q4": {"d4": 1}, "q2": {"d1": 1}})
    shots, left_out = collect_shots(queries, qrels, tiny_dataset.documents())
    assert [(shot.question, shot.answer) for shot in shots] == [
        ("What is the capital of Norway?", "Oslo"),
        ("日本的首都是哪里？", "东京"),
    ]
    assert shots[0].passage == "Oslo. Oslo is the capital of Norway. It lies at the head of a fjord."
    assert left_out == 2


def test_a_long_passage_is_cut_to_sentences_around_the_answer() -> None:
    text = (
        " ".join(f"Sentence number {i} is as long as this." for i in range(60)) + " The gold lies here. More follows."
    )
    document = Document("d", text, "Cave")
    [shot], _ = collect_shots([Query("q", "Where?", ("gold",))], Qrels({"q": {"d": 1}}), {"d": document})
    assert shot.passage.startswith("Cave. Sentence number 5")
    assert "The gold lies here." in shot.passage
    assert count_words(shot.passage) <= PASSAGE_WORDS + 1


def test_no_examples_say_so() -> None:
    with pytest.raises(DataError, match="none of 1 queries has an answer that stands in a relevant document"):
        collect_shots([Query("q", "Where?", ("gold",))], Qrels({}), {})


def test_a_random_choice_is_the_same_for_all_questions_and_repeats() -> None:
    chosen = RandomShots(POOL, 2, seed=1)
    assert chosen.choose("Anything?") == chosen.choose("Something else?") == RandomShots(POOL, 2, seed=1).choose("x")
    assert {tuple(RandomShots(POOL, 2, seed=seed).choose("x")) for seed in range(9)} != {tuple(chosen.choose("x"))}
    assert len(RandomShots(POOL, 99).choose("x")) == len(POOL)


@pytest.mark.parametrize("way", [RandomShots(POOL, 5), SimilarShots(POOL, 5)])
def test_a_question_is_no_example_for_itself(way: RandomShots | SimilarShots) -> None:
    chosen = way.choose("what is the capital of PERU")
    assert len(chosen) == 4
    assert "Lima" not in [shot.answer for shot in chosen]


def test_the_most_similar_stands_last_and_rare_words_count_more() -> None:
    similar = SimilarShots(POOL, 2)
    assert [shot.answer for shot in similar.choose("What is the capital of Chile?")] == ["Lima", "Oslo"]
    assert similar.choose("What did he do with helium?")[-1].answer == "Janssen"
    assert similar.choose("中国的首都是哪里？")[-1].answer == "东京"
    assert len(similar.choose("xyzzy")) == 2


def test_a_number_of_examples_that_is_none() -> None:
    with pytest.raises(ConfigError, match="shots 0: expected at least 1 worked example, or none at all"):
        RandomShots(POOL, 0)
    with pytest.raises(ConfigError, match="shots -1: expected"):
        SimilarShots(POOL, -1)


def test_an_example_of_a_passage_that_is_read_would_tell_the_answer() -> None:
    pool = tuple(Shot(f"Where is town {i}?", "there", "It is there.", f"d{i // 2}") for i in range(6))
    for way in (RandomShots(pool, 4), SimilarShots(pool, 4)):
        assert {shot.doc_id for shot in way.choose("Where is town 9?", ["d1"])} == {"d0", "d2"}
    assert [shot.doc_id for shot in SimilarShots(pool, 4).choose("Where is town 4?")] == ["d2", "d1", "d0"]
