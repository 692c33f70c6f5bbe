"""The documents' tables of figures, made from the files under results/: `python -m experiments.readme_tables` writes them.

A table stands between `<!-- figures: begin NAME -->` and `<!-- figures: end NAME -->`. A test holds documents and results equal.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.quality.tables import ablation_table, costs_table, labels_table, parts_table, quality_table
from experiments.tables import markdown

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
DECODERS = {
    "hf_vocabulary": "Hugging Face, softmax over everything, float32",
    "hf_allowed": "Hugging Face, over the allowed tokens, float32",
    "hf_allowed_bf16": "Hugging Face, over the allowed tokens, bfloat16",
    "ours_vocabulary_fp32": "genir, softmax over everything, float32",
    "ours_vocabulary_bf16": "genir, softmax over everything, bfloat16",
    "ours_fp32": "genir, over the allowed tokens, float32",
    "ours_bf16": "genir, over the allowed tokens, bfloat16",
    "unconstrained": "genir, free choice among each step's tokens, float32",
}
FACTS = {
    "constraint_share": "share of our time in the constraint",
    "share_of_peak_fp32": "share of a large matrix product's rate, float32",
    "share_of_peak_bf16": "the same in bfloat16",
    "bf16_same_identifiers": "identifiers that bfloat16 finds, too",
}
CONSTRAINT = {
    "build, s": ("build_s", ".3g"),
    "from an array, s": ("build_array_s", ".3g"),
    "bytes each": ("bytes_per_id", ".1f"),
    "load, ms": ("load_ms", ".1f"),
    "1,000 more, ms": ("update_ms", ".1f"),
    "step, µs": ("step_us", ".0f"),
    "search, ms": ("search_ms", ".1f"),
}

ENGINES = {
    "hf": "Hugging Face `generate`",
    "hf_continuous": "Hugging Face `generate_batch`",
    "vllm": "vLLM",
    "no_cache": "genir, two stages, no cache",
    "one_by_one": "genir, two stages, one request after another",
    "naive": "genir, two stages, one micro-batch in flight",
    "ring": "genir, two stages, ring",
    "one_stage": "genir, one stage",
}
GROUPS = {"single": "1 request", "size_1": "4, one at a time each", "batch_16": "16 requests", "size_8": "32 requests"}
CLAIMS = {
    "halueval-qa": "HaluEval's questions",
    "halueval-qa-matched": "those of them that differ by at most a word",
    "squad-swapped": "another span of the same passage and kind",
    "scifact": "SciFact, SUPPORT against CONTRADICT",
}
INTERVALS = ("trained", "features")  # checkers whose AUROC is shown with its interval
READERS = {"span": "`span`", "llama": "`llama`"}
EVIDENCE = {
    "oracle": "oracle passage",
    "bm25, 5 passages": "five passages of BM25",
    "squad2-dev, own passage": "SQuAD 2.0, own paragraph",
}
RETRIEVERS = {  # of results/grounding: with what each reader answers
    "none": "none",
    "random": "random passages",
    "bm25": "BM25",
    "dense": "dense, fine-tuned",
    "hybrid": "hybrid of the two",
    "generative": "generative",
    "oracle": "oracle passage",
}
ANSWERING = {  # reader -> its data set of results/grounding, and how the rows of its arms end
    "`span`, always": ("squad-small, every question answered", ""),
    "`span`": ("squad-small", ""),
    "`llama`": ("squad-small", ", llama"),
    "`extractive`": ("squad-small", ", extractive"),
}
STEPS = {  # data set of results/grounding -> the arm that its steps change, and who reads there
    "atlas": ("generative", "atlas, the demo's reader"),
    "squad-small, 300 questions": ("generative", "300 questions of squad-small, `span`"),
    "atlas, joint model": ("joint", "atlas, a joint model"),
}
SPENT = {"calls": "model calls", "searches": "searches", "seconds": "seconds"}


def tables(results: Path) -> dict[str, dict[str, str]]:
    """Document -> name -> table, made anew from `results`."""
    quality = _read(results / "quality" / "summary.json")
    datasets = sorted({name.partition(" (")[0] for name in quality})
    readme = {
        "schemes": _schemes(_read(results / "schemes" / "summary.json")),
        "grounding": _grounding(_read(results / "demo" / "grounding.json")),
        "decode": _decode(results / "decode"),
        "constraint": _constraint(_read(results / "decode" / "constraint.json")),
        "generate": _generate(_read(results / "generate" / "ladder.json")),
        "train": _train(_read(results / "train" / "train.json")),
        "quality": quality_table(quality),
        "parts": parts_table({name: _read(results / "quality" / f"{name}.json") for name in datasets}),
        "costs": costs_table(_read(results / "quality" / "squad-small.json")["splits"]["test"]["costs"]),
        "labels": labels_table(_read(results / "quality" / "labels-squad-small.json")),
        "checkers": _checkers(_read(results / "grounding" / "summary.json")["checker"]),
        "readers": _readers({name: _read(results / "readers" / name / "evaluation.json") for name in READERS}),
        "retrievers": _retrievers(_read(results / "grounding" / "summary.json")),
        "mitigations": _mitigations(_read(results / "grounding" / "summary.json")),
    }
    ablation = ablation_table(_read(results / "quality" / "ablation-squad-small.json"))
    return {"README.md": readme, "docs/training.md": {"ablation": ablation}}


def fill(text: str, tables: Mapping[str, str]) -> str:
    """A document's text with `tables` in their places."""
    for name, table in tables.items():
        begin, end = f"<!-- figures: begin {name} -->\n", f"<!-- figures: end {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"there is no place for the table {name!r}"
        text = before + begin + table + end + after
    return text


def _generate(figures: Mapping[str, Any]) -> str:
    """Generated tokens/s: engines down, numbers of requests in both precisions across."""
    ladder = figures["ladder"]
    columns = [(dtype, group) for group in GROUPS for dtype in ladder]
    rows = []
    for engine, label in ENGINES.items():
        rates = [ladder[dtype]["groups"][group].get(engine) for dtype, group in columns]
        rows.append([label, *("" if rate is None else f"{rate['tokens_per_second']:.0f}" for rate in rates)])
    return markdown(["tokens/s", *(f"{GROUPS[group]}, {dtype}" for dtype, group in columns)], rows)


def _train(figures: Mapping[str, Any]) -> str:
    """Examples a second of every loop, set-up included, as one epoch and as later ones have it."""
    rates, later = figures["examples_per_second"], figures["examples_per_second_later_epochs"]
    rows = [
        [label, f"{rates[name]:.1f}", f"{rates[name] / rates['trainer']:.2f}", f"{later[name] / later['trainer']:.2f}"]
        for name, label in figures["labels"].items()
    ]
    return markdown(["examples/s", "first epoch", "times the Trainer", "later epochs, times"], rows)


def _checkers(figures: Mapping[str, Any]) -> str:
    """AUROC: data sets down, trivial baselines and checkers across."""
    first = next(iter(figures.values()))
    others = list(first["others"])
    rows = [
        [
            f"{CLAIMS[name]} ({found['pairs']} wrong ones)",
            *(f"{found[baseline]:.3f}" for baseline in ("length", "containment")),
            *(_auroc(name, one) for name, one in [(found["name"], found), *found["others"].items()]),
        ]
        for name, found in figures.items()
    ]
    return markdown(["right against wrong claims", "length", "containment", first["name"], *others], rows)


def _auroc(checker: str, found: Mapping[str, Any]) -> str:
    """A checker's figure, with its interval for trained ones; a star where it is above containment by more than chance."""
    star = "*" if found["differences"]["containment"]["low"] > 0 else ""
    interval = f" [{found['low']:.3f}, {found['high']:.3f}]" if checker in INTERVALS else ""
    return f"{found['auroc']:.3f}{star}{interval}"


def _readers(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Readers and their evidence down; every question answered, then what is below the reader's own threshold withheld, across."""
    rows = []
    for name, arms in evaluations.items():
        for arm, label in EVIDENCE.items():
            always, abstaining = arms[arm]["always"], arms[arm]["abstaining"]
            cells = [_mean(always, measure) for measure in ("EM", "F1")]
            cells += [
                _mean(abstaining, measure) for measure in ("EM", "F1", "hallucination", "over-refusal", "refusal")
            ]
            rows.append([f"{READERS[name]}, {label}", *cells])
    head = ["reader and evidence", "EM", "F1", "EM at its threshold", "F1 at it", "wrong answers"]
    return markdown([*head, "answerable refused", "unanswerable refused"], rows)


def _retrievers(summary: Mapping[str, Any]) -> str:
    """Retrievers down, readers and measures across; a star where a figure differs from BM25's with the same reader."""
    measures = ("F1", "hallucination", "AURC")
    rows = []
    for name, label in RETRIEVERS.items():
        arms = [summary[dataset][f"{name}{ending}"] for dataset, ending in ANSWERING.values()]
        rows.append([label, *(_mean(found, measure) for found in arms for measure in measures)])
    return markdown(["evidence", *(f"{reader}: {measure}" for reader in ANSWERING for measure in measures)], rows)


def _mitigations(summary: Mapping[str, Any]) -> str:
    """Each reader's arm and what steps make of it, down; a star where a difference from the arm is significant."""
    measures = ("EM", "F1", "hallucination", "hallucination of answered", "coverage")
    rows = []
    for name, (arm, label) in STEPS.items():
        for row, found in summary[name].items():
            if row == arm or row.startswith(f"{arm} + "):
                costs = [f"{found[cost]['mean']:.3g}" for cost in SPENT]
                if row == arm:
                    rows.append([f"**{label}**", *(f"{found[measure]['mean']:.3f}" for measure in measures), *costs])
                else:
                    rows.append(
                        [row.removeprefix(f"{arm} + "), *(_mean(found, measure) for measure in measures), *costs]
                    )
    return markdown(["reader, and what each step makes of it", *measures, *SPENT.values()], rows)


def _mean(found: Mapping[str, Any], measure: str) -> str:
    """A mean, with a star where it differs from that of the row it is compared with by more than chance; nothing where undefined."""
    if measure not in found:
        return ""
    star = "*" if found[measure].get("delta", {}).get("p_corrected", 1) < 0.05 else ""
    return f"{found[measure]['mean']:.3f}{star}"


def _schemes(summary: Mapping[str, Any]) -> str:
    [systems] = summary.values()
    measures = list(systems["bm25"])
    rows = [
        [label, *(f"{systems[name][measure]['mean']:.3f}" for measure in measures)]
        for name, label in SYSTEMS.items()
        if name in systems
    ]
    return markdown(["system", *measures], rows)


def _grounding(grounding: Mapping[str, Any]) -> str:
    measures = ("EM", "F1", "hallucination", "abstention", "refusal")
    arms = {row["arm"]: row for row in grounding["rows"]}
    rows = [
        [label, *("" if arms[name][measure] is None else f"{arms[name][measure]:.3f}" for measure in measures)]
        for name, label in ARMS.items()
    ]
    return markdown(["evidence", *measures], rows)


def _decode(folder: Path) -> str:
    cases = {name: _read(folder / f"{name}.json") for name in ("decode", "decode-batch-1", "decode-titles")}
    head = ["queries/s (times Hugging Face)", *(_case(figures["settings"]) for figures in cases.values())]
    rows = []
    for name, label in DECODERS.items():
        base = "hf_vocabulary_qps" if "vocabulary" in name else "hf_qps"
        rows.append(
            [label, *(f"{f[f'{name}_qps']:.1f} ({f[f'{name}_qps'] / f[base]:.2f})" for f in cases.values())],
        )
    for key, label in FACTS.items():
        rows.append([label, *(f"{figures[key]:.3f}" for figures in cases.values())])
    return markdown(head, rows)


def _case(settings: Mapping[str, Any]) -> str:
    kind = "titles" if settings["scheme"] == "title" else "semantic identifiers"
    return f"{settings['docs']:,} {kind}, batch {settings['batch']}"


def _constraint(figures: Mapping[str, Any]) -> str:
    published = {row["docs"]: row for row in figures["static_published"]}
    rows = []
    for row in figures["rows"]:
        cells = [f"{row[key]:{style}}" for key, style in CONSTRAINT.values()]
        beside = published.get(row["docs"])
        rows.append(
            [f"{row['docs']:,}", *cells, f"{beside['step_us']:.0f} / {beside['search_ms']:.0f}" if beside else ""]
        )
    return markdown(["identifiers", *CONSTRAINT, "STATIC's step / search"], rows)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for document, found in tables(ROOT / "results").items():
        path = ROOT / document
        path.write_text(fill(path.read_text(encoding="utf-8"), found), encoding="utf-8")
