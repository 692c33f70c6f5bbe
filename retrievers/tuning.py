"""Settings chosen on the dev split: BM25's fields, k1 and b, and the hybrid's weight and normalisation.

Invariants: only dev queries and judgements are looked at; every choice comes with the whole grid it was made from; of settings that
do equally well on dev the one nearest to the usual wins, so that a plateau says nothing it does not know: for BM25 the usual fields
first (title and text), then k1 and b near Anserini's .9 and .4; for a weight the nearest to one half (`retrievers.fusion.tune`).

Known gap: `tune_bm25` compares its fields and parameters on the same dev queries, so that on a small dev split the best value is a
little too good; the figures that count are those of another split.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

from tqdm import tqdm

from genir.errors import ConfigError, DataError, unknown_name
from genir.measures import evaluate, parse_measure
from genir.records import Document, Qrels, Query, Run
from retrievers.bm25 import FIELDS, BM25Retriever, BM25Settings
from retrievers.fusion import Normalisation, Tuned, reciprocal_rank_fusion, tune

MEASURE = "nDCG@10"
_DEPTH = 100


@dataclass(frozen=True)
class BM25Grid:
    """What to try: every choice of fields with every k1 and b."""

    # The usual one first: it wins a tie. A field that is named twice counts twice, so the second and the third raise titles.
    fields: tuple[str, ...] = ("title+text", "title+title+text", "title+title+title+title+text", "text", "title")
    k1: tuple[float, ...] = (0.5, 0.7, 0.9, 1.2, 1.6, 2.0)
    b: tuple[float, ...] = (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)

    def __post_init__(self) -> None:
        if not (self.fields and self.k1 and self.b):
            raise ConfigError(f"an empty grid: {self}; expected at least one choice of fields, one k1 and one b")
        for choice in self.fields:
            for field in choice.split("+"):
                if field not in FIELDS:
                    raise unknown_name("document field", field, FIELDS)

    def points(self) -> Iterable[tuple[tuple[str, ...], float, float]]:
        """(fields, k1, b), the fields changing last."""
        return ((tuple(choice.split("+")), k1, b) for choice, k1, b in product(self.fields, self.k1, self.b))


@dataclass(frozen=True)
class TunedBM25:
    """The best settings on dev, their value, and the grid: a row for every point, {fields, k1, b, value}."""

    settings: BM25Settings
    value: float
    measure: str
    queries: int
    seconds: float
    grid: tuple[Mapping[str, Any], ...]


def tune_bm25(
    corpus: Sequence[Document],
    queries: Sequence[Query],
    qrels: Qrels,
    grid: BM25Grid | None = None,
    measure: str = MEASURE,
) -> TunedBM25:
    """Search `queries` with every point of the grid; the best mean measure wins.

    Raises DataError where there is no query to tune on, ConfigError for an unknown measure or an impossible k1 or b.
    """
    grid = grid or BM25Grid()
    if not queries:
        raise DataError("nothing to tune on: the dev split has no queries; add qrels/dev.tsv")
    usual, begun = BM25Settings(), time.monotonic()
    depth = parse_measure(measure).params.get("cutoff", _DEPTH)  # no deeper than the measure looks
    points = list(grid.points())
    settings = [BM25Settings(k1=k1, b=b, fields=fields) for fields, k1, b in points]  # all checked before the long work
    rows: list[dict[str, Any]] = []
    tokens: _Tokens = {}
    read: tuple[str, ...] = ()
    for one in tqdm(settings, desc="tuning BM25", delay=2, leave=False):
        if one.fields != read:
            tokens.pop("documents", None)
            read = one.fields
        run = _ReadOnce(one, tokens).build(corpus).search(queries, depth)
        (value,) = evaluate(run, qrels, [measure]).means.values()
        rows.append({"fields": "+".join(one.fields), "k1": one.k1, "b": one.b, "value": round(value, 6)})

    def merit(place: int) -> tuple[float, int, float, int]:
        row = rows[place]
        far = abs(row["k1"] - usual.k1) / usual.k1 + abs(row["b"] - usual.b) / usual.b
        return row["value"], -grid.fields.index(row["fields"]), -round(far, 9), -place

    best = max(range(len(rows)), key=merit)
    seconds = round(time.monotonic() - begun, 2)
    return TunedBM25(settings[best], rows[best]["value"], measure, len(queries), seconds, tuple(rows))


@dataclass(frozen=True)
class TunedHybrid:
    """The best weight of the first run and its normalisation, with the whole curve of each, and what reciprocal ranks give."""

    weight: float
    normalisation: Normalisation
    value: float
    measure: str
    curves: Mapping[str, tuple[tuple[float, float], ...]]
    reciprocal_rank_value: float

    def as_settings(self) -> dict[str, Any]:
        """What `retrievers.fusion.HybridRetriever` takes."""
        return {"weight": self.weight, "normalisation": self.normalisation}


def tune_hybrid(first: Run, second: Run, qrels: Qrels, measure: str = MEASURE, steps: int = 20) -> TunedHybrid:
    """Try every weight under every normalisation on the (dev) qrels; of equals min-max, and the weight nearest to 1/2."""
    names: tuple[Normalisation, ...] = get_args(Normalisation)
    tuned: dict[Normalisation, Tuned] = {
        name: tune(first, second, qrels, measure, steps, normalisation=name) for name in names
    }
    best = max(names, key=lambda name: tuned[name].value)  # the first of equals
    judged = [Run(run.name, {key: run.rankings.get(key, ()) for key in qrels}) for run in (first, second)]
    (ranks,) = evaluate(reciprocal_rank_fusion(judged, _DEPTH), qrels, [measure]).means.values()
    curves: dict[str, tuple[tuple[float, float], ...]] = {name: one.curve for name, one in tuned.items()}
    return TunedHybrid(tuned[best].weight, best, tuned[best].value, measure, curves, ranks)


_Tokens = dict[str, list[list[str]]]


class _ReadOnce(BM25Retriever):
    """BM25 whose documents and queries are tokenised once for all k1 and b: that takes longer than indexing them."""

    def __init__(self, settings: BM25Settings, tokens: _Tokens) -> None:
        super().__init__(**{name: getattr(settings, name) for name in BM25Settings.__slots__})
        self.tokens = tokens

    def _tokenise(self, texts: Iterable[str], total: int, label: str) -> list[list[str]]:
        kind = "documents" if label else "queries"
        if kind not in self.tokens:
            self.tokens[kind] = super()._tokenise(texts, total, label)
        return self.tokens[kind]
