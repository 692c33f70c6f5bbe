"""The configuration of the experiments about quality: what is refused, what a seed reaches, and what ships."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from experiments.quality.ablation import WHOLE, AblationConfig
from experiments.quality.config import QualityConfig, seeded, shipped
from experiments.quality.labels import LabelsConfig
from genir.errors import ConfigError
from retrievers.dense_training import DenseConfig

WRITER = "pseudo-queries by a trained writer"
# row of ablation.toml -> what it changes of the whole, or of the row that it lies over
SWITCHES = {
    "decoder without layers": {"sequence.code_decoder.layers": 0},
    "8 levels": {"scheme": ("levels=8",)},
    "sums of any length": {"scheme": ("levels=8", "unit_length=false")},
    "encoder fine-tuned first": {"dense.training.epochs": 3},
    "no pseudo-queries": {"sequence.examples.pseudo_query_weight": 0.0},
    WRITER: {"sequence.examples.generator.source": "trained", "sequence.examples.pseudo_query_weight": 0.0},
    "consistent ones of them only": {"sequence.examples.consistency.retriever": "bm25"},
    "beginnings (FirstP)": {"sequence.examples.first_weight": 0.5},
    "passages": {"sequence.examples.passages": 2},
    "titles": {"sequence.examples.title_weight": 0.5},
    "questions only after documents": {"sequence.training.schedule": "index-first"},
    "views (MINDER)": {
        "identifiers": "views",
        "scheme": ("levels=16", 'views=["document", "query"]', "queries=1"),
        "sequence.training.epochs": 1,  # of twice as many pairs of a text and an identifier
    },
    "cross-entropy on tokens": {"sequence.objective.kind": "cross_entropy"},
    "prefixes ranked, too": {"sequence.objective.prefixes": (1, 2, 4)},
    "no hard negatives": {"sequence.objective.hard_negatives": 0},
    "BM25 as teacher": {"sequence.teacher.source": "bm25"},
    "its scores by margins (MSE)": {"sequence.teacher.distance": "margin_mse"},
    "that encoder as teacher": {
        "sequence.teacher.source": "dense",
        "sequence.teacher.model": "dense_finetuned",
    },
    "self-distillation": {"sequence.objective.self_distillation": 0.5},
    "learned identifiers": {"sequence.learned.rounds": 2, "sequence.training.epochs": 1},  # two epochs in all
    "three layers frozen": {"sequence.training.frozen_layers": 3},
    "beam not guided by terms": {"planning": False},
    "beam not guided by codes": {"sequence.search.look_ahead": False},
    "nor by terms": {"planning": False},
    "nor by terms, prefixes ranked, too": {"sequence.objective.prefixes": (1, 2, 4)},
    "beam reranked by a head": {"rerank_head": True},
    "no phrases": {"terms.sets.lexicon.phrases": False},
    "terms not tuned on dev": {"terms.tune": False},
    "terms not trained": {"terms.training.epochs": 0},
    "terms trained alone": {"terms.joint": False},
}


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def changed(base: QualityConfig, row: QualityConfig) -> dict[str, Any]:
    before = flat(asdict(base))
    return {key: value for key, value in flat(asdict(row)).items() if before[key] != value}


def test_every_row_of_the_ablation_is_one_switch() -> None:
    config = AblationConfig.read(shipped("ablation"))
    found = {name: changed(config.rows[base], config.rows[name]) for name, base in config.bases.items()}
    assert found == SWITCHES
    assert {name: base for name, base in config.bases.items() if base != WHOLE} == {
        "sums of any length": "8 levels",
        "consistent ones of them only": WRITER,
        "cross-entropy on tokens": "prefixes ranked, too",
        "its scores by margins (MSE)": "BM25 as teacher",
        "that encoder as teacher": "encoder fine-tuned first",
        "nor by terms": "beam not guided by codes",
        "nor by terms, prefixes ranked, too": "nor by terms",
    }


def test_the_ablation_starts_from_the_configuration_of_quality() -> None:
    assert changed(QualityConfig.read(shipped("quality")), AblationConfig.read(None).rows[WHOLE]) == {
        "identifiers": "residual",  # one a document
        "scheme": ("levels=16",),
        "alternatives": (),
        "max_questions": 2000,
        "dense.passage_tokens": 128,
        "dense.training.epochs": 0,
        "sequence.training.epochs": 2,
        "sequence.training.patience": 0,
        "sequence.search.num_beams": 20,
        # of no effect but in the rows of a trained writer
        "sequence.examples.generator.sampling.per_document": 1,
        "sequence.examples.consistency.within": 1,
    }


def test_what_ships_is_what_runs_without_a_file_and_cuts_all_systems_alike() -> None:
    quality, large = QualityConfig.read(None), QualityConfig.read(shipped("quality_large"))
    assert quality == QualityConfig.read(shipped("quality"))
    assert LabelsConfig.read(None) == LabelsConfig(replace(quality, alternatives=()), (0.01, 0.1, 1.0))
    assert changed(quality, large) == {
        "control": False,
        "alternatives": ({"identifiers": "residual", "scheme": ("levels=32",)},),
        "max_questions": 6000,
        "dense.training.epochs": 2,
        "sequence.objective.hard_negatives": 7,
        "sequence.training.epochs": 1,
        "sequence.training.patience": 0,
        "sequence.training.learning_rate": 2e-5,
        "sequence.training.fresh_learning_rate": 5e-5,
        "sequence.search.num_beams": 20,
    }
    titles = QualityConfig.read(shipped("quality_titles"))
    assert changed(large, titles) == {
        "scheme": ('views=["title"]', "combine=max", "levels=32"),
        "alternatives": (),
        "max_questions": 12_000,
        "dense.fields": "title",
        "dense.shares": (0.25, 0.5, 0.75, 1.0),
        "dense.dev_queries": 1000,
        "dense.dev_documents": 20_000,
        "dense.training.batch_size": 64,
        "dense.training.epochs": 3,
        "sequence.examples.pseudo_query_weight": 0.0,
        "sequence.examples.pseudo_queries.per_document": 8,  # of no effect
    }
    for config in (quality, large, titles):
        assert config.dense.max_pairs == 0
        trainings = (config.dense.training, config.sequence.training, config.terms.training)
        assert all(training.max_minutes == 0 for training in trainings)


def test_a_seed_reaches_every_stage() -> None:
    found = flat(asdict(seeded(QualityConfig(), 7)))
    seeds = {key: value for key, value in found.items() if key.endswith(".seed")}
    assert {"dense.training.seed", "sequence.training.seed", "terms.training.seed"} < set(seeds)
    assert "sequence.examples.pseudo_queries.seed" in seeds
    assert set(seeds.values()) == {7}
    assert seeded(seeded(DenseConfig(), 7), 0) == DenseConfig()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[dense]\nencoder = "mine"', "dense.encoder cannot be set alone: leave it out, and set encoder"),
        ("[dense]\nmax_pairs = 12000", "dense.max_pairs cannot be set alone: leave it out, and set max_questions"),
        ("[terms]\nmax_examples = 9", "terms.max_examples cannot be set alone: leave it out, and set max_questions"),
        (
            '[sequence.code_decoder]\nencoder = "mine"',
            "sequence.code_decoder.encoder cannot be set alone: leave it out, and the model starts from the fine-tuned",
        ),
        (
            "[dense.training]\nseed = 7",
            "dense.training.seed cannot be set alone: leave it out, every seed is taken from",
        ),
        ("[sequence.training]\nseed = 0", "sequence.training.seed cannot be set alone"),
        ("[terms.training]\nseed = 0", "terms.training.seed cannot be set alone"),
        ('scheme = ["seed = 3"]', "scheme sets a seed: leave it out"),
        ('scheme = ["level=8"]', "scheme residual: unknown key 'level': did you mean 'levels'?"),
        ('scheme = ["levels=0"]', "identifiers need at least one level and one code, got 0 levels of 256"),
        ('identifiers = "title"', "identifiers is 'title', which no seed changes: expected residual, or another"),
        ('measure = "RR@1O"', "unknown measure 'RR@1O': did you mean 'RR@10'?"),
        ('identifiers = "vews"', "unknown scheme 'vews': did you mean 'views'?"),
        ('[sequence]\narchitecture = "causal"', "[sequence] architecture is 'causal': expected code_decoder"),
        ("seeds = [1, 1]", "each once"),
        ('[[alternatives]]\nidentifiers = "title"', "identifiers is 'title', which no seed changes"),
        ('[[alternatives]]\nidentifiers = "residual"', "two of the identifiers to choose from are the same"),
        (
            'scheme = ["levels=2"]\n[[alternatives]]\nidentifiers = "residual"\nscheme = ["levels = 2"]',
            "two of the identifiers to choose from are the same",
        ),
        ("[[alternatives]]\nscheme = []", "the key 'identifiers' is missing"),
        (
            '[[alternatives]]\nidentifiers = "views"',
            "views that are summed have no terms, as others have; set combine=max",
        ),
        (
            'identifiers = "views"\nscheme = ["combine=max"]\n'
            '[[alternatives]]\nidentifiers = "views"\nscheme = ["levels=2", "combine=max"]',
            "two of the identifiers to choose from are views",
        ),
        ('rerank_head = true\n[[alternatives]]\nidentifiers = "views"', "rerank_head and planning = false are for one"),
        ("max_questions = -1", "max_questions is -1: expected 1 or more, or 0 for all"),
        ('measur = "RR@10"', "unknown key 'measur': did you mean 'measure'?"),
    ],
)
def test_a_key_that_would_have_no_effect_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "quality.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        QualityConfig.read(path)
    assert fault in str(refused.value)
    if text.startswith("[") and not text.startswith("[["):
        path.write_text(text.replace("[", "[rows.other.", 1), encoding="utf-8")
        with pytest.raises(ConfigError) as refused:
            AblationConfig.read(path)
        assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("seeds = [0]\n", "no rows"),
        ("[rows.whole]\n", "rename it"),
        ("[rows.other.terms]\nhiden = 3\n", "row 'other' terms: unknown key 'hiden': did you mean 'hidden'?"),
        ("[rows.other]\n", "row 'other': changes nothing of 'whole'"),
        ("[rows.other.terms]\ntune = true\n", "row 'other': changes nothing of 'whole'"),
        ("[rows.other]\nseeds = [3]\n", "row 'other': seeds is for all rows: set it above them"),
        ("[rows.other]\nmax_questions = 3\n", "row 'other': max_questions is for all rows"),
        ('[rows.other]\nbase = "wole"\n', "unknown base 'wole': did you mean 'whole'?"),
    ],
)
def test_an_ablation_without_proper_rows_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "rows.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        AblationConfig.read(tmp_path / "rows.toml")
    assert fault in str(refused.value)


def test_shares_that_are_none_are_refused(tmp_path: Path) -> None:
    for shares, fault in (
        ("[0.0]", "above 0 and up to 1"),
        ("[0.5, 0.5]", "each once"),
        ('"all"', "a list of numbers"),
    ):
        (tmp_path / "labels.toml").write_text(f"shares = {shares}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=fault):
            LabelsConfig.read(tmp_path / "labels.toml")
