"""What tests of stages as processes share: prompts, the engine run to its end, and which processes are left."""

import os
from pathlib import Path

from genir.protocols import SamplingParams
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.pipeline import ProcessPipeline

PROMPTS = ["once upon a time there was", "a", "the cat", "a longer prompt than the others, in several chunks"]
GREEDY = SamplingParams(max_new_tokens=16)
ENDLESS = SamplingParams(max_new_tokens=100, ignore_eos=True)


def processes(engine: LlamaEngine) -> list[int]:
    assert isinstance(engine._pipeline, ProcessPipeline)
    assert engine._pipeline._launched is not None
    return [process.pid for process in engine._pipeline._launched.processes]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def run(engine: LlamaEngine) -> None:
    while engine.has_work:
        engine.step()


def written_by_one(folder: Path) -> list[tuple[int, ...]]:
    """What one stage writes after the prompts, greedily."""
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        return [one.tokens for one in engine.generate(PROMPTS, GREEDY)]
