"""A Hugging Face sequence classifier that reads two texts together: loading it, whatever it is for."""

from typing import Any

from safetensors import SafetensorError

from genir.devices import pick_device
from genir.errors import ArtefactError


def load_pair_classifier(source: str, called: str, device: str = "auto") -> tuple[Any, Any]:
    """(tokenizer, network) of a folder or hub name, ready to ask. Raises ArtefactError, which names it as `called`, where there is none."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        network = AutoModelForSequenceClassification.from_pretrained(source)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{called} {source!r}: cannot be loaded: {reason}; give a folder or a hub name") from None
    return tokenizer, network.to(pick_device(device)).eval()
