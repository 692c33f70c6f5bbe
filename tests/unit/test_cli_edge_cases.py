"""What simply works: tiny corpora, enormous and foreign questions, no titles, no queries, no answer."""

import json
from pathlib import Path

import pytest

from experiments.registry import SCHEMES
from genir.formats import write_dataset
from genir.records import Dataset, Document, Query
from tests.tiny_journey import Journey, genir

TEXT = "Oslo is the capital of Norway. It lies at a fjord."
ONE = Dataset("one", (Document("only", TEXT, "Oslo", "https://example.org/oslo"),), {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A model over four documents without titles, trained without any query. Tests do not change it."""
    texts = ("The Nile flows north.", "东京是日本的首都。", "Lima is the capital of Peru.", "🎉🎉 party 🎈 time")
    corpus = tuple(Document(f"d{i}", text) for i, text in enumerate(texts))
    journey = Journey.begin(tmp_path_factory.mktemp("trained"), Dataset("mixed", corpus, {}))
    assert journey.build().code == 0
    assert journey.train().code == 0
    return journey


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "ngram"])  # which needs a model of text
@pytest.mark.parametrize(("architecture", "objective"), [("code_decoder", "ranking"), ("seq2seq", "cross_entropy")])
def test_a_corpus_of_one_document(tmp_path: Path, scheme: str, architecture: str, objective: str) -> None:
    journey = Journey.begin(tmp_path, ONE)
    built = journey.build(scheme)
    assert (built.code, built.warnings) == (0, ())
    trained = journey.train(journey.config(architecture, objective))
    assert trained.code == 0, trained.err
    assert "RR@10 on held-out pseudo-queries: 1.0000 before training, 1.0000 now" in trained.out
    [found] = json.loads(genir("search", "--model", journey.model, "Where is Oslo?", "--json").out)
    assert found["doc_id"] == "only"


@pytest.mark.parametrize("retriever", ["bm25", "tfidf", "dense", "hybrid"])
def test_baselines_over_one_document(tmp_path: Path, retriever: str) -> None:
    journey = Journey.begin(tmp_path, ONE)
    options = ("--data", journey.data, "--encoder", journey.encoder, "--json")
    [found] = json.loads(genir("search", "Where is Oslo?", "--retriever", retriever, *options).out)
    assert found["doc_id"] == "only"


@pytest.mark.parametrize("retriever", ["generative", "dense", "bm25"])
def test_a_question_of_ten_thousand_words_is_cut_with_a_warning(trained: Journey, retriever: str) -> None:
    made_of = ("--model", trained.model) if retriever == "generative" else ("--encoder", trained.encoder)
    options = ("--retriever", retriever, "--data", trained.data, *made_of)
    found = genir("search", "Nile " * 10_000, *options, "-k", 1, "--json")
    [best] = [row["doc_id"] for row in json.loads(found.out)]
    assert retriever != "bm25" or best == "d0"  # the weights of the others are random
    limit = {
        "generative": "1 of 1 texts are longer than 32 tokens and were cut",
        "dense": "1 of 1 queries are longer than 256 tokens and were cut",
    }
    assert found.warnings == ((limit[retriever],) if retriever in limit else ())  # BM25 reads all of it


@pytest.mark.parametrize("question", ["日本的首都是哪里？", "🎉🎈", "Was ist die Hauptstadt von Perú?", "a\x00b", "?"])
def test_questions_in_any_script(trained: Journey, question: str) -> None:
    found = json.loads(genir("search", "--model", trained.model, question, "-k", 2, "--json").out)
    assert len(found) == 2
    assert genir("answer", question, "--data", trained.data).code == 0
    answered = genir("answer", question, "--data", trained.data, "--retriever", "generative", "--model", trained.model)
    assert answered.code == 0


def test_a_chinese_question_finds_its_document(trained: Journey) -> None:
    answered = json.loads(genir("answer", "日本的首都？", "--data", trained.data, "--json").out)
    assert (answered["text"], answered["citations"][0]["doc_id"]) == ("东京是日本的首都。", "d1")


def test_a_question_that_nothing_answers(trained: Journey) -> None:
    asked = ("answer", "Who painted Guernica?", "--data", trained.data, "--generator", "extractive")
    outcome = genir(*asked)
    assert (outcome.code, outcome.out) == (0, "I do not know\n  bm25 finds no passage for this question.\n")
    model = ("--retriever", "generative", "--model", trained.model)
    outcome = genir(*asked, *model)
    assert outcome.out == "I do not know\n  extractive sees no answer in the 3 passages of generative.\n"


def test_documents_without_titles_have_title_identifiers(trained: Journey, tmp_path: Path) -> None:
    assert trained.build("title", out=tmp_path / "titles").code == 0
    figures = json.loads(genir("docids", "inspect", tmp_path / "titles", "--json").out)
    assert (figures["facts"]["missing_titles"], figures["uniqueness"]) == (4, 1.0)


def test_a_folder_of_texts_without_queries(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "nile.txt").write_text("The Nile flows north through Egypt.")
    (texts / "lima.md").write_text("# Lima\n\nLima is the capital of Peru. It lies on the coast.")
    (texts / "oslo.html").write_text("<title>Oslo</title><p>Oslo is the capital of Norway.")
    journey = Journey.begin(tmp_path / "journey", ONE)
    said = genir("data", "import", texts, "--out", tmp_path / "data")
    assert said.out == f"{tmp_path}/data: 3 documents, 0 queries, splits none\n"
    write_dataset(ONE, tmp_path / "journey" / "data")
    build = ("docids", "build", "--data", tmp_path / "data", "--out", journey.docids, "--scheme", "atomic")
    assert genir(*build).code == 0
    where = ("--data", tmp_path / "data", "--docids", journey.docids, "--out", journey.model)
    trained = genir("train", *where, "--config", journey.config())
    assert "RR@10 on held-out pseudo-queries: " in trained.out
    found = json.loads(genir("search", "--model", journey.model, "capital of Peru", "-k", 4, "--json").out)
    assert sorted(row["title"] for row in found) == ["Lima", "Oslo", "nile"]
    fault = genir("evaluate", "--data", tmp_path / "data", tmp_path / "run.trec").fault
    assert fault.endswith(
        "has no split 'test' (qrels/test.tsv); there are none: add qrels/<split>.tsv to judge queries"
    )


def test_levels_that_tell_nothing_apart_are_pointed_out(trained: Journey, tmp_path: Path) -> None:
    built = trained.build("residual", "levels=3", "codes=4", out=tmp_path / "docids")
    assert built.warnings == (
        "4 documents for 4 clusters a level: each is a cluster of its own, so that no prefix says what is near; at 2 of 3 levels all "
        "have one token, which tells nothing apart; take fewer, e.g. --set codes=2",
    )


OWN = "each is a cluster of its own, so that no prefix says what is near"
IDLE = "all have one token, which tells nothing apart"


@pytest.mark.parametrize(
    ("scheme", "settings", "fault", "advice"),
    [
        ("product", ("levels=2", "codes=32"), f"20 documents for 32 clusters a level: {OWN}", ("codes=5",)),
        ("product", ("levels=2", "codes=20"), f"20 documents for 20 clusters a level: {OWN}", ("codes=5",)),
        ("hierarchical", ("branching=32",), f"20 documents for 32 clusters a level: {OWN}", ("branching=5",)),
        (
            "residual",
            ("levels=3", "codes=32"),
            f"20 documents for 32 clusters a level: {OWN}; at 2 of 3 levels {IDLE}",
            ("codes=5",),
        ),
        ("residual", ("levels=1", "codes=32"), f"20 documents for 32 clusters a level: {OWN}", ("codes=5", "levels=2")),
        (  # 20 documents, 17 titles, 20 passages
            "views",
            ("levels=2", "codes=64"),
            f"57 views for 64 clusters a level: {OWN}; at 1 of 2 levels {IDLE}",
            ("codes=8",),
        ),
    ],
)
def test_twenty_documents_for_32_clusters(
    tmp_path: Path, scheme: str, settings: tuple[str, ...], fault: str, advice: tuple[str, ...]
) -> None:
    corpus = tuple(Document(f"d{i}", f"Town {i} lies at lake {i * i}.", f"Town {i % 17}") for i in range(20))
    journey = Journey.begin(tmp_path, Dataset("towns", corpus, {}))
    built = journey.build(scheme, *settings)
    taken = " ".join(f"--set {one}" for one in advice)
    assert (built.code, built.warnings) == (0, (f"{fault}; take fewer, e.g. {taken}",))
    followed = {one.partition("=")[0]: one for one in (*settings, *advice)}
    assert journey.build(scheme, *followed.values()).warnings == ()


def test_equal_texts_idle_at_some_levels_whatever_the_codes(tmp_path: Path) -> None:
    corpus = tuple(Document(f"d{i}", "The same town.") for i in range(20))
    journey = Journey.begin(tmp_path, Dataset("towns", corpus, {}))
    assert journey.build("residual", "levels=4", "codes=5").warnings == (
        f"20 documents for 5 clusters a level: at 2 of 4 levels {IDLE}; take fewer, e.g. --set levels=2",
    )
    assert journey.build("residual", "levels=2", "codes=5").warnings == ()


def test_titles_that_are_all_the_same(tmp_path: Path) -> None:
    corpus = tuple(Document(f"d{i}", f"Town {i}.", "Town") for i in range(3))
    journey = Journey.begin(tmp_path, Dataset("towns", corpus, {}))
    said = (
        "the titles of all 3 documents come out as 'Town': their identifiers say nothing of what is in them; give the documents "
        "titles of their own, or use another scheme"
    )
    built = journey.build("title")
    assert (built.code, built.warnings) == (0, (said,))
    tokenizer = f"tokenizer={journey.encoder}"
    assert journey.build("title", tokenizer, "duplicates=collide").warnings == (
        said,
        "3 of 3 documents share their identifier with others, up to 3 of them: no search can tell these apart; take settings that "
        "keep identifiers distinct",
    )


def test_how_well_prefixes_agree_with_neighbours_is_shown(tmp_path: Path) -> None:
    texts = ["The Nile flows north.", "The Nile flows north!", "Lima is in Peru.", "Lima is in Peru!"]
    corpus = tuple(Document(f"d{i}", text) for i, text in enumerate(texts))
    journey = Journey.begin(tmp_path, Dataset("pairs", corpus, {}))
    built = journey.build("hierarchical", "branching=2")
    [shown] = [line for line in built.out.splitlines() if "first token" in line]
    assert shown == "  first token shared with 33.3% of the 3 nearest documents, 33.3% of random ones"
    kept = json.loads(genir("docids", "inspect", journey.docids, "--json").out)["neighbour_agreement"]
    options = ("--data", journey.data, "--encoder", journey.encoder)
    again = json.loads(genir("docids", "inspect", journey.docids, *options, "--json").out)["neighbour_agreement"]
    assert kept == again
    assert [row["length"] for row in kept["prefixes"]] == [1]
    assert "of the 3 nearest" in genir("docids", "inspect", journey.docids).out
    assert journey.build("numeric", "zero_padded=true").out.count("\n") == 1
    assert "neighbour_agreement" not in json.loads(genir("docids", "inspect", journey.docids, "--json").out)
    assert "neighbour_agreement" in json.loads(genir("docids", "inspect", journey.docids, *options, "--json").out)


def test_a_query_without_text_in_a_split_has_an_empty_ranking(trained: Journey, tmp_path: Path) -> None:
    corpus = (Document("d0", "The Nile."), Document("d1", "Lima."))
    queries = {"q0": Query("q0", ""), "q1": Query("q1", "Lima?")}
    data = tmp_path / "data"
    write_dataset(Dataset("blank", corpus, queries), data)
    (data / "qrels" / "test.tsv").write_text("q0\td0\t1\nq1\td1\t1\n")
    run = tmp_path / "run.trec"
    options = ("--data", data, "--encoder", trained.encoder)
    for retriever in ("bm25", "dense"):
        assert genir("search", "--retriever", retriever, *options, "--split", "test", "--out", run).code == 0
        assert {line.split()[0] for line in run.read_text().splitlines()} == {"q1"}
    outcome = genir("evaluate", "--data", data, run)
    assert outcome.warnings == ("run 'run' ranks nothing for 1 of the 2 queries of 'test': they score 0",)
