"""The best sentence: its confidence does not hang on the order in which Python happens to keep a set."""

import math

from genir.records import Document
from rag.generators.extractive import ExtractiveGenerator


def test_a_confidence_is_the_exact_share_of_the_questions_weight() -> None:
    """Weights were once added in a set's order: equal shares differed in their last digit, and ties fell otherwise in each process."""
    words = [f"word{i}" for i in range(60)]
    sentences = [
        words[i:] for i in range(40)
    ]  # each word in another number of sentences, so that no two weigh the same
    weight = {
        word: math.log(1 + (len(sentences) + 1) / (sum(word in one for one in sentences) + 0.5))
        for word in (*words, "nowhere")
    }
    passage = Document("d", " ".join(f"Here {' '.join(one)}." for one in sentences))
    asked = [words[i : i + 40] for i in range(20)]
    readings = ExtractiveGenerator().read([f"What {' '.join(one)} nowhere?" for one in asked], [[passage]] * len(asked))
    for one, reading in zip(asked, readings, strict=True):
        held = math.fsum(weight[word] for word in one)
        assert reading.confidence == held / math.fsum([weight[word] for word in (*one, "nowhere")])
