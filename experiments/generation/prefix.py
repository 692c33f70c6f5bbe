"""What sharing prompts' beginnings saves where a retriever writes the prompts, and how full the cache's blocks are meanwhile.

Prompts are the project's own: BM25's best passages of a data set, in the default template. Two streams of questions: in the data set's
order, where neighbours ask about one passage, as people do, and in random order, where little but the template is common. The model's
weights do not matter, but its tokens do: the random model's tokenizer writes one a byte.
"""

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genir.protocols import SamplingParams
from genir.records import Dataset, Query
from rag.llama.engine import EngineOptions, LlamaEngine


@dataclass(frozen=True)
class PrefixSizes:
    """How many questions are asked, and of what. `data` None: nothing is measured."""

    data: Path | None = None
    questions: int = 24
    passages: int = 2
    new_tokens: int = 32
    running: int = 16
    cores: int = 2
    seed: int = 0


def prefix_sharing(folder: Path, sizes: PrefixSizes) -> list[dict[str, Any]] | dict[str, str]:
    """A row a stream: prompt tokens, the share not computed again, waste, and seconds with and without sharing; or {"skipped": why}."""
    if sizes.data is None:
        return {"skipped": "needs questions and passages: give --data DIR"}
    from genir.formats import load_dataset

    dataset = load_dataset(sizes.data, ["test"])
    asked = dataset.split("test")
    drawn = random.Random(sizes.seed).sample(asked, min(sizes.questions, len(asked)))
    streams = {"neighbours ask alike": list(asked[: sizes.questions]), "random order": drawn}
    options = EngineOptions(dtype="float32", threads=sizes.cores, max_running=sizes.running)
    engine = LlamaEngine(folder, options)  # not started: asked for lengths alone
    prompts = {name: prompts_of(dataset, queries, sizes, engine) for name, queries in streams.items()}
    return [{"questions": name} | _measure(folder, options, texts, sizes.new_tokens) for name, texts in prompts.items()]


def prompts_of(dataset: Dataset, queries: list[Query], sizes: PrefixSizes, engine: LlamaEngine) -> list[str]:
    """What a generator is asked: as much of BM25's best passages as its context holds, and the question, in the default template."""
    from rag.prompt import DEFAULT_TEMPLATE, build_prompt
    from retrievers.bm25 import BM25Retriever

    run = BM25Retriever().build(dataset.corpus).search(queries, sizes.passages)
    documents = dataset.documents()
    found = [[documents[one.doc_id] for one in run.rankings.get(query.query_id, ())] for query in queries]
    budget = engine.context_length() - sizes.new_tokens
    return [
        build_prompt(query.text, passages, DEFAULT_TEMPLATE, budget, engine.count_tokens)
        for query, passages in zip(queries, found, strict=True)
    ]


def _measure(folder: Path, options: EngineOptions, prompts: list[str], new_tokens: int) -> dict[str, Any]:
    params = SamplingParams(max_new_tokens=new_tokens, ignore_eos=True, logprobs=False)
    row: dict[str, Any] = {"prompts": len(prompts)}
    for sharing in (True, False):
        with LlamaEngine(folder, replace(options, prefix_sharing=sharing)) as engine:
            engine.generate(["a"], params)  # warms up
            engine.reset_statistics()
            started = time.perf_counter()
            engine.generate(prompts, params)
            seconds, found = time.perf_counter() - started, engine.statistics()
        if sharing:
            read = found.prefill_tokens + found.cache.shared_tokens
            row |= {"prompt_tokens": read, "shared": found.cache.shared_tokens / read, "seconds": seconds}
            row["cache_waste"] = found.cache.waste
        else:
            row["seconds_without_sharing"] = seconds
    return row
