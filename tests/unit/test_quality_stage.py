"""What the experiments about quality reuse and what they make again, without any training; and that baselines are tuned on dev."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.quality.config import QualityConfig, SchemeChoice
from experiments.quality.experiment import score
from experiments.quality.kept_runs import digest
from experiments.quality.stage import QualityStage
from experiments.quality.tuned_baselines import build_baselines
from experiments.retrieval import build_retriever
from genir.config import from_mapping
from genir.errors import ConfigError
from genir.formats import read_run, write_dataset
from genir.measures import evaluate
from genir.records import Dataset, Document, Qrels, Query, Run
from retrievers.bm25 import BM25Settings
from tests.quality_towns import towns, write_towns
from tests.tiny_text_models import save_tiny_bert

CONFIG = QualityConfig()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_towns(tmp_path)


def bm25_run(data: Path, work: Path, k1: float = 0.9) -> Path:
    stage = QualityStage.of(data, work, CONFIG)
    stage.kept.search("bm25", build_retriever("bm25", stage.dataset, data, bm25=BM25Settings(k1=k1)), {})
    [path] = stage.runs("test")["bm25"]
    assert json.loads(path.with_suffix(".json").read_text())["settings"]["k1"] == k1
    return path


def test_a_run_with_other_settings_is_another_run(data: Path, tmp_path: Path) -> None:
    first = bm25_run(data, tmp_path / "work", 0.5)
    made = first.stat().st_mtime_ns
    assert bm25_run(data, tmp_path / "work", 2.0) != first
    assert bm25_run(data, tmp_path / "work", 0.5) == first
    assert first.stat().st_mtime_ns == made


def test_more_questions_to_answer_make_another_run(data: Path, tmp_path: Path) -> None:
    bm25_run(data, tmp_path / "work")
    grown = towns()
    judged = {query_id: {f"d{query_id[1:]}": 1} for query_id in grown.queries}
    write_dataset(replace(grown, qrels={**grown.qrels, "test": Qrels(judged)}), data)
    stage = QualityStage.of(data, tmp_path / "work", CONFIG)
    stage.kept.search("bm25", build_retriever("bm25", stage.dataset, data), {})
    summary, details = score(stage.runs("test"), stage.dataset, "test")
    assert details["queries"] == 12
    assert summary["bm25"]["Success@1"]["mean"] == 1.0  # nine of twelve were not answered by the run before


@pytest.mark.parametrize("changed", ["corpus", "queries"])
def test_another_text_makes_another_run(data: Path, tmp_path: Path, changed: str) -> None:
    first = bm25_run(data, tmp_path / "work")
    dataset = towns()
    if changed == "corpus":
        dataset = replace(dataset, corpus=(Document("d0", "Oslo lies near.", "Oslo"), *dataset.corpus[1:]))
    else:
        dataset = replace(dataset, queries={**dataset.queries, "q9": Query("q9", "who has seen Sofia")})
    write_dataset(dataset, data)
    assert bm25_run(data, tmp_path / "work") != first


def test_a_data_set_to_tune_and_to_compare_on_is_asked_for_first(data: Path, tmp_path: Path) -> None:
    (data / "qrels" / "dev.tsv").unlink()
    with pytest.raises(ConfigError, match=r"towns: has no dev split to tune on; add qrels/dev\.tsv"):
        QualityStage.of(data, tmp_path / "work", CONFIG)
    for split in ("test", "spring"):
        (data / "qrels" / f"{split}.tsv").unlink()
    with pytest.raises(ConfigError, match=r"no split to compare on beside train and dev; add qrels/test\.tsv"):
        QualityStage.of(data, tmp_path / "work", CONFIG)


@pytest.mark.parametrize(
    ("most", "share", "questions"), [(0, 1.0, 7), (5, 1.0, 5), (9, 1.0, 7), (0, 0.5, 4), (5, 0.4, 2), (0, 0.01, 1)]
)
def test_how_many_questions_are_learnt_from(
    data: Path, tmp_path: Path, most: int, share: float, questions: int
) -> None:
    stage = QualityStage.of(data, tmp_path / "work", replace(CONFIG, max_questions=most), share)
    assert stage.questions == len(stage.dataset.qrels["train"]) == questions
    assert (stage.data == data) == (questions == 7)
    assert set(stage.splits) == {"spring", "test"}


def test_what_is_learnt_has_the_name_of_what_it_is_learnt_from(data: Path, tmp_path: Path) -> None:
    def name(most: int = 0, seeds: tuple[int, ...] = (0,)) -> str:
        config = replace(CONFIG, max_questions=most, seeds=seeds)
        return QualityStage.of(data, tmp_path / "work", config)._name(config.sequence)

    assert len({name(), name(3), name(4), name(3, (1,))}) == 4
    before = name()
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq9\td1\t1\n", encoding="utf-8")
    assert name() == before


def test_a_teacher_may_be_the_encoder_that_the_model_starts_from(data: Path, tmp_path: Path) -> None:
    taught = from_mapping(QualityConfig, {"sequence": {"teacher": {"source": "dense", "model": "dense_finetuned"}}}, "")
    for config, teacher in ((taught, "encoders/mine"), (CONFIG, "")):
        sequence = QualityStage.of(data, tmp_path / "work", config)._sequence("encoders/mine", 5)
        assert (sequence.code_decoder.encoder, sequence.teacher.model) == ("encoders/mine", teacher)
        assert sequence.training.seed == sequence.examples.pseudo_queries.seed == 5


class Always:
    """A retriever that finds the same documents for every question."""

    name = "always"

    def __init__(self, *doc_ids: str) -> None:
        self.ranking = Run.rank({doc_id: 1.0 / rank for rank, doc_id in enumerate(doc_ids, 1)}, len(doc_ids))

    def search(self, queries: Sequence[Query], k: int) -> Run:
        return Run(self.name, {query.query_id: self.ranking[:k] for query in queries})


def test_a_hybrid_of_terms_mixes_them_with_the_encoder_and_counts_it_once(data: Path, tmp_path: Path) -> None:
    stage = QualityStage.of(data, tmp_path / "work", CONFIG)
    assert stage.hybrid_of_terms(0) == {}  # no model has terms
    words = build_retriever("bm25", stage.dataset, data)
    stage._encoders[0], stage._chosen[0] = (save_tiny_bert(tmp_path / "encoder", 16), {}), SchemeChoice("residual")
    made_of = {"model": "60,000 seconds of encoder, 10,000 of its own"}
    stage._terms[0] = replace(words, retriever=Always("d3", "d4"), build_seconds=70_000.0), made_of
    trained = {"training_seconds": 60_000.0}
    stage._dense[0] = replace(words, retriever=Always("d5", "d4"), build_seconds=65_000.0, settings=trained)
    about = stage.hybrid_of_terms(0)
    for split in stage.splits:
        [path] = stage.runs(split)["hybrid_terms"]
        assert 75_000 <= json.loads(path.with_suffix(".json").read_text())["cost"]["build_seconds"] < 76_000
        found = read_run(path).rankings.values()
        assert all({one.doc_id for one in ranking} == {"d3", "d4", "d5"} for ranking in found)
    del stage._dense[0]  # what is searched already is not built again
    assert stage.hybrid_of_terms(0) == about


@pytest.mark.parametrize(("dev", "best"), [((0.4, 0.6), 1), ((0.6, 0.4), 0), ((0.5, 0.5), 0)])
def test_identifiers_are_chosen_on_dev_the_first_where_they_are_level(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dev: tuple[float, float], best: int
) -> None:
    config = replace(CONFIG, alternatives=(SchemeChoice("views", ("combine=max",)),))
    stage = QualityStage.of(data, tmp_path / "work", config)
    figures = {"residual": dev[0], "views": dev[1]}

    def learnt(scheme: str, settings: Sequence[str], seed: int) -> tuple[Path, dict[str, Any]]:
        training = {"best_dev": figures[scheme], "measure": "RR@10 on dev", "seconds": 100.0 * len(scheme)}
        return Path(scheme), {"training": training, "identifiers": {"seconds": 7.0}}

    monkeypatch.setattr(stage, "_learnt", learnt)
    model, about, others = stage._best_on_dev(0)
    assert model.name == ("residual", "views")[best]
    assert others == (507.0, 807.0)[best]  # what the one that is not taken took
    assert [(one["identifiers"], one["dev"], one["seconds"]) for one in about["chosen_from"]] == [
        ("residual", dev[0], 807.0),
        ("views", dev[1], 507.0),
    ]
    assert stage._chosen[0] == config.choices[best]


def test_names_of_what_is_kept_stay() -> None:
    assert digest(SchemeChoice("views", ("levels=2",)), "corpus", {"b": 1, "a": 2}) == "649cd2ba"


def test_baselines_are_tuned_on_dev(tmp_path: Path) -> None:
    """Dev questions name what titles say, test questions what texts say: titles of others, which win where both count."""
    words = "oslo lima cairo quito paris rome hanoi accra".split()
    corpus = tuple(Document(f"d{i}", f"{words[(i + 1) % 8]} " * 9, word) for i, word in enumerate(words))
    queries = {f"q{i}": Query(f"q{i}", word) for i, word in enumerate(words)}
    qrels = {
        "dev": Qrels({f"q{i}": {f"d{i}": 1} for i in range(4)}),
        "test": Qrels({f"q{i}": {f"d{i - 1}": 1} for i in range(4, 8)}),
    }
    dataset = Dataset("crossed", corpus, queries, qrels)
    write_dataset(dataset, tmp_path / "crossed")
    encoder = str(save_tiny_bert(tmp_path / "encoder", 16))
    made = build_baselines(dataset, tmp_path / "crossed", {"dense": encoder}, "RR@10")
    assert made.bm25.settings.fields == ("title",)
    found = {
        split: {
            name: evaluate(made.built[name].retriever.search(dataset.split(split), 100), qrels[split], ["RR@10"])
            for name in ("bm25", "hybrid_dense")
        }
        for split in qrels
    }
    assert found["dev"]["bm25"].means["RR@10"] == made.bm25.value == 1.0
    assert found["test"]["bm25"].means["RR@10"] == 0.0
    assert found["dev"]["hybrid_dense"].means["RR@10"] == pytest.approx(made.hybrids["hybrid_dense"].value)
    assert made.hybrids["hybrid_dense"].value == 1.0
    assert found["test"]["hybrid_dense"].means["RR@10"] < 1.0


def test_bm25_is_tuned_on_training_questions_too_and_hybrids_on_dev_alone(tmp_path: Path) -> None:
    """Training questions, one of them a dev question, too, name what texts say; the other dev question what its title says."""
    words = "oslo lima cairo quito paris rome hanoi accra sofia minsk".split()
    corpus = tuple(Document(f"d{i}", text=words[i - 1], title=word) for i, word in enumerate(words))
    queries = {f"q{i}": Query(f"q{i}", word) for i, word in enumerate(words)}
    qrels = {
        "train": Qrels({f"q{i}": {f"d{i + 1}": 1} for i in range(9)}),
        "dev": Qrels({"q8": {"d9": 1}, "q9": {"d9": 1}}),  # q8 is a training question, too
        "test": Qrels({"q0": {"d0": 1}}),
    }
    dataset = Dataset("crossed", corpus, queries, qrels)
    write_dataset(dataset, tmp_path / "crossed")
    encoder = str(save_tiny_bert(tmp_path / "encoder", 16))
    made = build_baselines(dataset, tmp_path / "crossed", {"dense": encoder}, "RR@10")
    assert made.bm25.settings.fields == ("text",)
    assert made.bm25.queries == 10
    assert made.built["bm25"].settings["tuned_on"] == "train and dev: RR@10 0.9000 of 10 queries"
    assert made.built["hybrid_dense"].settings["tuned_on"].endswith("of 2 queries")
