"""The code decoder: it starts as the quantised dense index, and its cached search equals its teacher-forced scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genir.beam_search import beam_search
from genir.constraints.trie import PrefixTree
from genir.embedding import TextEncoder
from genir.errors import ArtefactError, ConfigError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from tests.tiny_text_models import save_tiny_bert

LEVELS, CODES, HIDDEN = 3, 4, 16
TEXTS = ["what is the capital of norway", "which river flows north", "red"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), HIDDEN)


@pytest.fixture
def identifiers() -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    rows = {tuple(int(c) + level * CODES for level, c in enumerate(rng.integers(0, CODES, LEVELS))) for _ in range(20)}
    return sorted(rows)


def make(encoder: Path, layers: int = 1, end_token: int | None = None, disturb: bool = True) -> CodeDecoder:
    torch.manual_seed(0)
    vocab_size = LEVELS * CODES + (end_token is not None)
    config = CodeDecoderConfig(encoder=str(encoder), layers=layers, heads=2, feedforward=32, max_text_tokens=32)
    model = CodeDecoder(config, vocab_size, LEVELS + 1, end_token).eval()
    if disturb:  # a trained model's correction is not zero
        torch.nn.init.normal_(model.correction.weight, std=0.5)
    return model


@pytest.mark.parametrize("kind", ["residual", "product"])
def test_untrained_it_ranks_like_the_quantised_dense_index(
    encoder: Path, identifiers: list[tuple[int, ...]], kind: str
) -> None:
    codebooks = np.random.default_rng(1).normal(size=(LEVELS, CODES, HIDDEN)).astype(np.float32)
    if kind == "product":  # each level has its own part of the dimensions, and zeros elsewhere
        part = np.arange(HIDDEN) * LEVELS // HIDDEN
        codebooks *= (part == np.arange(LEVELS)[:, None])[:, None]
    model = make(encoder, disturb=False)
    model.start_from_codebooks(codebooks)
    documents = np.stack([sum(codebooks[t // CODES, t % CODES] for t in tokens) for tokens in identifiers])
    queries = TextEncoder(str(encoder), precision="float32").encode(TEXTS)
    np.testing.assert_allclose(model.score(TEXTS, identifiers).numpy(), queries @ documents.T, atol=1e-4)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("end_token", [None, LEVELS * CODES])
def test_search_with_nothing_pruned_equals_scoring_every_identifier(
    encoder: Path, identifiers: list[tuple[int, ...]], layers: int, end_token: int | None
) -> None:
    model = make(encoder, layers, end_token)
    end = () if end_token is None else (end_token,)
    tree = PrefixTree.build([tokens + end for tokens in identifiers])
    found = beam_search(model.begin(TEXTS), tree, len(TEXTS), num_beams=len(identifiers), scoring="logits")
    scores = model.score(TEXTS, identifiers)
    for row, hypotheses in enumerate(found):
        assert [h.leaf for h in hypotheses] == scores[row].argsort(descending=True, stable=True).tolist()
        for h in hypotheses:
            assert h.score == pytest.approx(float(scores[row, h.leaf]), abs=1e-4)


def test_identifiers_of_several_lengths_are_scored_to_their_own_ends(encoder: Path) -> None:
    model = make(encoder, end_token=LEVELS * CODES)
    alone = model.score(TEXTS, [(0, 5)])
    together = model.score(TEXTS, [(0, 5), (0, 5, 9)])
    torch.testing.assert_close(together[:, :1], alone)


def test_a_batch_scores_as_its_texts_do_alone(encoder: Path, identifiers: list[tuple[int, ...]]) -> None:
    model = make(encoder)
    together = model.score(TEXTS, identifiers)
    alone = torch.cat([model.score([text], identifiers) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_bfloat16_scores_stay_near_float32(encoder: Path, identifiers: list[tuple[int, ...]]) -> None:
    model = make(encoder)
    exact = model.score(TEXTS, identifiers)
    model.precision = "bfloat16"
    assert (model.score(TEXTS, identifiers) - exact).abs().max() < 0.05 * exact.abs().max()


def test_save_and_load_are_symmetric(encoder: Path, identifiers: list[tuple[int, ...]], tmp_path: Path) -> None:
    model = make(encoder)
    model.save(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "config.json").read_text())
    loaded = CodeDecoder.load(tmp_path / "model", saved)
    torch.testing.assert_close(loaded.score(TEXTS, identifiers), model.score(TEXTS, identifiers))


def test_weights_cut_short_are_refused(encoder: Path, tmp_path: Path) -> None:
    make(encoder).save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match=r"model\.safetensors: cannot be loaded"):
        CodeDecoder.load(tmp_path, json.loads((tmp_path / "config.json").read_text()))


def test_a_long_text_is_cut_with_a_warning(encoder: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 32 tokens and were cut"):
        rows = make(encoder).tokenize(["the " * 10_000, "red"])
    assert [len(row) for row in rows] == [32, 3]


def test_codebooks_of_another_encoder_are_refused(encoder: Path) -> None:
    with pytest.raises(ConfigError, match="identifiers were built with another encoder"):
        make(encoder).start_from_codebooks(np.zeros((LEVELS, CODES, HIDDEN + 1), dtype=np.float32))


def test_heads_must_divide_the_hidden_size(encoder: Path) -> None:
    with pytest.raises(ConfigError, match="heads = 3 does not divide"):
        CodeDecoder(CodeDecoderConfig(encoder=str(encoder), heads=3), 12, 3, None)
