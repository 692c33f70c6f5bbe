"""Entailment as support: a random classifier of three labels stands for a trained one, in whatever order its labels are."""

from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError
from rag.checkers.nli import NLIChecker, entailment_labels, hypothesis
from rag.verification import NO_SUPPORT, Statement, SupportChecker
from tests.tiny_text_models import save_byte_tokenizer

STATEMENTS = [
    Statement("Oslo", "The capital of Norway is Oslo.", "What is the capital of Norway?"),
    Statement("Norway has no capital.", "The capital of Norway is Oslo. It lies at a fjord."),
    Statement("", "Something."),
    Statement("Lima", "The capital of Peru is Lima."),
]


def save_nli(folder: Path, *labels: str) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    config = BertConfig(vocab_size=save_byte_tokenizer(folder), initializer_range=0.5, **shape, **names)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_probabilities_are_those_of_the_named_labels(tmp_path: Path) -> None:
    source = save_nli(tmp_path, "contradiction", "neutral", "ENTAILMENT")
    checker = NLIChecker(str(source), precision="float32")
    assert isinstance(checker, SupportChecker)
    found = checker.check(STATEMENTS)
    assert found[2] == NO_SUPPORT
    tokenizer, network, _ = checker.load()
    for i in (0, 1, 3):
        batch = tokenizer(STATEMENTS[i].evidence, hypothesis(STATEMENTS[i]), return_tensors="pt")
        with torch.no_grad():
            contradicted, _, entailed = network(**batch).logits[0].softmax(-1).tolist()
        assert found[i].supported == pytest.approx(entailed, abs=1e-5)
        assert found[i].contradicted == pytest.approx(contradicted, abs=1e-5)


def test_batches_change_nothing(tmp_path: Path) -> None:
    source = str(save_nli(tmp_path, "entailment", "not_entailment"))
    whole, single = (NLIChecker(source, batch_size=size, precision="float32").check(STATEMENTS) for size in (16, 1))
    for one, other in zip(whole, single, strict=True):
        assert one.supported == pytest.approx(other.supported, abs=1e-5)
        assert one.contradicted == 0.0


def test_a_question_stands_in_front_of_its_answer() -> None:
    assert hypothesis(STATEMENTS[0]) == "What is the capital of Norway? Oslo"
    assert hypothesis(STATEMENTS[1]) == "Norway has no capital."


def test_labels_by_name() -> None:
    assert entailment_labels({0: "entailment", 1: "neutral", 2: "contradiction"}, "m") == (0, 2)
    assert entailment_labels({0: "SUPPORTS", 1: "REFUTES", 2: "NOT ENOUGH INFO"}, "m") == (0, 1)
    with pytest.raises(ArtefactError, match="NLI model 'm': its labels are LABEL_0, LABEL_1; expected one called enta"):
        entailment_labels({0: "LABEL_0", 1: "LABEL_1"}, "m")


def test_bad_input(tmp_path: Path) -> None:
    nowhere = NLIChecker(str(tmp_path / "nowhere"))
    with pytest.raises(
        ArtefactError, match=r"NLI model .*nowhere.*: cannot be loaded: .*; give a folder or a hub name"
    ):
        nowhere.check(STATEMENTS)
    assert nowhere.check([]) == []
    bare = save_nli(tmp_path / "bare", "entailment", "contradiction")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match=r"cannot be loaded: .*tokenizer"):
        NLIChecker(str(bare)).check(STATEMENTS)
    with pytest.raises(ArtefactError, match="its labels are positive, negative; expected one called entailment"):
        NLIChecker(str(save_nli(tmp_path, "positive", "negative"))).check(STATEMENTS)
