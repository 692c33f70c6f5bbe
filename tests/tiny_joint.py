"""A joint model over twenty towns: words are tokens, the LLaMA is made from nothing, nothing is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genir.constraints import PrefixTree
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig, LlamaShape
from genir.records import Dataset, DocIDTokens, Document, Qrels, Query
from rag.joint.config import JointSettings
from rag.joint.model import JointModel

TOWNS = [f"town{i}" for i in range(20)]
LORDS = [f"Lord{i}" for i in range(20)]
RIVERS = [f"river{i}" for i in range(20)]
_WORDS = "who rules which crosses it is ruled by the old . ? i do not know".split()
SHAPE = LlamaShape(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=96,
)
SETTINGS = JointSettings(max_passage_tokens=24, max_new_tokens=6, num_beams=4, batch_size=8)


def town(i: int) -> Document:
    """A passage with two facts."""
    return Document(f"d{i}", f"{TOWNS[i]} is ruled by the old {LORDS[i]} . {RIVERS[i]} crosses {TOWNS[i]} .", TOWNS[i])


def towns(count: int = 20) -> Dataset:
    """Two questions a town; all train, and a few of them are dev and test, too."""
    queries = {}
    judged: dict[str, dict[str, int]] = {}
    for i in range(count):
        for kind, text, said in (("l", "who rules {} ?", LORDS[i]), ("r", "which river crosses {} ?", RIVERS[i])):
            name = f"{kind}{i}"
            queries[name] = Query(name, text.format(TOWNS[i]), (said,))
            judged[name] = {f"d{i}": 1}
    queries["none"] = Query("none", "who rules the river ?")
    some = {name: judged[name] for name in list(judged)[:6]}
    qrels = {"train": Qrels(judged), "dev": Qrels(some), "test": Qrels(some)}
    return Dataset("towns", tuple(map(town, range(count))), queries, qrels)


def tokenizer() -> Any:
    """Words, lower-cased, with the special tokens' roles filled."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[END]", "[UNK]", *_WORDS, "river", *TOWNS, *(lord.lower() for lord in LORDS), *RIVERS]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(words))}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", eos_token="[END]", unk_token="[UNK]")


def save_tokenizer(folder: Path) -> Path:
    """The tokenizer as a folder."""
    tokenizer().save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Table:
    """A genir.protocols.DocIDMap of distinct identifiers."""

    tokens: dict[str, DocIDTokens]

    def tokens_of(self, doc_id: str) -> DocIDTokens:
        return self.tokens[doc_id]

    def documents_of(self, tokens: DocIDTokens) -> tuple[str, ...]:
        return tuple(doc_id for doc_id, own in self.tokens.items() if own == tokens)


def tiny_joint(
    own_tokens: bool = True, count: int = 20, settings: JointSettings = SETTINGS, **shape: Any
) -> JointModel:
    """An untrained model; identifiers are codes of one or two tokens with their own vocabulary, or the titles."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    words = tokenizer()
    options = {**vars(SHAPE), "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    network = LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **{**options, **shape}))
    config = CausalConfig(llama=SHAPE, max_text_tokens=12)
    causal = CausalModel(network, words, config, *((8, 7) if own_tokens else (None, None)))
    if own_tokens:
        table: dict[str, DocIDTokens] = {f"d{i}": (i,) if i < 2 else (i % 7, i // 7) for i in range(count)}
    else:
        table = {f"d{i}": tuple(words(TOWNS[i])["input_ids"]) for i in range(count)}
    assert causal.end_token is not None
    tree = PrefixTree.build([(*tokens, causal.end_token) for tokens in table.values()], causal.vocab_size)
    passages = {f"d{i}": town(i) for i in range(count)}
    return JointModel(causal, tree, Table(table), passages, settings, lambda tokens: "-".join(map(str, tokens)))
