"""What mitigation steps asked of models, answer by answer, as a file: a line an answer, with its calls, prompt and reply, in order.

Invariant: a file is looked through line by line, whenever it is needed: calls are many and long, and a table has many rows of them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from genir.manifest import write_atomically
from rag.mitigations.cost import Call

_CALLS = "calls.jsonl"


@dataclass(frozen=True)
class KeptCalls:
    """The calls behind each answer, as `path` has them; can be iterated more than once."""

    path: Path

    def __iter__(self) -> Iterator[Sequence[Call]]:
        with self.path.open(encoding="utf-8") as stream:
            for line in stream:
                yield [Call(**one) for one in json.loads(line)]


def write_calls(calls: Iterable[Sequence[Call]], folder: Path) -> None:
    """Write calls.jsonl into `folder`; no file where there is no call at all."""
    kept = list(calls)
    if any(kept):
        write_atomically(folder / _CALLS, lambda temporary: _write(temporary, kept))


def kept_calls(folder: Path) -> Iterable[Sequence[Call]]:
    """The calls that `folder` holds; nothing where it has no file of them."""
    path = folder / _CALLS
    return KeptCalls(path) if path.is_file() else ()


def _write(path: Path, calls: Iterable[Sequence[Call]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for several in calls:
            stream.write(json.dumps([asdict(one) for one in several], ensure_ascii=False) + "\n")
