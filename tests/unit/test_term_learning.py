"""The stage of terms: what is tuned, what is learnt, which weight is kept, and that what is reported is what is searched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from docids.table import DocIDTable
from experiments.trained_model import TrainedModel
from experiments.training import terms
from experiments.training.terms import TermConfig, Tried, best_of_equals, learn_terms
from genir.config import from_mapping
from genir.errors import ConfigError
from genir.measures import as_good, evaluate
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.term_head import TermHead
from genir.records import Dataset, Document, Qrels, Query
from genir.right_targets import RightTargets
from genir.term_sets import TermSets, TermSetSettings
from genir.term_training import TermObjective, TermTrainee
from retrievers.generative import GenerativeSettings
from retrievers.planning import PlanningRetriever
from tests.tiny_text_models import save_tiny_bert

TOWNS = ("Oslo", "Lima", "Cairo", "Quito", "Sofia", "Tunis")
WORDING = "Where is the {} lake?"
# A lake is rarer than a town, which stands in the list, too: before training the pond is the first answer to everything.
CORPUS = (
    *(Document(f"d{i}", f"{name} {name} it is called", f"town {i}") for i, name in enumerate(TOWNS)),
    Document("list", " ".join(TOWNS), "list"),
    Document("pond", "lake lake lake", "pond"),
)
QUERIES = {
    f"{split}{i}": Query(f"{split}{i}", WORDING.format(name))
    for split in ("train", "dev")
    for i, name in enumerate(TOWNS)
}
QRELS = {split: Qrels({f"{split}{i}": {f"d{i}": 1} for i in range(len(TOWNS))}) for split in ("train", "dev")}
DATASET = Dataset("towns", CORPUS, QUERIES, QRELS)
CONFIG = TermConfig(tune=False, hidden=4)
CONFIG = replace(CONFIG, training=replace(CONFIG.training, epochs=20, batch_size=3, fresh_learning_rate=0.1))


def trained(encoder: Path, shift: int, layers: int = 0) -> TrainedModel:
    """A model whose sequences give 10 to the document `shift` places from the right one and 0 to all others."""
    torch.manual_seed(0)
    config = CodeDecoderConfig(str(encoder), layers=layers, heads=2, feedforward=16, max_text_tokens=48)
    model = CodeDecoder(config, len(CORPUS), 1, None).eval()
    with torch.no_grad():
        pooled = model.read([WORDING.format(name) for name in TOWNS]).pooled
        model.codes.weight.zero_()
        model.codes.weight[: len(TOWNS)] = 10 * torch.linalg.pinv(pooled.clone()).T.roll(shift, dims=0)
        if layers:
            torch.nn.init.normal_(model.correction.weight, std=5.0)
    table = DocIDTable("atomic", {document.doc_id: (i,) for i, document in enumerate(CORPUS)}, len(CORPUS))
    return TrainedModel(model, table, {}, GenerativeSettings(num_beams=10), {})


def learn(given: TrainedModel, folder: Path, config: TermConfig = CONFIG) -> tuple[TermHead, dict[str, Any], Any]:
    return learn_terms(DATASET, given, config, folder, False, "")


def searched(given: TrainedModel, head: TermHead) -> float:
    assert isinstance(given.search, GenerativeSettings)
    assert isinstance(given.table, DocIDTable)
    queries = [QUERIES[f"dev{i}"] for i in range(len(TOWNS))]
    run = PlanningRetriever(given.model, given.table, head, given.search).search(queries, 10)
    return round(evaluate(run, QRELS["dev"], ["RR@10"]).means["RR@10"], 6)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def test_terms_learn_what_misleads_and_sequences_that_are_wrong_count_nothing(encoder: Path, tmp_path: Path) -> None:
    given = trained(encoder, shift=1)
    head, facts, progress = learn(given, tmp_path)
    assert (facts["terms_start_dev"], facts["terms_best_dev"], facts["terms_learnt"]) == (0.5, 1.0, True)
    assert head.sequence_weight == facts["sequence_weight"] == 0.0
    assert facts["sequence_weight_curve"] == {"0": 1.0, "1": searched(given, _weighing(head, 1.0))}
    assert searched(given, _weighing(head, 0.0)) == 1.0
    assert facts["terms_exhaustive_dev"] == {"start": progress.history[0]["dev"], "best": progress.best}
    moved = dict(zip(head.sets.terms, (head.log_importance - head.sets.importance.log()).tolist(), strict=True))
    assert moved["lake"] < 0 < moved["oslo"]


def test_a_model_that_is_set_to_leave_terms_out_learns_them_all_the_same(encoder: Path, tmp_path: Path) -> None:
    given = trained(encoder, shift=1)
    assert isinstance(given.search, GenerativeSettings)
    without = replace(given, search=replace(given.search, terms=False))
    assert learn(without, tmp_path / "without")[1] == learn(given, tmp_path / "with")[1]


def test_sequences_that_are_right_count(encoder: Path, tmp_path: Path) -> None:
    given = trained(encoder, shift=0)
    head, facts, _ = learn(given, tmp_path)
    curve = facts["sequence_weight_curve"]
    assert facts["terms_best_dev"] == max(curve.values()) == searched(given, head) == 1.0
    assert head.sequence_weight > 0
    assert curve["0"] == 0.5


def test_where_training_raised_nothing_that_is_said_and_the_start_kept(encoder: Path, tmp_path: Path) -> None:
    given = trained(encoder, shift=1)
    config = replace(CONFIG, training=replace(CONFIG.training, fresh_learning_rate=0.0))
    head, facts, _ = learn(given, tmp_path, config)
    assert (facts["terms_start_dev"], facts["terms_best_dev"], facts["terms_learnt"]) == (0.5, 0.5, False)
    assert torch.equal(head.document_weights, head.sets.weights)


def test_the_figures_are_those_of_the_search_with_its_decoder(encoder: Path, tmp_path: Path) -> None:
    """Without the correction sequences are perfect, so that exhaustive scoring says 1; with it they are noise."""
    given = trained(encoder, shift=0, layers=1)
    head, facts, progress = learn(given, tmp_path)
    assert progress.best == facts["terms_exhaustive_dev"]["best"] == 1.0
    assert not facts["terms_learnt"]
    assert facts["terms_best_dev"] == searched(given, head) < 1.0


def test_the_sets_are_tuned_on_dev_where_that_is_asked_for(encoder: Path, tmp_path: Path) -> None:
    blind = replace(CONFIG, sets=TermSetSettings(title_boost=1.0, text_boost=0.0))  # no title names a town
    blind = replace(blind, training=replace(CONFIG.training, epochs=0))
    given = trained(encoder, shift=1)
    found = {tune: learn(given, tmp_path / str(tune), replace(blind, tune=tune))[1] for tune in (False, True)}
    assert [found[tune]["terms_start"]["text_boost"] for tune in (False, True)] == [0.0, 1.0]
    assert found[False]["terms_start_dev"] < found[True]["terms_start_dev"]


def test_joint_learning_sees_what_sequences_say(encoder: Path, tmp_path: Path) -> None:
    given = trained(encoder, shift=0)
    losses = {
        joint: learn(given, tmp_path / str(joint), replace(CONFIG, joint=joint))[2].history[1]["loss"]
        for joint in (True, False)
    }
    assert losses[True] < 0.1 * losses[False]  # sequences leave nothing to do


def test_examples_that_are_left_out_are_right_still(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RightTargets] = []

    class Listening(TermObjective):
        def __init__(self, trainee: TermTrainee, right: RightTargets, sequence_weight: float) -> None:
            seen.append(right)
            super().__init__(trainee, right, sequence_weight)

    monkeypatch.setattr(terms, "TermObjective", Listening)
    both = Qrels({f"train{i}": {f"d{i}": 1, "list": 1} for i in range(len(TOWNS))})
    dataset = replace(DATASET, qrels={**QRELS, "train": both})
    config = replace(CONFIG, max_examples=6, training=replace(CONFIG.training, epochs=0))
    _, facts, _ = learn_terms(dataset, trained(encoder, 1), config, tmp_path, False, "")
    assert facts["terms_examples"] == 6
    assert seen[0].right == tuple((i, len(TOWNS)) for i in range(len(TOWNS)))


def test_other_sets_are_scored_where_the_head_is(encoder: Path) -> None:
    given = trained(encoder, shift=0)
    sets = TermSets.build(CORPUS)
    trainee = TermTrainee(
        TermHead(sets, 16, 4).to("meta"), given.model, [(one,) for one in given.table.tokens.values()]
    )
    assert {parameter.device.type for parameter in trainee.untrained(sets).parameters()} == {"meta"}


def _weighing(head: TermHead, weight: float) -> TermHead:
    head.sequence_weight = weight
    return head


@pytest.mark.parametrize("table", [{"generator": {"source": "trained"}}, {"consistency": {"retriever": "bm25"}}])
def test_query_writers_and_their_filter_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"model-free pseudo-queries alone: leave out \[examples.generator\]"):
        from_mapping(TermConfig, {"examples": table}, "terms.toml")


@pytest.mark.parametrize(
    ("losses", "alone", "chosen"),
    [
        ((0.5, 0.5, 0.5, 0.25), 0.9, "best"),  # .4375 with a standard error of .0625: whatever terms find alone
        ((0.5, -0.5, 0.25, 0.0), 0.9, "other"),  # .0625 with one of .2135: terms alone decide
        ((0.5, -0.5, 0.25, 0.0), 0.1, "best"),
        ((0.0, 0.0, 0.0, 0.0), 0.9, "other"),
        ((0.0, 0.0, 0.0, 0.0), 0.5, "best"),  # the first of equals in everything
        ((0.25,), 0.9, "best"),  # one query has no noise
    ],
)
def test_within_the_noise_terms_are_chosen_by_what_they_find_alone(
    losses: tuple[float, ...], alone: float, chosen: str
) -> None:
    best = Tried(8.0, np.full(len(losses), 0.5), 0.5)
    settings = {"best": TermSetSettings(k1=1.0), "other": TermSetSettings(k1=2.0)}
    tried = {settings["best"]: best, settings["other"]: Tried(12.0, best.values - np.array(losses), alone)}
    assert best_of_equals(tried) == settings[chosen]


def test_losses_within_the_noise_do_not_add_up() -> None:
    """Each equals the one before, .125 with a standard error of .239, .25 with .270; the last not the best, .375 with .072."""
    one, two, three = (0.5, 0.5, 0.5, 0.5), (0.0, 1.0, 0.0, 0.5), (0.0, 0.0, 0.25, 0.25)
    values = [Tried(1.0, np.array(values), alone) for values, alone in ((one, 0.1), (two, 0.2), (three, 0.3))]
    settings = [TermSetSettings(k1=float(place)) for place in range(3)]
    assert as_good(values[1].values, values[0].values)
    assert as_good(values[2].values, values[1].values)
    assert best_of_equals(dict(zip(settings, values, strict=True))) == settings[1]


def test_terms_that_find_nothing_alone_are_not_chosen_beside_perfect_sequences(encoder: Path, tmp_path: Path) -> None:
    """Titles name no town: beside sequences that find everything, all settings do equally well."""
    blind = replace(CONFIG, tune=True, sets=TermSetSettings(title_boost=1.0, text_boost=0.0))
    blind = replace(blind, training=replace(CONFIG.training, epochs=0))
    _, facts, _ = learn(trained(encoder, shift=0), tmp_path, blind)
    assert facts["terms_exhaustive_dev"]["start"] == 1.0
    assert facts["terms_start"]["text_boost"] == 1.0
