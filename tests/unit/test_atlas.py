"""The atlas as a data set: on the real tables, and on two tiny ones where a rule must be seen alone."""

from collections import Counter
from pathlib import Path

import pytest

from experiments.atlas import Atlas, build_atlas, write_atlas
from experiments.atlas.build import HELD_OUT, UNSEEN
from experiments.atlas.prose import share_of
from experiments.atlas.tables import load_tables
from genir.errors import DataError


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return build_atlas()


def test_it_is_large_enough(atlas: Atlas) -> None:
    assert len(atlas.dataset.corpus) >= 1000
    per_document = Counter(q.doc_id for q in atlas.questions.values() if q.split != "unanswerable")
    assert set(per_document) == {document.doc_id for document in atlas.dataset.corpus}
    assert 6 <= sum(per_document.values()) / len(per_document) <= 12
    assert len(atlas.unanswerable) >= 100


def test_the_same_seed_makes_the_same_atlas(atlas: Atlas) -> None:
    assert build_atlas() == atlas


def test_another_seed_moves_words_but_no_entity(atlas: Atlas) -> None:
    other = build_atlas(seed=1)
    assert other.dataset.corpus != atlas.dataset.corpus
    assert other.reader_split == atlas.reader_split


def test_every_answer_stands_in_its_article(atlas: Atlas) -> None:
    documents = atlas.dataset.documents()
    for query_id, question in atlas.questions.items():
        if question.split != "unanswerable":
            text = documents[question.doc_id].text
            assert question.query.answers[0] in text, (query_id, question.query.answers, text)
    for fact in atlas.facts:
        assert fact.value == fact.accepted[0]
        assert fact.value in documents[fact.doc_id].text


def test_articles(atlas: Atlas) -> None:
    for document in atlas.dataset.corpus:
        sentences = atlas.sentences[document.doc_id]
        assert 3 <= len(sentences) <= 8, document
        assert document.text == " ".join(sentence.text for sentence in sentences)
        assert sentences[0].doc_id == document.doc_id
        for sentence in sentences:
            assert not sentence.text[0].islower(), sentence
            assert sentence.text.endswith((".", "!")), sentence
            assert "  " not in sentence.text
            assert ".." not in sentence.text
            assert not {"{", "}", "|", "\t"} & set(sentence.text), sentence
            assert " the the " not in sentence.text.lower()
    assert len({document.text for document in atlas.dataset.corpus}) == len(atlas.dataset.corpus)


def test_retriever_splits(atlas: Atlas) -> None:
    splits = {name: atlas.select(name) for name in ("train", "dev", "test")}  # type: ignore[arg-type]
    assert {name: tuple(atlas.dataset.qrels[name]) for name in splits} == {
        name: tuple(query.query_id for query in queries) for name, queries in splits.items()
    }
    train = {query.text.casefold() for query in splits["train"]}
    for name in ("dev", "test"):
        assert not train & {query.text.casefold() for query in splits[name]}
    total = sum(map(len, splits.values()))
    assert 0.67 < len(splits["train"]) / total < 0.73
    assert 0.13 < len(splits["test"]) / total < 0.17
    taught = {atlas.questions[query.query_id].doc_id for query in splits["train"]}
    assert taught == {document.doc_id for document in atlas.dataset.corpus}


def test_qrels_point_at_the_article_first(atlas: Atlas) -> None:
    ids = set(atlas.dataset.documents())
    for split, qrels in atlas.dataset.qrels.items():
        for query_id in qrels:
            relevant = qrels.relevant(query_id)
            question = atlas.questions[query_id]
            assert question.split == split
            assert relevant[0] == question.doc_id
            assert set(relevant) <= ids
            for other in relevant[1:]:
                assert any(
                    (s.doc_id, s.attribute) == (question.doc_id, question.attribute) for s in atlas.sentences[other]
                )


def test_the_reader_is_told_nothing_of_unseen_entities(atlas: Atlas) -> None:
    unseen = {doc_id for doc_id, split in atlas.reader_split.items() if split == "unseen"}
    assert 0.12 < len(unseen) / len(atlas.reader_split) < 0.18
    questions = [atlas.questions[query.query_id] for query in atlas.reader_training]
    assert len(questions) > 1000
    assert {question.split for question in questions} == {"train"}
    assert not unseen & {question.doc_id for question in questions}
    assert {q.query_id for q in atlas.reader_training} <= {q.query_id for q in atlas.select("train", "seen")}
    for doc_id, sentences in atlas.sentences.items():
        assert not any(s.doc_id in unseen and s.doc_id != doc_id for s in sentences), "an unseen entity's fact was lent"


def test_nothing_answers_the_unanswerable(atlas: Atlas) -> None:
    asked = {
        (question.doc_id, question.attribute)
        for question in atlas.questions.values()
        if question.split != "unanswerable"
    }
    judged = {query_id for qrels in atlas.dataset.qrels.values() for query_id in qrels}
    texts = [document.text.lower() for document in atlas.dataset.corpus]
    values = {(fact.doc_id, fact.attribute): fact.value.lower() for fact in atlas.withheld}
    names = {row.doc_id: row.base_name.lower() for kind in load_tables() for row in kind.rows}
    held_out = 0
    for query in atlas.unanswerable:
        question = atlas.questions[query.query_id]
        assert query.answers == ()
        assert query.query_id not in judged
        assert (question.doc_id, question.attribute) not in asked
        held_out += question.doc_id not in atlas.reader_split
        value = f" {values[question.doc_id, question.attribute]} "
        assert not any(f" {names[question.doc_id]} " in text and value in text for text in texts), query
    assert 0 < held_out < len(atlas.unanswerable), "both sorts are wanted: unknown entities and unstated facts"


def test_query_ids_name_fact_and_wording(atlas: Atlas) -> None:
    for query_id, question in atlas.questions.items():
        mark = "r" if question.reverse else ""
        assert query_id == question.query.query_id == f"{question.doc_id}/{question.attribute}/{mark}{question.wording}"
        assert not any(character.isspace() for character in query_id)


def test_a_written_atlas_reads_back(atlas: Atlas, tmp_path: Path) -> None:
    formats = pytest.importorskip("genir.formats")
    write_atlas(tmp_path / "atlas", atlas)
    read = formats.load_dataset(tmp_path / "atlas")
    assert read.corpus == atlas.dataset.corpus
    assert dict(read.queries) == dict(atlas.dataset.queries)
    assert {name: dict(qrels.judgements) for name, qrels in read.qrels.items()} == {
        name: dict(qrels.judgements) for name, qrels in atlas.dataset.qrels.items()
    }


WORDING = """noun = "{kind}"

[attributes.{attribute}]
label = "{attribute}"
sentences = ["The {attribute} of {name} is {value}.", "{value} is the {attribute} of {it}."]
questions = ["What is the {attribute} of {name}?", "Tell the {attribute} of {name}.", "{name}: which {attribute}?"]
reverse = ["Whose {attribute} is {value}?"]
refers_to = ["{attribute}"]

[attributes.letter]
label = "letter"
sentences = ["{name} begins with {value}."]
questions = ["What letter begins the {kind} {name}?", "How does the {kind} {name} begin?", "First letter of {name}?"]
"""


def tiny_tables(folder: Path, cities: dict[str, str], rivers: dict[str, str]) -> Path:
    """Two kinds: cities with the river through them, rivers with the city they cross."""
    for kind, attribute, rows in (("city", "river", cities), ("river", "city", rivers)):
        for part in ("facts", "wording"):
            (folder / part).mkdir(exist_ok=True)
        body = "".join(f"{name}\t{value}\t{name[0]}\n" for name, value in rows.items())
        (folder / "facts" / f"{kind}.tsv").write_text(f"name\t{attribute}\tletter\n{body}")
        wording = WORDING.replace("{kind}", kind).replace("{attribute}", attribute)
        (folder / "wording" / f"{kind}.toml").write_text(wording)
    return folder


def in_split(kind: str, split: str) -> str:
    """A made-up name that its hash puts where we want it."""
    for number in range(1000):
        name = f"{kind[0].upper()}{number}"
        doc_id = f"{kind}/{name.lower()}"
        unseen = "unseen" if share_of("unseen", doc_id) < UNSEEN else "seen"
        found = "held out" if share_of("held out", doc_id) < HELD_OUT else unseen
        if found == split:
            return name
    raise AssertionError(f"no {split} name among a thousand")


def test_links_and_their_judgements(tmp_path: Path) -> None:
    city, river = in_split("city", "seen"), in_split("river", "seen")
    atlas = build_atlas(tables=tiny_tables(tmp_path, {city: "Nile"}, {river: city}))
    article = atlas.sentences[f"city/{city.lower()}"]
    assert article[-1].doc_id == f"river/{river.lower()}"
    judged = {query_id: qrels.relevant(query_id) for qrels in atlas.dataset.qrels.values() for query_id in qrels}
    both = (f"river/{river.lower()}", f"city/{city.lower()}")
    assert {relevant for query_id, relevant in judged.items() if query_id.startswith(f"{both[0]}/city/")} == {both}
    assert {relevant for query_id, relevant in judged.items() if query_id.startswith(f"{both[0]}/letter/")} == {
        both[:1]
    }


def test_a_mirrored_fact_of_an_unseen_entity_trains_no_reader(tmp_path: Path) -> None:
    city, river = in_split("city", "unseen"), in_split("river", "seen")
    atlas = build_atlas(tables=tiny_tables(tmp_path, {city: river}, {river: city}))
    taught = {query.query_id.rsplit("/", 1)[0] for query in atlas.reader_training}
    assert taught == {f"river/{river.lower()}/letter"}
    assert all(sentence.doc_id == f"river/{river.lower()}" for sentence in atlas.sentences[f"river/{river.lower()}"])


def test_an_entity_that_is_held_out_is_asked_and_not_told(tmp_path: Path) -> None:
    city, river = in_split("city", "held out"), in_split("river", "seen")
    atlas = build_atlas(tables=tiny_tables(tmp_path, {city: "Rhine"}, {river: "Basel"}))
    assert [document.doc_id for document in atlas.dataset.corpus] == [f"river/{river.lower()}"]
    assert {atlas.questions[query.query_id].attribute for query in atlas.unanswerable} == {"river", "letter"}
    told = build_atlas(tables=tiny_tables(tmp_path, {city: "Rhine"}, {river: city, "Rhine": city}))
    assert {told.questions[query.query_id].attribute for query in told.unanswerable} == {"letter"}, (
        "Rhine's article tells"
    )


def test_reverse_questions_need_a_value_of_one_row(tmp_path: Path) -> None:
    first, second = in_split("city", "seen"), in_split("city", "unseen")
    river = in_split("river", "seen")
    atlas = build_atlas(tables=tiny_tables(tmp_path, {first: "Rhine", second: "Rhine"}, {river: "Basel"}))
    reverse = [question for question in atlas.questions.values() if question.reverse]
    assert [(question.attribute, question.query.answers) for question in reverse] == [("city", (river,))]


def test_two_questions_that_read_the_same_are_refused(tmp_path: Path) -> None:
    city, river = in_split("city", "seen"), in_split("river", "seen")
    tables = tiny_tables(tmp_path, {city: "Rhine"}, {river: "Basel"})
    file = tables / "wording" / "river.toml"
    file.write_text(file.read_text().replace("Whose city is {value}?", "Whose river is Rhine, or {value}?"))
    build_atlas(tables=tables)
    (tables / "wording" / "city.toml").write_text(
        (tables / "wording" / "city.toml")
        .read_text()
        .replace("Whose river is {value}?", "Whose river is {value}, or Basel?")
    )
    with pytest.raises(DataError, match=r"ask the same: 'Whose river is Rhine, or Basel\?'; reword one of them"):
        build_atlas(tables=tables)


def test_a_value_no_wording_can_keep(tmp_path: Path) -> None:
    city, river = in_split("city", "seen"), in_split("river", "seen")
    tables = tiny_tables(tmp_path, {city: "brook"}, {river: "Basel"})
    file = tables / "wording" / "city.toml"
    file.write_text(file.read_text().replace('"The river of {name} is {value}.", ', ""))
    with pytest.raises(DataError, match=r"city\.tsv:2: no wording of 'river' keeps the value 'brook' as it stands"):
        build_atlas(tables=tables)
