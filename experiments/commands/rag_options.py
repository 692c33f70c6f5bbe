"""The options of `genir rag eval`: what is read, by which readers, and how it is measured."""

from pathlib import Path
from typing import Annotated

import typer

Figures = Annotated[
    Path,
    typer.Option("--out", help="Folder for the figures; other data sets' stay there.", show_default=False),
]
Arms = Annotated[
    str,
    typer.Option(
        "--retrievers",
        help="Arms, separated by commas: none (closed-book), random, oracle, bm25, tfidf, dense, hybrid, generative, ngram, "
        "joint (a joint model's own, with --generator joint:DIR).",
    ),
]
Readers = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help="Readers, separated by commas, as for `genir answer`; KEY=VALUE behind llama:NAME are its settings, min_confidence=X "
        "behind span or llama, copy=false behind joint:DIR.",
        show_default="span where it ships, else extractive",
    ),
]
Mitigations = Annotated[
    str,
    typer.Option(
        "--mitigations",
        help="Steps, separated by commas: contrast, copy-decode, verify-and-edit, verify, edit, copy, abstain. Each alone, and all of them "
        "one behind another in this order, however they are given: what reads anew first (contrast and copy-decode each in a row of its "
        "own), abstain last.",
    ),
]
Conditions = Annotated[
    str,
    typer.Option(
        "--conditions",
        help="Separated by commas: poisoned, removed, distractors, push-back, popularity, unanswerable, wording, gate (retrieve or not: "
        "never, always, or where the closed-book answer is unsure; for readers that answer closed-book, which extractive and span do not).",
    ),
]
Split = Annotated[str, typer.Option("--split", help="Split to measure on.")]
Limit = Annotated[int, typer.Option("--limit", help="Questions at most, from all over the split; 0 for all.")]
Passages = Annotated[int, typer.Option("-k", help="Passages to read.")]
Checker = Annotated[
    str | None,
    typer.Option(
        "--checker",
        help="What judges claims: features (the trained one that ships), lexical, embedding[:NAME], nli:NAME, trained:DIR.",
        show_default="features for English with the extra dense, else lexical",
    ),
]
Against = Annotated[
    str | None,
    typer.Option("--against", help="Arm that the others are compared with.", show_default="bm25, else the first"),
]
Loss = Annotated[
    str,
    typer.Option(
        "--loss",
        help="What is wrong, for calibration and risk-coverage: hallucination (no exact match) or fact-conflicting (for readers that "
        "answer in sentences).",
    ),
]
Coverage = Annotated[
    float, typer.Option("--coverage", help="Share of the dev questions with an answer that the tuned threshold keeps.")
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        help="What abstain is tuned for on dev: coverage (keep --coverage, with the least risk), or risk (answer as many as --risk, "
        "guaranteed with probability .9, allows).",
    ),
]
Risk = Annotated[
    float, typer.Option("--risk", help="Share of wrong ones among the answered that --target risk allows.")
]
Signal = Annotated[
    str,
    typer.Option(
        "--signal",
        help="What abstain and verify-and-edit decide by: confidence (the reader's), support (the checker's), or consistency (the share of "
        "samples that agree; for language models).",
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        "--samples",
        help="Replies drawn from each language model to each question, for unigram inconsistency (SelfCheckGPT), semantic entropy and "
        "log-probability; 0 for none.",
    ),
]
Temperature = Annotated[float, typer.Option("--temperature", help="Of samples.")]
SearchPrice = Annotated[
    float, typer.Option("--search-price", help="What a search costs condition gate, in F1 a question.")
]
Entities = Annotated[
    str | None,
    typer.Option(
        "--entities", help="Of atlas: questions about entities seen or unseen in training.", show_default="all"
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", help="What the summary calls the data set.", show_default="the folder's name"),
]
Seed = Annotated[int, typer.Option("--seed", help="Of all that is drawn, and of the bootstrap.")]
Resamples = Annotated[
    int, typer.Option("--resamples", help="Of the bootstrap of figures that are no means (AURC, ECE).")
]
Work = Annotated[
    Path | None,
    typer.Option(
        "--work",
        help="Folder for runs and answers; finished ones are reused.",
        show_default="runs/grounding/DATASET",
    ),
]
