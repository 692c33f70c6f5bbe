"""The embedding rows of identifiers with a vocabulary of their own, kept beside a Hugging Face network's folder."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genir.errors import ArtefactError
from genir.manifest import write_atomically

FILE = "own_embedding.safetensors"


def save_own_embedding(folder: Path, embedding: nn.Embedding, logit_scale: Tensor) -> None:
    """Write the rows (V, D) and the scale of their logits, atomically."""
    own = {"weight": embedding.weight.detach().cpu().contiguous(), "logit_scale": logit_scale.cpu()}
    write_atomically(folder / FILE, lambda temporary: save_file(own, temporary))


def load_own_embedding(folder: Path, embedding: nn.Embedding, logit_scale: Tensor) -> None:
    """Read both into what is given. Raises ArtefactError where they do not fit."""
    path = folder / FILE
    try:
        own = load_file(path)
        embedding.load_state_dict({"weight": own["weight"]})
        logit_scale.copy_(own["logit_scale"])
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        raise ArtefactError(f"{path}: cannot be loaded: {error}; train the model again") from None
