"""A Hugging Face sequence classifier that reads two texts together: loading it, whatever it is for."""

from typing import Any

from genir.devices import pick_device
from genir.models.pretrained import check_tokenizer, loading


def load_pair_classifier(source: str, called: str, device: str = "auto") -> tuple[Any, Any]:
    """(tokenizer, network) of a folder or hub name, ready to ask. Raises ArtefactError, which names it as `called`, where there is none."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with loading(f"{called} {source!r}"):
        tokenizer = AutoTokenizer.from_pretrained(source)
        network = AutoModelForSequenceClassification.from_pretrained(source)
        check_tokenizer(tokenizer, getattr(network.config, "vocab_size", None))
    return tokenizer, network.to(pick_device(device)).eval()
