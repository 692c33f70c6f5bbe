"""The switches of training material: views, query generators, the filter, teachers; each through a real, tiny training."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from docids.table import DocIDTable
from experiments.training import material
from experiments.training.examples import ExamplesConfig, make_examples
from experiments.training.material import ConsistencyConfig, GeneratorConfig, gather_pseudo_queries
from experiments.training.model import train_model
from experiments.training.model_config import ModelConfig, ObjectiveConfig
from experiments.training.teaching import TeacherConfig, ask_teacher
from genir.config import from_mapping
from genir.distillation import TaughtRankingObjective
from genir.errors import ConfigError, DataError
from genir.formats import write_run
from genir.manifest import sha256_of, write_manifest
from genir.models.code_decoder import CodeDecoderConfig
from genir.pseudo_queries import PseudoQueryConfig
from genir.query_generation import Sampling
from genir.query_writer import CONFIG, QueryWriterConfig
from genir.records import Dataset, Qrels, Run, ScoredDoc
from genir.training import Example, TrainingConfig
from tests.tiny_text_models import save_tiny_bert, save_tiny_t5

TABLE = DocIDTable("numeric", {"d1": (0, 4), "d2": (1, 5), "d3": (2, 6), "d4": (1, 5)}, vocab_size=10)
Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16))


@pytest.fixture
def writer(encoder: str) -> QueryWriterConfig:
    return QueryWriterConfig(encoder, 16, 50, 32, 8, epochs=1, batch_size=2)


@pytest.fixture
def train(encoder: str, tiny_folder: Path, tmp_path: Path) -> Train:
    """Train a tiny model on the tiny data set with these changes of the configuration; returns the facts."""
    docids = tmp_path / "docids"
    TABLE.save(docids)
    write_manifest(docids, "docids", {}, {"corpus": sha256_of(tiny_folder / "corpus.jsonl")})

    def run(name: str = "model", cache: Path | None = None, **changes: Any) -> dict[str, Any]:
        config = ModelConfig(
            code_decoder=CodeDecoderConfig(encoder, heads=2, feedforward=16, max_text_tokens=32),
            examples=ExamplesConfig(passages=0, pseudo_query_weight=0.0),
            objective=ObjectiveConfig(prefixes=(1,), hard_negatives=1),
            training=TrainingConfig(epochs=1, batch_size=4, precision="float32"),
        )
        facts: dict[str, Any] = train_model(
            tiny_folder, docids, replace(config, **changes), tmp_path / name, cache=cache
        )["facts"]
        return facts

    return run


# --- views ------------------------------------------------------------------------------------------------------------


def texts(dataset: Dataset, **settings: Any) -> dict[str, list[str]]:
    """Kind -> texts of d1 under these settings and nothing else."""
    nothing = ExamplesConfig(passage_weight=0.0, pseudo_query_weight=0.0)
    found: dict[str, list[str]] = {}
    for one in make_examples(dataset, TABLE, replace(nothing, **settings), 10)[0]:
        if one.target == 0:
            found.setdefault(one.kind, []).append(one.text)
    found.pop("query")
    return found


def test_each_view_of_a_document_is_a_switch(tiny_dataset: Dataset) -> None:
    assert texts(tiny_dataset) == {}
    assert texts(tiny_dataset, first_weight=0.3, first_words=4) == {"first": ["Oslo. Oslo is the"]}
    assert texts(tiny_dataset, title_weight=0.2) == {"title": ["Oslo"]}
    windows = texts(tiny_dataset, passage_weight=0.1, passages=9, passage_words=8, passage_stride=4)["passage"]
    assert windows == [
        "Oslo. Oslo is the capital of Norway. It",
        "capital of Norway. It lies at the head",
        "lies at the head of a fjord.",
    ]
    one_more = texts(tiny_dataset, passage_weight=0.1, passages=2, passage_words=8, passage_stride=4)["passage"]
    assert one_more == windows[:2]
    side_by_side = texts(tiny_dataset, passage_weight=0.1, passages=9, passage_words=8)["passage"]
    assert " ".join(side_by_side) == "Oslo. Oslo is the capital of Norway. It lies at the head of a fjord."


def test_a_document_without_a_title_has_no_title_view(tiny_dataset: Dataset) -> None:
    settings = ExamplesConfig(queries=False, passage_weight=0.0, pseudo_query_weight=0.0, title_weight=0.5)
    examples, _ = make_examples(tiny_dataset, TABLE, settings, 10)
    assert [(one.text, one.kind, one.weight) for one in examples] == [
        ("Oslo", "title", 0.5),
        ("Lima", "title", 0.5),
        ("东京", "title", 0.5),
    ]


# --- queries that a model writes --------------------------------------------------------------------------------------


def test_a_trained_generator_is_a_switch_and_is_kept(
    train: Train, writer: QueryWriterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = GeneratorConfig("trained", sampling=Sampling(3, 20), writer=writer)
    wanted = ExamplesConfig(passages=0, pseudo_query_weight=0.0, generated_weight=0.4, generator=generator)
    facts = train(cache=tmp_path / "cache", examples=wanted)["material"]
    assert facts["query_writer"]["pairs"] == 2
    assert facts["made"] == {"generated": facts["examples"]["generated"]}
    assert facts["examples"]["query"] == 2
    (folder,) = (tmp_path / "cache").glob("query-writer-*")
    assert (folder / CONFIG).is_file()
    monkeypatch.setattr(material, "train_writer", None)  # asked no more: another training finds what there is
    assert train("again", cache=tmp_path / "cache", examples=wanted)["material"] == facts
    (kept,) = (tmp_path / "cache").glob("generated-*.json")
    kept.unlink()
    assert train("once more", cache=tmp_path / "cache", examples=wanted)["material"] == facts  # the writer itself
    named = replace(wanted, generator=replace(generator, model=str(folder)))
    assert train("by name", examples=named)["material"]["made"] == facts["made"]


def test_material_without_a_cache_is_removed_at_the_end(
    train: Train, writer: QueryWriterConfig, tmp_path: Path
) -> None:
    train(examples=ExamplesConfig(generator=GeneratorConfig("trained", sampling=Sampling(2), writer=writer)))
    assert not [path.name for path in (tmp_path / "model").iterdir() if path.name.startswith(".")]


def test_a_hugging_face_generator_is_a_switch(tiny_dataset: Dataset, tmp_path: Path) -> None:
    config = GeneratorConfig("hugging-face", str(save_tiny_t5(tmp_path / "t5")), Sampling(2, 50))
    made, facts = gather_pseudo_queries(tiny_dataset, None, config, ConsistencyConfig(), tmp_path / "work", "cpu")
    assert facts == {"made": {"generated": len(made)}}
    assert made
    assert gather_pseudo_queries(tiny_dataset, None, config, ConsistencyConfig(), tmp_path / "work")[0] == made
    assert config.inputs.keys() == {"query_generator"}


@pytest.mark.parametrize("retriever", ["bm25", "dense"])
def test_the_filter_says_how_many_it_dropped(
    tiny_dataset: Dataset, encoder: str, tmp_path: Path, retriever: str, capsys: pytest.CaptureFixture[str]
) -> None:
    consistency = ConsistencyConfig(retriever, 1, encoder)  # type: ignore[arg-type]
    free, none = PseudoQueryConfig(per_document=6), GeneratorConfig()
    before, _ = gather_pseudo_queries(tiny_dataset, free, none, ConsistencyConfig(), tmp_path)
    after, facts = gather_pseudo_queries(tiny_dataset, free, none, consistency, tmp_path)
    assert sum(facts["made"].values()) == len(before)
    assert sum(facts["dropped"].values()) == len(before) - len(after)
    assert set(after) <= set(before)
    said = (
        f"consistency: {retriever} finds the document of {len(after)} of {len(before)} pseudo-queries among its first 1"
    )
    assert said in capsys.readouterr().err


def test_pseudo_queries_are_made_only_where_they_are_wanted(tiny_dataset: Dataset) -> None:
    unwanted = ExamplesConfig(pseudo_query_weight=0.0)
    assert unwanted.model_free(tiny_dataset) is None
    assert unwanted.model_free(replace(tiny_dataset, qrels={})) is not None  # to measure on


# --- teachers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["bm25", "dense", "cross-encoder", "run"])
@pytest.mark.parametrize("distance", ["kl", "margin_mse"])
def test_every_teacher_is_a_switch(
    train: Train, encoder: str, tmp_path: Path, source: str, distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"dense": encoder, "cross-encoder": encoder, "run": str(tmp_path / "train.trec")}.get(source, "")
    ranking = tuple(ScoredDoc(doc_id, 3.0 - i) for i, doc_id in enumerate(("d2", "d1", "d3")))
    write_run(Run("mine", {"q1": ranking, "q4": ranking}), tmp_path / "train.trec")
    used: list[Any] = []
    original = TaughtRankingObjective.loss
    monkeypatch.setattr(
        TaughtRankingObjective, "loss", lambda self, *batch: used.append(self.teaching) or original(self, *batch)
    )
    teacher = TeacherConfig(source, model, depth=3, negatives=2, distance=distance)  # type: ignore[arg-type]
    facts = train(teacher=teacher)["material"]["teacher"]
    assert facts["taught"] >= 1
    assert used
    assert used[0].distance == distance


def test_a_teacher_is_asked_once_and_its_ranking_kept(tiny_dataset: Dataset, tmp_path: Path) -> None:
    examples, _ = make_examples(tiny_dataset, TABLE, ExamplesConfig(), 10)
    config = TeacherConfig("bm25", depth=3)
    table, facts = ask_teacher(config, tiny_dataset, TABLE, examples, tmp_path)
    assert table is not None
    (kept,) = tmp_path.glob("teacher-*.trec")
    lines = kept.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"t0", "t1"}
    kept.write_text("\n".join(line.replace(line.split()[4], "7.0") for line in lines) + "\n")
    again, _ = ask_teacher(config, tiny_dataset, TABLE, examples, tmp_path)
    assert again is not None
    assert not again.scores.equal(table.scores)
    # other texts, another run
    ask_teacher(replace(config, kinds=("query", "pseudo")), tiny_dataset, TABLE, examples, tmp_path)
    assert len(list(tmp_path.glob("teacher-*.trec"))) == 2
    assert facts["teacher"]["with_right"] == table.found


def test_what_is_relevant_is_no_negative(tiny_dataset: Dataset, tmp_path: Path) -> None:
    """d2 and d4 stand under one identifier; d1 and d3 are both judged relevant."""
    qrels = {**tiny_dataset.qrels, "train": Qrels({"q1": {"d1": 1, "d3": 1}})}
    dataset = replace(tiny_dataset, qrels=qrels)
    ranking = tuple(ScoredDoc(doc_id, score) for doc_id, score in (("d3", 4.0), ("d4", 3.0), ("d1", 2.0), ("d2", 1.0)))
    write_run(Run("mine", {"q1": ranking}), tmp_path / "run.trec")
    examples = [Example("What is the capital of Norway?", target) for target in (0, 2)]
    table, _ = ask_teacher(TeacherConfig("run", str(tmp_path / "run.trec")), dataset, TABLE, examples, tmp_path)
    assert table is not None
    assert table.candidates.tolist() == [[1], [1]]
    assert table.own.tolist() == [2.0, 4.0]  # one candidate a list: no spread, the scores as they are
    assert table.scores.tolist() == [[3.0], [3.0]]


def test_self_distillation_is_a_switch(train: Train) -> None:
    facts = train(objective=ObjectiveConfig(prefixes=(1,), hard_negatives=1, self_distillation=0.5))
    assert facts["best_dev"] >= facts["start_dev"]


def test_index_first_is_a_switch(train: Train) -> None:
    training = TrainingConfig(epochs=2, batch_size=4, precision="float32", schedule="index-first")
    facts = train(training=training, examples=ExamplesConfig(passages=1))
    assert set(facts["material"]["examples"]) == {"query", "passage", "pseudo"}
    with pytest.raises(ConfigError, match="there are no passages, titles or pseudo-queries"):
        train("other", training=training)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_training_queries_that_name_unknown_documents(tiny_dataset: Dataset) -> None:
    dataset = replace(tiny_dataset, qrels={"train": Qrels({"q1": {"d9": 1}})})
    with pytest.raises(
        DataError, match="tiny: training query 'q1' is judged to need document 'd9', which the corpus does"
    ):
        make_examples(dataset, TABLE, ExamplesConfig(), 10)


def test_a_run_of_something_else(tiny_dataset: Dataset, tmp_path: Path) -> None:
    examples, _ = make_examples(tiny_dataset, TABLE, ExamplesConfig(), 10)
    config = TeacherConfig("run", str(tmp_path / "run.trec"))
    with pytest.raises(DataError, match=r"run\.trec: no such file; give a TREC file of the training queries"):
        _ = config.inputs
    write_run(Run("mine", {"q3": (ScoredDoc("d1", 1.0),)}), tmp_path / "run.trec")
    with pytest.raises(DataError, match=r"run\.trec: ranks none of the 2 training queries; search the train split"):
        ask_teacher(config, tiny_dataset, TABLE, examples, tmp_path)
    write_run(Run("mine", {"q1": (ScoredDoc("d9", 1.0),)}), tmp_path / "run.trec")
    with pytest.raises(DataError, match=r"run\.trec: names document 'd9', which the corpus does not hold"):
        ask_teacher(config, tiny_dataset, TABLE, examples, tmp_path)


def test_a_teacher_with_nothing_to_say(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='teacher "bm25" ranks nothing for the 1 training texts; choose another one'):
        ask_teacher(TeacherConfig("bm25"), tiny_dataset, TABLE, [Example("xyz", 0)], tmp_path)


BAD = [
    ({"teacher": {"source": "bm52"}}, "unknown value 'bm52': did you mean 'bm25'?"),
    ({"teacher": {"distance": "kll"}}, "unknown value 'kll': did you mean 'kl'?"),
    ({"teacher": {"kinds": ["queries"]}}, "unknown kind of example 'queries'"),
    ({"teacher": {"source": "run"}}, 'teacher source "run" needs model: a TREC file of the training queries'),
    ({"teacher": {"source": "cross-encoder"}}, 'teacher source "cross-encoder" needs model: a hub name or folder'),
    ({"teacher": {"depth": 0}}, "impossible teacher: "),
    ({"objective": {"kind": "rankin"}}, "unknown value 'rankin': did you mean 'ranking'?"),
    ({"objective": {"self_decay": 1.0}}, "expected self_distillation >= 0, self_decay in 0..1"),
    ({"objective": {"kind": "cross_entropy"}, "teacher": {"source": "bm25"}}, "are for objective 'ranking'"),
    ({"training": {"schedule": "index-frist"}}, "unknown value 'index-frist': did you mean 'index-first'?"),
    (
        {"examples": {"generator": {"source": "hugging-face"}}},
        "needs model: the hub name or folder of a doc2query model",
    ),
    ({"examples": {"generator": {"source": "traned"}}}, "unknown value 'traned': did you mean 'trained'?"),
    ({"examples": {"generator": {"sampling": {"top_k": 0}}}}, "expected per_document >= 1, top_k >= 1"),
    ({"examples": {"consistency": {"within": 0}}}, "consistency within = 0: expected 1 or more"),
    ({"examples": {"consistency": {"retriever": "bm"}}}, "unknown value 'bm': did you mean 'bm25'?"),
    ({"examples": {"first_words": 0}}, "impossible examples: "),
]


@pytest.mark.parametrize(("values", "fault"), BAD)
def test_a_bad_switch_is_one_clear_line(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(ModelConfig, values, "config.toml")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_switch_survives_the_way_through_a_file() -> None:
    config = ModelConfig(teacher=TeacherConfig("bm25"), examples=ExamplesConfig(generator=GeneratorConfig("trained")))
    assert from_mapping(ModelConfig, json.loads(json.dumps(asdict(config))), "there") == config


def test_kinds_of_examples_are_counted(tiny_dataset: Dataset) -> None:
    examples, _ = make_examples(tiny_dataset, TABLE, ExamplesConfig(title_weight=1.0, first_weight=1.0), 10)
    assert set(Counter(one.kind for one in examples)) == {"query", "first", "passage", "title", "pseudo"}
