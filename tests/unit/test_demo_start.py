"""What the server is started on: atlas without anything, the demo's folder, or the user's own."""

from pathlib import Path

import pytest

from experiments.demo import start
from experiments.demo.examples import ATLAS_EXAMPLES, chinese_articles
from experiments.demo.library import Library
from experiments.demo.start import find_holdings
from genir.errors import ArtefactError, DataError
from genir.records import Query
from tests.tiny_journey import Journey


def test_without_anything_it_serves_atlas(tmp_path: Path) -> None:
    held = find_holdings(None, None, (), tmp_path / "runs")
    assert held.dataset.name == "atlas"
    assert len(held.dataset.corpus) > 1000
    assert held.model is None
    assert "extractive" in held.readers
    assert held.hint == f"For the generative retriever and its tree, run once: genir demo --out {tmp_path / 'runs'}"
    assert not (tmp_path / "runs").exists()  # nothing is written
    library = Library(held)
    assert library.retriever_names[0] == "bm25"
    bm25 = library.retriever("bm25")
    for example in ATLAS_EXAMPLES:  # the gallery finds something for whatever is to be found
        found = bm25.search([Query("q", example.question)], 3).rankings["q"]
        assert found, example.question


def test_span_is_the_default_where_its_weights_ship(finished: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    def readers(*named: str) -> list[str]:
        return list(find_holdings(finished.data, None, named, Path("nowhere")).readers)

    for ships, default in ((True, ["span", "extractive"]), (False, ["extractive"])):
        monkeypatch.setattr(start, "span_ships", lambda ships=ships: ships)
        assert readers() == default
        assert readers("runs/mine") == ["mine", *default]


def test_the_default_for_questions_in_chinese(finished: Journey, tmp_path: Path) -> None:
    for held in (find_holdings(finished.data, None, (), tmp_path), find_holdings(None, None, (), tmp_path)):
        assert (held.reader_in, held.retriever_in) == ({"zh": "extractive"}, {})
    named = find_holdings(finished.data, None, ["runs/mine"], tmp_path)
    assert named.reader_in == {}  # it reads whatever it is asked
    assert Library(named).default_reader("秘鲁的首都是哪里？") == "mine"


def test_chinese_articles_answer_the_chinese_examples() -> None:
    articles = {one.doc_id: one for one in chinese_articles()}
    assert "青蒿素" in articles["zh/屠呦呦"].text
    assert "6300" in articles["zh/长江"].text
    assert len(articles) == len(chinese_articles())


def test_the_users_own_data_and_model(finished: Journey) -> None:
    held = find_holdings(finished.data, finished.model, ["extractive"], Path("nowhere"))
    assert (held.data, held.model, held.hint) == (finished.data, finished.model, "")
    assert held.examples[0].question == "Where is Oslo?"
    library = Library(held)
    assert library.retriever_names[0] == "generative"
    library.make_ready("generative", "extractive")
    assert library.shelf("generative") is not None
    assert library.shelf("bm25") is None


def test_own_data_without_a_model_says_how_to_get_one(finished: Journey) -> None:
    held = find_holdings(finished.data, None, (), Path("nowhere"))
    assert held.hint.startswith("For the generative retriever, train a model on these data (genir train)")
    assert "generative" not in Library(held).retriever_names


def test_faults_are_told(finished: Journey, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="give --data DIR too"):
        find_holdings(None, finished.model, (), tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_holdings(tmp_path / "none", None, (), tmp_path)
    with pytest.raises(ArtefactError, match="genir train"):
        find_holdings(finished.data, tmp_path, (), tmp_path)


def test_a_demo_folder_brings_its_model_and_reader(finished: Journey, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    demo.mkdir()
    (demo / "data").symlink_to(finished.data)
    (demo / "model").symlink_to(finished.model)
    (demo / "reader").mkdir()
    (demo / "reader" / "manifest.json").write_text("{}")
    held = find_holdings(None, None, (), demo)
    assert (held.data, held.model) == (demo / "data", demo / "model")
    assert held.readers["reader"] == str(demo / "reader")
    assert held.dataset.name == "atlas"
    assert {"zh/长城", "d0"} <= {document.doc_id for document in held.dataset.corpus}
