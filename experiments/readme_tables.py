"""The README's tables of figures, made from the files under results/: `python -m experiments.readme_tables` writes them.

A table stands between `<!-- figures: begin NAME -->` and `<!-- figures: end NAME -->`. A test holds README and results equal.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {
    "bm25": "BM25",
    "dense": "dense (all-MiniLM-L6-v2, zero-shot)",
    "hybrid": "hybrid of the two",
    "residual-untrained": "generative, residual, untrained",
    "residual": "generative, residual",
    "hierarchical": "generative, hierarchical",
    "atomic": "generative, atomic",
    "random": "generative, random (control)",
}
ARMS = {
    "closed-book": "none (closed-book)",
    "generative": "generative",
    "bm25": "BM25",
    "dense": "dense",
    "oracle": "oracle passage",
    "random": "random passage",
}


def fill(readme: str, results: Path) -> str:
    """The README's text with every table made anew from `results`."""
    tables = {
        "schemes": _schemes(_read(results / "schemes" / "summary.json")),
        "grounding": _grounding(_read(results / "demo" / "grounding.json")),
        "decode": _decode(_read(results / "decode" / "decode.json")),
    }
    for name, table in tables.items():
        begin, end = f"<!-- figures: begin {name} -->\n", f"<!-- figures: end {name} -->"
        before, _, rest = readme.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"README.md has no place for the table {name!r}"
        readme = before + begin + table + end + after
    return readme


def _schemes(summary: Mapping[str, Any]) -> str:
    [systems] = summary.values()
    measures = list(systems["bm25"])
    rows = [
        [label, *(f"{systems[name][measure]['mean']:.3f}" for measure in measures)]
        for name, label in SYSTEMS.items()
        if name in systems
    ]
    return _table(["system", *measures], rows)


def _grounding(grounding: Mapping[str, Any]) -> str:
    measures = ("EM", "F1", "hallucination", "abstention", "refusal")
    arms = {row["arm"]: row for row in grounding["rows"]}
    rows = [
        [label, *("" if arms[name][measure] is None else f"{arms[name][measure]:.3f}" for measure in measures)]
        for name, label in ARMS.items()
    ]
    return _table(["evidence", *measures], rows)


def _decode(figures: Mapping[str, Any]) -> str:
    theirs = "Hugging Face `generate`, `prefix_allowed_tokens_fn`"
    rows = [
        [theirs, f"{figures['hf_qps']:.1f}", "1"],
        ["genir beam search", f"{figures['ours_fp32_qps']:.1f}", f"{figures['speedup_fp32']:.2f}"],
    ]
    return _table(["decoder", "queries/s", "ratio"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(fill(path.read_text(encoding="utf-8"), ROOT / "results"), encoding="utf-8")
