from pathlib import Path
from typing import Any

import pytest
import torch

from genir.errors import ArtefactError, DataError
from genir.records import Document, Query
from rag.small_reader.batches import LossWeights, collate, pack
from rag.small_reader.data import Article, Inventor, collect_articles, mentions
from rag.small_reader.reader import ReaderSettings, SmallReader
from rag.small_reader.training import END, PAD, START, ReaderConfig, new_model, train_reader, train_tokenizer

NAMES = ["Helium", "Neon", "Argon", "Krypton", "Xenon", "Radon", "Iron", "Gold", "Tin", "Zinc"]
ARTICLES = [
    Article(
        name,
        f"{name} is an element. The symbol of {name.lower()} is {name[:2]}. It was found in {1700 + 13 * i}.",
        ((f"What is the symbol of {name.lower()}?", name[:2]), (f"When was {name.lower()} found?", str(1700 + 13 * i))),
    )
    for i, name in enumerate(NAMES)
]
TINY = ReaderConfig(
    hidden_size=64, intermediate_size=64, num_hidden_layers=2, vocab_size=400, steps=3, tokens_per_step=400
)


@pytest.fixture(scope="module")
def reader() -> SmallReader:
    return train_reader(ARTICLES, TINY, progress="")


def test_articles_are_collected_with_the_spelling_of_the_text() -> None:
    documents = {"he": Document("he", "Helium was found by Jules Janssen.", title="Helium")}
    queries = [
        Query("1", "Who found helium?", ("P. J. C. Janssen", "jules janssen")),
        Query("2", "Who named it?", ("Lockyer",)),
        Query("3", "Who found neon?", ("Ramsay",)),
    ]
    articles, left_out = collect_articles(documents, queries, {"1": ["he"], "2": ["he"]})
    assert articles == [Article("Helium", documents["he"].text, (("Who found helium?", "jules janssen"),))]
    assert left_out == 2


def test_lessons_are_consistent() -> None:
    inventor = Inventor(ARTICLES, seed=0)
    for step in range(200):
        lesson = inventor.grounded(step % len(ARTICLES), turns=4)
        name, _, sentence = lesson.passage.partition(". ")
        for question, answer in lesson.turns:
            assert answer.lower() in sentence.lower()
            assert name.lower() in question.lower()


def test_most_names_and_values_are_invented() -> None:
    inventor = Inventor(ARTICLES, seed=0)
    passages = [inventor.grounded(1, turns=1).passage for _ in range(100)]
    assert sum("neon" in passage.lower() for passage in passages) < 25
    assert len(set(passages)) > 90


def test_invented_phrases_keep_their_shape() -> None:
    inventor = Inventor(ARTICLES, seed=0)
    for _ in range(50):
        year = inventor.phrase("1898")
        assert year.isdigit()
        assert len(year) == 4
        assert inventor.phrase("Henry Cavendish")[0].isupper()
        assert inventor.phrase("noble gas").islower()


def test_lessons_repeat_with_their_seed() -> None:
    first, second = Inventor(ARTICLES, seed=7), Inventor(ARTICLES, seed=7)
    assert [first.grounded(i, 3) for i in range(10)] == [second.grounded(i, 3) for i in range(10)]


def test_turns_of_one_row_are_blind_to_each_other() -> None:
    """Packing changes nothing: each turn gets the logits that it gets as a prompt of its own."""
    inventor = Inventor(ARTICLES, seed=0)
    tokenizer = train_tokenizer(ARTICLES, inventor, 400)
    model = new_model(TINY, len(tokenizer)).eval()
    lesson = inventor.grounded(0, turns=3)

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    row = pack(lesson, encode, START, END, LossWeights())
    batch = collate([row, pack(inventor.closed_book(1, 2), encode, START, END, LossWeights())], PAD)
    with torch.inference_mode():
        packed = model(input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask).logits[0]
        for turn in range(1, 4):
            places = [i for i, t in enumerate(row.turns) if t in (0, turn)]
            alone = model(input_ids=torch.tensor([[row.ids[i] for i in places]])).logits[0]
            own = [i for i, t in enumerate(row.turns) if t == turn]
            torch.testing.assert_close(packed[own], alone[-len(own) :], atol=1e-4, rtol=1e-3)


def test_a_turn_is_the_prompt_that_the_reader_gets(reader: SmallReader) -> None:
    """What training packs token by token is what the template makes at reading time."""
    passage = Document("d", ARTICLES[0].text, title=ARTICLES[0].title)
    prompt = reader._prompt(ARTICLES[0].questions[0][0], f"{passage.title}. {passage.text}")
    tokenizer = reader.tokenizer

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    packed = [START, *encode(f"{passage.title}. {passage.text}\n"), *encode(ARTICLES[0].questions[0][0] + "\n")]
    assert tokenizer(prompt)["input_ids"] == packed


def test_the_untrained_start_copies() -> None:
    """Behind a random sequence, its repetition is continued: induction heads are there before any step."""
    model = new_model(ReaderConfig(), 1024).eval()
    torch.manual_seed(0)
    once = torch.randint(3, 1024, (8, 40))
    with torch.inference_mode():
        logits = model(input_ids=torch.cat([once, once], 1)).logits[:, 40:-1]
    ranked = logits.topk(5).indices
    assert (ranked == once[:, 1:, None]).any(-1).float().mean() > 0.25  # by chance: 0.005


def test_training_repeats_with_its_seed_and_lowers_the_loss() -> None:
    losses: list[list[float]] = []
    for _ in range(2):
        seen: list[float] = []
        train_reader(
            ARTICLES, ReaderConfig(**{**_as_dict(TINY), "steps": 12}), "", lambda _, loss, seen=seen: seen.append(loss)
        )
        losses.append(seen)
    assert losses[0] == losses[1]
    assert sum(losses[0][-4:]) < sum(losses[0][:4])


def test_saved_and_loaded_it_reads_alike(reader: SmallReader, tmp_path: Path) -> None:
    reader.save(tmp_path / "reader")
    loaded = SmallReader.load(tmp_path / "reader")
    passages = [[Document("d", a.text, title=a.title)] for a in ARTICLES[:4]]
    questions = [a.questions[0][0] for a in ARTICLES[:4]]
    assert [r.text for r in loaded.read(questions, passages)] == [r.text for r in reader.read(questions, passages)]
    assert loaded.settings == reader.settings


def test_faulty_folders_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no reader\.json there: expected a folder made by `genir demo`"):
        SmallReader.load(tmp_path)
    (tmp_path / "reader.json").write_text('{"mood": 1}')
    with pytest.raises(ArtefactError, match=r"not a reader's settings: .*unknown key 'mood'"):
        SmallReader.load(tmp_path)


def test_nothing_to_learn_from_says_so() -> None:
    with pytest.raises(DataError, match="1 articles hold no question with its answer in the text"):
        train_reader([Article("a", "text", ())], TINY, progress="")


def test_it_reads_the_sentence_that_answers_and_cites_it(reader: SmallReader) -> None:
    helium, neon = (Document(a.title, a.text, title=a.title) for a in ARTICLES[:2])
    question = "When was neon found?"
    [reading] = reader.read([question], [[helium, neon]])
    assert reading.passage == 1
    assert reading.span is not None
    assert neon.text[slice(*reading.span)] == "It was found in 1713."
    assert reading.text in f"{neon.title}. It was found in 1713."


def test_it_abstains_where_no_sentence_is_likely_to_answer(reader: SmallReader) -> None:
    surer = SmallReader(reader.model, reader.tokenizer, reader.selector, ReaderSettings(min_evidence=1.1))
    question = "When was neon found?"
    blank, certain = (
        surer.read([question], [[Document("d", text, title="Neon")]])[0] for text in ("", ARTICLES[1].text)
    )
    assert blank.abstained
    assert certain.abstained
    assert certain.confidence == 0.0  # the language model was not even asked
    assert surer.read([question], [[]])[0].confidence < 0  # closed-book there is no evidence to doubt


def _as_dict(config: ReaderConfig) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(config)


def test_articles_without_titles_make_lessons_too() -> None:
    articles = [Article("", article.text, article.questions) for article in ARTICLES]
    inventor = Inventor(articles, seed=0)
    for step in range(50):
        lesson = inventor.grounded(step % len(articles), turns=2)
        assert all(mentions(answer, lesson.passage) for _, answer in lesson.turns)
        assert not lesson.passage.startswith(".")
