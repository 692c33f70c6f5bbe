"""What a model of n-grams is trained on: every text with the identifier of its document becomes texts with n-grams of it.

After SEAL (Bevilacqua et al. 2022, arXiv 2204.10628): a query is taught n-grams sampled from its document, those that
share more with the query more often, and the document's title; a passage is taught any other of its document's n-grams.

Differences from the paper: what a query shares is counted in tokens weighted by their rarity, not in characters; real
and pseudo-queries are sampled alike; and no token says which kind of n-gram is asked for, so that one search finds
both. Known gap: n-grams are sampled once, so more epochs show the same ones again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from docids.ngram import NgramTable
from docids.text_tokens import load_tokenizer
from genir.errors import ConfigError
from genir.records import DocIDTokens
from genir.training import Example
from retrievers.ngram import NgramSettings

Floats = np.ndarray[Any, Any]

# Kinds of text that are a piece of their document: sampling what they share with it would teach copying.
UNIFORM = ("first", "passage")


@dataclass(frozen=True)
class NgramConfig:
    """Which n-grams, of `search.max_length` tokens, a model learns to write, and how it is searched.

    spans        n-grams sampled from the document, with replacement, for each text (SEAL: 10)
    titles       the title as an n-gram, too, for each text
    temperature  of the sampling: an n-gram that holds a share s of the query's rarity weighs exp(s / temperature)
    """

    spans: int = 5
    titles: bool = True
    temperature: float = 0.05
    seed: int = 0
    search: NgramSettings = field(default_factory=NgramSettings)

    def __post_init__(self) -> None:
        if self.spans < 1 or self.temperature <= 0 or self.seed < 0:
            raise ConfigError(f"impossible ngram: {self}; expected spans >= 1, temperature > 0, and seed >= 0")


def ngram_examples(
    examples: Sequence[Example], table: NgramTable, config: NgramConfig
) -> tuple[list[Example], list[DocIDTokens]]:
    """Examples whose targets are n-grams, and the n-grams that those targets number, in ascending order.

    The targets of `examples` number `table.documents.identifiers()`. A text gets each n-gram once at most, and the
    order of the texts stays.
    """
    wholes = table.documents.identifiers()
    longest = config.search.max_length
    titles = {table.tokens_of(doc_id): table.title_of(doc_id)[:longest] for doc_id in table.doc_ids}
    rarity = _rarity(table)
    assert table.documents.tokenizer is not None
    tokenizer = load_tokenizer(table.documents.tokenizer)
    queries = tokenizer([example.text for example in examples], add_special_tokens=False, verbose=False)["input_ids"]
    rng = np.random.default_rng(config.seed)
    pairs: list[tuple[Example, DocIDTokens]] = []
    for example, query in zip(examples, queries, strict=True):
        document = wholes[example.target]
        length = min(longest, len(document))
        shares = _shares(document, [] if example.kind in UNIFORM else query, rarity, length)
        weights = np.exp((shares - shares.max()) / config.temperature)
        starts = rng.choice(len(shares), config.spans, p=weights / weights.sum())
        chosen = [document[start : start + length] for start in starts.tolist()]
        if config.titles and titles[document]:
            chosen.append(titles[document])
        pairs += [(example, ngram) for ngram in dict.fromkeys(chosen)]
    ngrams = sorted({ngram for _, ngram in pairs})
    numbers = {ngram: number for number, ngram in enumerate(ngrams)}
    return [replace(example, target=numbers[ngram]) for example, ngram in pairs], ngrams


def _rarity(table: NgramTable) -> Floats:
    """log(N / documents that hold it) of every token of the vocabulary (V,); 0 where none holds it."""
    holders = np.zeros(table.documents.vocab_size)
    for document in table.tokens.values():
        holders[list(set(document))] += 1
    return np.log(len(table) / np.maximum(holders, 1)) * (holders > 0)


def _shares(document: DocIDTokens, query: Sequence[int], rarity: Floats, length: int) -> Floats:
    """For each n-gram of `length` tokens, by its start: the rarity of its tokens that the query holds, over the query's."""
    held = np.unique(np.asarray(query, np.int64))
    tokens = np.asarray(document)
    worth = np.where(np.isin(tokens, held), rarity[tokens], 0.0)
    sums = np.concatenate([[0.0], np.cumsum(worth)])
    shares: Floats = (sums[length:] - sums[:-length]) / max(float(rarity[held].sum()), 1e-9)
    return shares
