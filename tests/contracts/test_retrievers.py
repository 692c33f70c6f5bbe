"""What every retriever keeps to, whatever it is made of."""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path
from typing import Any

import pytest

from docids.table import DocIDTable
from docids.views import View, ViewsTable
from genir.constraints.fm_index import FMIndex
from genir.errors import ConfigError, DataError, GenirError
from genir.protocols import Retriever
from genir.records import Document, Query, Run, ScoredDoc
from retrievers.bm25 import BM25Retriever
from retrievers.dense import DenseRetriever
from retrievers.fusion import HybridRetriever
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.ngram import NgramRetriever
from retrievers.rerank import Pair, RerankingRetriever
from retrievers.tfidf import TfidfRetriever
from retrievers.views import ViewsRetriever, ViewsSettings
from tests.hash_identifier_model import HashIdentifierModel
from tests.tiny_text_models import WordEncoder
from tests.word_identifier_model import WordIdentifierModel

pytestmark = pytest.mark.filterwarnings("ignore:.*(were cut|raise num_beams)")


def generative(corpus: Sequence[Document], **settings: Any) -> GenerativeRetriever:
    """Equal texts share an identifier, so that they tie."""
    texts = sorted({document.text for document in corpus})
    tokens = {document.doc_id: tuple(map(int, f"{texts.index(document.text):02}")) for document in corpus}
    return GenerativeRetriever(
        HashIdentifierModel(), DocIDTable("test", tokens, vocab_size=10), GenerativeSettings(**settings)
    )


def ngram(corpus: Sequence[Document]) -> NgramRetriever:
    """A model that likes the words of the query, over the words of the corpus."""
    model = WordIdentifierModel(sorted({word for document in corpus for word in document.text.split()}))
    index = FMIndex.build([model.tokens(document.text) for document in corpus])
    return NgramRetriever(model, index, [document.doc_id for document in corpus])


class SharedWords:
    """A scorer: how many words of the question a document's text holds."""

    name = "shared-words"
    nbytes = 0

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        return [float(len(set(question.split()) & set(one.text.split()))) for question, one in pairs]


def reranked(first: str, weight: float) -> Callable[[Sequence[Document]], Retriever]:
    return lambda corpus: RerankingRetriever(MAKE[first](corpus), corpus, SharedWords(), 60, weight)


def views(corpus: Sequence[Document], **settings: Any) -> ViewsRetriever:
    """Every document has the identifier of its text, and that of its text's first word."""
    texts, words = (sorted(found) for found in zip(*((d.text, d.text[:1]) for d in corpus), strict=True))
    kinds = {"document": sorted(set(texts)), "word": sorted(set(words))}
    held = {
        one.doc_id: tuple(
            View(kind, (place, *map(int, f"{kinds[kind].index(part):02}")))
            for place, (kind, part) in enumerate((("document", one.text), ("word", one.text[:1])))
        )
        for one in corpus
    }
    table = DocIDTable("views", {doc_id: own[0].tokens for doc_id, own in held.items()}, vocab_size=10)
    return ViewsRetriever(HashIdentifierModel(), ViewsTable(table, held), ViewsSettings(**settings))


MAKE: dict[str, Callable[[Sequence[Document]], Retriever]] = {
    "bm25": lambda corpus: BM25Retriever().build(corpus),
    "rank-bm25": lambda corpus: BM25Retriever(backend="rank-bm25").build(corpus),
    "tfidf": lambda corpus: TfidfRetriever().build(corpus),
    "dense": lambda corpus: DenseRetriever(WordEncoder()).build(corpus),
    "hybrid": lambda corpus: HybridRetriever(MAKE["bm25"](corpus), MAKE["dense"](corpus), weight=0.6),
    "hybrid-z": lambda corpus: HybridRetriever(MAKE["tfidf"](corpus), MAKE["dense"](corpus), normalisation="z"),
    "hybrid-rrf": lambda corpus: HybridRetriever(MAKE["bm25"](corpus), MAKE["dense"](corpus), method="reciprocal-rank"),
    "generative": generative,
    "generative-exhaustive": lambda corpus: generative(corpus, exhaustive=True),
    "ngram": ngram,
    "reranked": reranked("bm25", 0.0),
    "reranked-weighted": reranked("generative", 0.5),
    "views-sum": views,
    "views-max": lambda corpus: views(corpus, views="max"),
}
BUILDABLE = [BM25Retriever(), BM25Retriever(backend="rank-bm25"), TfidfRetriever(), DenseRetriever(WordEncoder())]
ids = [retriever.name for retriever in BUILDABLE]
every = pytest.mark.parametrize("name", MAKE)
buildable = pytest.mark.parametrize("unbuilt", BUILDABLE, ids=ids)

CORPUS = (
    *(Document(f"d{i}", f"river number {i} flows past town {i % 5} into the sea", f"River {i}") for i in range(20)),
    Document("zh", "东京是日本的首都，也是最大的城市。"),
    Document("emoji", "👍🏽🎉"),
    Document("empty", ""),
)
QUERIES = (
    Query("q1", "which river flows past town 3"),
    Query("q2", "日本的首都是哪里？"),
    Query("q3", "nothing of this is known"),
    Query("q4", "river 7"),
    Query("q5", "👍🏽"),
    Query("q6", ""),
)


@every
def test_it_is_a_retriever(name: str) -> None:
    retriever = MAKE[name](CORPUS)
    assert isinstance(retriever, Retriever)
    assert retriever.name
    assert not set(retriever.name) & set(" \t\n")  # the tag of a TREC run


@every
@pytest.mark.parametrize("k", [1, 3, 1000])
def test_rankings(name: str, k: int) -> None:
    run = MAKE[name](CORPUS).search(QUERIES, k)
    assert list(run.rankings) == [query.query_id for query in QUERIES]
    known = {document.doc_id for document in CORPUS}
    for ranking in run.rankings.values():
        assert len(ranking) <= k
        assert len({scored.doc_id for scored in ranking}) == len(ranking)
        assert known.issuperset(scored.doc_id for scored in ranking)
        assert list(ranking) == sorted(ranking, key=lambda scored: (-scored.score, scored.doc_id))
        assert all(type(scored.score) is float for scored in ranking)
    assert run.rankings["q1"]


@every
def test_a_smaller_k_is_the_beginning_of_a_larger_one(name: str) -> None:
    retriever = MAKE[name](CORPUS)
    whole = retriever.search(QUERIES, 50).rankings
    few = retriever.search(QUERIES, 4).rankings
    assert few == {query_id: ranking[:4] for query_id, ranking in whole.items()}


@every
@pytest.mark.parametrize("k", [2, 100])
def test_ties_go_by_doc_id(name: str, k: int) -> None:
    twins = [Document(doc_id, "the same words twice") for doc_id in ("c", "a", "e", "b", "d")]
    others = [Document(f"x{i}", f"other text number {i}") for i in range(9)]
    (ranking,) = MAKE[name]([*twins, *others]).search([Query("q", "same words")], k).rankings.values()
    tied = [scored for scored in ranking if scored.doc_id in "abcde"]
    assert [scored.doc_id for scored in tied] == list("abcde")[: len(tied)]
    assert len({scored.score for scored in tied}) <= (len(tied) if name == "hybrid-rrf" else 1)
    assert k == 2 or len(tied) == 5


@every
def test_a_batch_equals_its_queries_one_at_a_time(name: str) -> None:
    retriever = MAKE[name](CORPUS)
    batch = retriever.search(QUERIES, 10).rankings
    assert batch == {query.query_id: retriever.search([query], 10).rankings[query.query_id] for query in QUERIES}


@every
def test_the_order_of_the_corpus_does_not_matter(name: str) -> None:
    assert MAKE[name](CORPUS).search(QUERIES, 10) == MAKE[name](CORPUS[::-1]).search(QUERIES, 10)


@every
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_blank_query_has_an_empty_ranking(name: str, text: str) -> None:
    assert MAKE[name](CORPUS).search([Query("q", text)], 5).rankings == {"q": ()}


@every
def test_no_query_at_all(name: str) -> None:
    retriever = MAKE[name](CORPUS)
    assert retriever.search([], 5) == Run(retriever.name, {})


@every
@pytest.mark.parametrize(
    "text", ["river " * 10_000, " ".join(map(str, range(10_000))), "👍🏽🎉", "哪条河流过第三个镇？", "\0\u202e"]
)
def test_odd_queries_are_answered(name: str, text: str) -> None:
    (ranking,) = MAKE[name](CORPUS).search([Query("q", text)], 5).rankings.values()
    assert len(ranking) <= 5


@every
def test_a_corpus_of_one_document(name: str) -> None:
    run = MAKE[name]([Document("only", "one river")]).search([Query("q", "the river")], 3)
    assert [scored.doc_id for scored in run.rankings["q"]] == ["only"]


@every
def test_a_corpus_without_a_word(name: str) -> None:
    corpus = [Document("a", ""), Document("b", "👍")]
    assert MAKE[name](corpus).search([Query("q", "a river")], 3).rankings.keys() == {"q"}


@every
@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_an_error(name: str, k: int) -> None:
    with pytest.raises(ConfigError, match=rf"k is {k}: .* must be at least 1"):
        MAKE[name](CORPUS).search(QUERIES, k)


@every
def test_a_search_changes_no_setting(name: str) -> None:
    retriever: Any = MAKE[name](CORPUS)
    before = asdict(retriever.settings)
    retriever.search(QUERIES, 7)
    assert asdict(retriever.settings) == before
    with pytest.raises(FrozenInstanceError):
        setattr(retriever.settings, next(iter(before)), 1)


@buildable
def test_save_and_load_give_the_same_results(unbuilt: Any, tmp_path: Path) -> None:
    built = unbuilt.build(CORPUS)
    built.save(tmp_path / "index")
    loaded = _load(unbuilt, tmp_path / "index")
    assert loaded.search(QUERIES, 10) == built.search(QUERIES, 10)
    assert (loaded.name, loaded.settings) == (built.name, built.settings)
    loaded.save(tmp_path / "again")
    files = {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert {Path(file).suffix for file in files} <= {".json", ".npy", ".safetensors"}
    assert "manifest.json" not in files


@buildable
def test_the_same_corpus_makes_the_same_files(unbuilt: Any, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        unbuilt.build(CORPUS).save(tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@buildable
def test_what_is_no_index_is_refused(unbuilt: Any, tmp_path: Path) -> None:
    with pytest.raises(GenirError, match=r"settings\.json: no such file, so this is no finished index"):
        _load(unbuilt, tmp_path)
    (tmp_path / "settings.json").write_text('{"settings": ')
    with pytest.raises(GenirError, match=r"settings\.json: not valid JSON"):
        _load(unbuilt, tmp_path)
    (tmp_path / "settings.json").write_text("[1]")
    with pytest.raises(GenirError, match="not the settings of an index"):
        _load(unbuilt, tmp_path)
    (tmp_path / "settings.json").write_text('{"retriever": "oracle", "settings": {}}')
    with pytest.raises(GenirError, match="an index of 'oracle', expected one of"):
        _load(unbuilt, tmp_path)


@buildable
def test_a_damaged_index_is_refused(unbuilt: Any, tmp_path: Path) -> None:
    unbuilt.build(CORPUS).save(tmp_path)
    for path in tmp_path.iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(GenirError, match=r"index|JSON"):
            _load(unbuilt, tmp_path)
        path.write_bytes(whole)


@buildable
def test_bad_corpora(unbuilt: Any) -> None:
    with pytest.raises(DataError, match="the corpus is empty"):
        unbuilt.build([])
    with pytest.raises(DataError, match="two documents have the id 'a'"):
        unbuilt.build([Document("a", "x"), Document("b", "y"), Document("a", "z")])


@pytest.mark.parametrize("unbuilt", [BM25Retriever(), TfidfRetriever(), DenseRetriever(WordEncoder())])
def test_a_search_before_build(unbuilt: Any, tmp_path: Path) -> None:
    for use in (lambda: unbuilt.search(QUERIES, 5), lambda: unbuilt.save(tmp_path / "index")):
        with pytest.raises(GenirError, match=rf"{unbuilt.name} has no index yet: call build"):
            use()
    assert not (tmp_path / "index").exists()


def test_run_rank_is_the_reference() -> None:
    assert Run.rank({"b": 1.0, "a": 1.0, "c": 2.0}, 2) == (ScoredDoc("c", 2.0), ScoredDoc("a", 1.0))


def _load(unbuilt: Any, folder: Path) -> Any:
    return DenseRetriever.load(folder, WordEncoder()) if unbuilt.name == "dense" else type(unbuilt).load(folder)
