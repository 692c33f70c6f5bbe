"""Query likelihood: documents are cut to fit, our own writer can rank, and what is no model is refused."""

from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError
from genir.query_writer import QueryWriter, QueryWriterConfig, source_of
from genir.records import Document
from retrievers.likelihood import QueryLikelihood, WriterLikelihood
from tests.parity.test_query_likelihood import PAIRS, save_network, scorer
from tests.tiny_text_models import save_tiny_bert

LONG = Document("long", "word " * 300)


def test_a_document_is_cut_and_its_frame_is_not(tmp_path: Path) -> None:
    made = scorer(save_network("gpt2", tmp_path))
    tokenizer, _ = made.load()
    [(prompt, question)] = made.rows([("Where?", LONG)])
    text = tokenizer.decode(prompt)
    assert text.startswith("Passage: word word")
    assert text.endswith("Please write a question based on this passage.")
    assert tokenizer.decode(question) == " Where?"
    assert 250 <= len(prompt) + len(question) <= 256  # all of the network's positions, nearly
    assert made.score([("Where?", LONG)])[0] < 0


def test_a_limit_of_its_own(tmp_path: Path) -> None:
    folder = save_network("t5", tmp_path)
    made = QueryLikelihood(str(folder), prompt="{document}", max_document_tokens=7, device="cpu")
    [(prompt, _)] = made.rows([("Where?", LONG)])
    assert made.load()[0].decode(prompt) == "word wo"
    assert made.nbytes == 4 * sum(parameter.numel() for parameter in made.load()[1].parameters())
    assert made.score([]) == []


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"likelihood prompt is 'Passage:': expected \{document\} in it, once"):
        QueryLikelihood("any", prompt="Passage:")
    with pytest.raises(ArtefactError, match=r"likelihood .*nowhere.*: no language model: .*; give a folder or a hub"):
        QueryLikelihood(str(tmp_path / "nowhere")).score(PAIRS)
    made = scorer(save_network("gpt2", tmp_path))
    with pytest.raises(ConfigError, match="has 256 positions, too few for a question of 301 tokens and a document"):
        made.score([("x" * 300, LONG)])


def test_our_own_writer_ranks_by_its_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = QueryWriterConfig(str(save_tiny_bert(tmp_path, 32)), 32, 300, 32, 24)
    writer = QueryWriter(config, [10, 11, 12])
    pairs = [
        ("old lake?", Document("a", "Oslo is old. A lake is near.", "Oslo")),
        ("a", Document("b", "Lima.")),
        ("a question of very many more tokens than the writer ever writes", Document("c", "Cairo is hot.")),
    ]
    together = WriterLikelihood(writer).score(pairs)
    alone = [score for pair in pairs for score in WriterLikelihood(writer).score([pair])]
    assert together == pytest.approx(alone, rel=1e-2)
    question, document = pairs[0]
    tokens = writer.tokenizer([question], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        loss = writer.losses(writer.read([source_of(document, question)]), tokens).mean()
    assert together[0] == pytest.approx(-float(loss), rel=1e-2)
    assert WriterLikelihood(writer).score([]) == []
    assert WriterLikelihood(writer).nbytes > 4 * sum(parameter.numel() for parameter in writer.parameters())
