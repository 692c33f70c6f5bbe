"""Several identifiers a document over one code space: which views there are, what they share, and how they are kept."""

import json
from pathlib import Path

import pytest

from docids.residual import ResidualScheme
from docids.table import DocIDTable
from docids.views import VIEWS, View, ViewsScheme, ViewsTable
from experiments.training.view_examples import view_examples, view_numbers
from genir.errors import ArtefactError, ConfigError
from genir.records import Document
from genir.right_targets import RightTargets
from genir.training import Example
from tests.tiny_text_models import WordEncoder

CORPUS = [
    Document("a", "one two three four five six seven", "Lake"),
    Document("b", "a b c", "Lake"),
    Document("c", "only a text"),
    Document("d", ""),
]


def scheme(**settings: object) -> ViewsScheme:
    return ViewsScheme(**{"passage_words": 3, "levels": 2, "codes": 8, "encoder": WordEncoder(), **settings})  # type: ignore[arg-type]


def kinds(table: ViewsTable, doc_id: str) -> list[str]:
    return [view.kind for view in table.views[doc_id]]


def test_views_of_every_kind_in_order() -> None:
    table = scheme(passages=2).assign(CORPUS)
    assert kinds(table, "a") == ["document", "title", "passage", "passage"]  # of three windows the first two
    assert kinds(table, "c") == ["document"]  # no title, and its passage is all of it
    assert kinds(table, "d") == ["document"]
    assert kinds(scheme(views=("title",)).assign(CORPUS), "c") == ["document"]  # rather than none
    asked = scheme(views=("query", "document"), queries=1).assign(CORPUS)
    assert kinds(asked, "a") == ["query", "document"]
    assert table.documents.facts["views"] == {"document": 4, "title": 2, "passage": 3}


def test_sentences_stand_behind_the_title() -> None:
    table = scheme(views=("sentence",), sentences=2)
    texts = table.texts([Document("x", "One is one. Two is two. Three.", "Lake"), Document("y", "", "Sea")])
    assert texts == {
        "x": [("sentence", "Lake. One is one."), ("sentence", "Lake. Two is two.")],
        "y": [("document", "Sea. ")],
    }


def test_with_document_levels_the_views_of_a_document_begin_alike_and_those_of_others_do_not() -> None:
    table = scheme(document_levels=1).assign(CORPUS)
    begun = {doc_id: {view.tokens[:1] for view in views} for doc_id, views in table.views.items()}
    assert [len(own) for own in begun.values()] == [1, 1, 1, 1]
    assert len(set().union(*begun.values())) == 4
    titles = [view.tokens for name in "ab" for view in table.views[name] if view.kind == "title"]
    assert titles[0] != titles[1]
    assert table.documents.settings["document_levels"] == 1
    assert table.documents.facts["view_identifiers"] == sum(map(len, table.views.values()))


def test_equal_texts_share_an_identifier_and_others_do_not() -> None:
    table = scheme().assign(CORPUS)
    [title_a], [title_b] = ([v.tokens for v in table.views[name] if v.kind == "title"] for name in "ab")
    assert title_a == title_b
    assert table.documents_of(title_a) == ("a", "b")
    everything = [view.tokens for views in table.views.values() for view in views]
    assert len(set(everything)) == len(everything) - 1 == len(table.identifiers())
    assert table.documents_of((99,)) == ()


def test_one_code_space_and_the_first_view_as_the_table() -> None:
    table = scheme().assign(CORPUS)
    assert table.documents.codebooks is not None
    assert table.documents.codebooks.shape == (2, 8, 16)
    assert all(table.tokens_of(doc_id) == views[0].tokens for doc_id, views in table.views.items())
    alone = ResidualScheme(2, 8, encoder=WordEncoder()).assign([Document("x", "t"), Document("y", "u")])
    assert (table.documents.vocab_size, table.documents.codes_per_level) == (alone.vocab_size, alone.codes_per_level)
    assert (table.combined, scheme(combine="max").assign(CORPUS).combined) == ("sum", "max")


def test_a_saved_table_is_the_same(tmp_path: Path) -> None:
    table = scheme().assign(CORPUS)
    table.save(tmp_path)
    loaded = ViewsTable.load(tmp_path)
    assert (loaded.views, loaded.tokens, loaded.combined) == (table.views, table.tokens, "sum")
    assert list(loaded.views) == ["a", "b", "c", "d"]


def test_a_broken_folder_is_refused(tmp_path: Path) -> None:
    scheme().assign(CORPUS).save(tmp_path)
    path, lines = tmp_path / VIEWS, (tmp_path / VIEWS).read_text().splitlines()
    first = json.loads(lines[0])
    cases = [
        ("\n".join(lines[:2]), "views of 2 documents, the table has 4"),
        ("nonsense", r'views\.jsonl:1: expected \{"doc_id", "views": '),
        (json.dumps({**first, "doc_id": "b"}), r"views\.jsonl:1: views of document 'b' that do not fit the table"),
        (json.dumps({**first, "views": []}), r'views\.jsonl:1: expected \{"doc_id"'),
        (
            json.dumps({**first, "views": first["views"] + [{"kind": "title", "docid_tokens": [99]}]}),
            "do not fit the t",
        ),
        (f"{lines[0]}\n{lines[0]}", r"views\.jsonl:2: views of document 'a' that do not fit"),
    ]
    for text, fault in cases:
        path.write_text(text)
        with pytest.raises(ArtefactError, match=fault):
            ViewsTable.load(tmp_path)
    path.unlink()
    with pytest.raises(ArtefactError, match=r"views\.jsonl: no such file; make it again"):
        ViewsTable.load(tmp_path)
    DocIDTable("atomic", {"a": (0,)}, 1).save(tmp_path)
    with pytest.raises(ArtefactError, match="holds atomic identifiers, expected those of scheme views"):
        ViewsTable.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"views": ("titel",)}, "unknown view 'titel': did you mean 'title'?"),
        ({"views": ()}, r"views is \(\): expected one kind or more, each once"),
        ({"views": ("title", "title")}, "expected one kind or more, each once"),
        (
            {"passages": 0},
            "passages is 0, passage_words is 3, sentences is 12, queries is 2: expected at least 1 of each",
        ),
        ({"sentences": 0}, "sentences is 0, queries is 2: expected at least 1 of each"),
        ({"document_levels": 2}, "document_levels is 2: expected 0, or fewer than the 2 levels, which views need, too"),
        ({"document_levels": -1}, "document_levels is -1: expected 0, or fewer"),
        ({"codes": 2}, "too few for 9 distinct ones; raise levels or codes"),
    ],
)
def test_bad_settings(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        scheme(**settings).assign(CORPUS)


def test_every_view_is_a_target_and_the_weight_is_shared_out() -> None:
    own = {
        "a": (View("document", (0, 2)), View("title", (1, 2))),
        "b": (View("document", (0, 3)), View("title", (1, 2))),
    }
    table = ViewsTable(DocIDTable("views", {name: views[0].tokens for name, views in own.items()}, 4), own)
    assert table.numbered().identifiers() == [(0,), (1,)]
    assert (table.identifiers(), view_numbers(table)) == ([(0, 2), (0, 3), (1, 2)], [[0, 2], [1, 2]])
    examples = view_examples([Example("text", 1, weight=3.0)], view_numbers(table))
    assert [(one.target, one.weight) for one in examples] == [(1, 1.5), (2, 1.5)]
    assert RightTargets.of(examples).right == ((1, 2), (1, 2))  # no view is a negative of another
