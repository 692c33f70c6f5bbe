"""Options of `genir answer`."""

from typing import Annotated

import typer

Question = Annotated[str, typer.Argument(help="The question.")]
Retriever = Annotated[
    str | None,
    typer.Option(
        "--retriever",
        help="generative, ngram, bm25, dense, hybrid, tfidf, or none (closed-book); joint: a joint model's own.",
        show_default="generative with --model, else bm25; joint where --generator is a joint model",
    ),
]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help="extractive (the best sentence), span or llama (readers whose weights ship, for English; both copy their answer out of a "
        "passage), a reader folder (runs/demo/reader), any Hugging Face causal language model by name or folder, or KIND:SOURCE: joint:DIR "
        "(of `genir train-joint`: finds its passage by itself unless a --retriever is named), llama:FOLDER, vllm:NAME, openai:URL.",
        show_default="span where its weights ship and the question is English, else extractive",
    ),
]
Passages = Annotated[int, typer.Option("-k", help="Passages to read; a joint model reads the best one.")]
Checker = Annotated[
    str | None,
    typer.Option(
        "--checker",
        metavar="KIND",
        help="What says whether a claim is supported: features (the trained one that ships; English), lexical, embedding[:NAME], nli:NAME "
        "(any Hugging Face NLI model), trained:DIR (of `genir rag train-checker`).",
        show_default="features with the extra dense, else lexical",
    ),
]
FollowUps = Annotated[
    list[str] | None,
    typer.Option(
        "--follow-up",
        help="A further question of the same conversation; give it again for more. Each is answered with those before it in view.",
        show_default="none",
    ),
]
Condense = Annotated[
    str, typer.Option("--condense", help="What makes a follow-up complete for the search: rules, or the generator.")
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        help="Wording of a language model's prompt: plain, labelled or polite, or your own file, NAME.toml.",
        show_default="plain",
    ),
]
Language = Annotated[
    str, typer.Option("--language", help="Language of the wording: en or zh, or auto for the question's.")
]
Shots = Annotated[
    int, typer.Option("--shots", min=0, help="Worked examples in a language model's prompt, of the train split.")
]
ShotsBy = Annotated[str, typer.Option("--shots-by", help="How to choose them: similar (to the question) or random.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the random choice.")]
Stream = Annotated[
    bool, typer.Option("--stream", help="Print the text as it is written; with --json as one JSON object a line.")
]
SearchBelow = Annotated[
    float | None,
    typer.Option(
        "--search-below",
        min=0.0,
        max=1.0,
        help="Answer from memory first, and search only where the confidence of that answer is at most so much; `genir rag eval "
        "--conditions gate` finds the figure for your data.",
        show_default="always search",
    ),
]
