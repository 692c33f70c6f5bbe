"""What an evaluation writes question by question: every answer with its prompt and calls, and the values behind the table of arms.

A line's `prompt` is the one that the answer was read with, or, in a row of mitigations, that the answer before them was read with: null
for a reader without prompts, where none was asked, and where the first step reads in another way. Its `calls` are the prompts and replies
of the steps, in order; of a reader without prompts there are none, whatever its steps asked it. Replies sampled to measure consistency
(`--samples`) stand below the work folder alone.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from experiments.rag_evaluation.bench import Part
from experiments.rag_evaluation.conditions import is_of
from experiments.rag_evaluation.figures import TESTED
from experiments.rag_evaluation.reading import Answered
from genir.manifest import write_atomically

KEPT = (*TESTED, "confidence")  # measures whose values are written question by question


def heading(name: str, part: Part) -> str:
    """What the summary calls a part of the data set `name`."""
    return f"{name} ({part.label})" if part.label else name


def write_per_query(path: Path, part: Part) -> None:
    """The values behind the base table: row -> {questions, measure -> values in their order}, null where a measure does not apply."""
    table: dict[str, Any] = {}
    for name, row in part.rows.items():
        questions = list(row.values["coverage"])
        table[name] = {"questions": questions} | {
            measure: [row.values[measure].get(one) for one in questions] for measure in KEPT if measure in row.values
        }
    text = json.dumps(table, ensure_ascii=False) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def merge_answers(path: Path, name: str, parts: list[Part]) -> None:
    """Write the answers of the data set `name` behind those of other data sets."""

    def lines() -> Iterator[str]:
        if path.is_file():
            with path.open(encoding="utf-8") as old:
                yield from (line for line in old if not is_of(json.loads(line)["data"], name))
        for part in parts:
            for arm, answered in part.answered.items():
                yield from _answer_lines(heading(name, part), arm, answered)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines())

    write_atomically(path, write)


def _answer_lines(data: str, arm: str, answered: Answered) -> Iterator[str]:
    calls = chain(answered.calls, repeat(()))  # of a list without steps there are none at all
    for query, prompt, answer in zip(answered.queries, answered.prompts, answered.answers, strict=True):
        told = {
            "data": data,
            "arm": arm,
            "accepted": list(query.answers),
            "prompt": prompt,
            "calls": [asdict(one) for one in next(calls)],
            "answer": asdict(answer),
        }
        yield json.dumps(told, ensure_ascii=False) + "\n"
