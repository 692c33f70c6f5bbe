"""The control: identifiers of the residual scheme's shape that know nothing of the documents.

What a model reaches with these it owes to memory alone; every table of results carries them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from docids.distinct import check_room
from docids.table import DocIDTable, doc_ids_of, level_tokens
from genir.records import Document


def random_codes(documents: int, levels: int, codes: int, seed: int = 0) -> np.ndarray:
    """Shape (documents, levels), int64: distinct rows of codes 0..codes-1, uniform among all sets of distinct rows.

    Raises ConfigError where codes ** levels is less than `documents`.
    """
    room = check_room(documents, levels, codes)
    rng = np.random.default_rng(seed)
    if room <= 4 * documents:
        numbers = rng.permutation(room)[:documents]
        return np.stack([numbers // codes**level % codes for level in reversed(range(levels))], axis=1)
    rows: dict[tuple[int, ...], None] = {}
    while len(rows) < documents:  # drawing again where a row stands already leaves the others uniform
        drawn = rng.integers(codes, size=(documents - len(rows), levels))
        rows.update(dict.fromkeys(map(tuple, drawn.tolist())))
    return np.array(list(rows), dtype=np.int64)


@dataclass
class RandomScheme:
    """Uniformly random distinct identifiers of `levels` tokens, `codes` to a level."""

    levels: int = 8
    codes: int = 256
    seed: int = 0
    name: str = field(default="random", init=False)

    def __post_init__(self) -> None:
        check_room(1, self.levels, self.codes)

    def assign(self, corpus: Sequence[Document]) -> DocIDTable:
        """Identifiers with tokens level * codes + code.

        Raises DataError for a bad corpus, ConfigError where they do not suffice.
        """
        doc_ids = doc_ids_of(corpus)
        rows = random_codes(len(doc_ids), self.levels, self.codes, self.seed)
        return DocIDTable(
            self.name,
            {doc_id: level_tokens(row, self.codes) for doc_id, row in zip(doc_ids, rows, strict=True)},
            vocab_size=self.levels * self.codes,
            settings={"levels": self.levels, "codes": self.codes, "seed": self.seed},
            codes_per_level=self.codes,
        )
