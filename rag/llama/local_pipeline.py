"""What the engine drives, and its simplest form: one stage in this very process."""

from collections import deque
from typing import Protocol

from rag.llama.batch import MicroBatch, StepResult
from rag.llama.runner import StageCounters, StageRunner, StageSetup


class Pipeline(Protocol):
    """What the engine drives: micro-batches in, results out, in the same order."""

    def start(self) -> None:
        """Load the stages."""
        ...

    def send(self, batch: MicroBatch) -> None:
        """Let a micro-batch in."""
        ...

    def receive(self) -> StepResult:
        """The oldest result that has not been taken. Raises StageError, naming the stage, where none can come."""
        ...

    def counters(self) -> list[StageCounters]:
        """Per stage, since the start."""
        ...

    def close(self) -> None:
        """End the stages; nothing of them is left."""
        ...


class LocalPipeline:
    """One stage in this very process: no process group, no socket."""

    def __init__(self, setup: StageSetup) -> None:
        self.runner = StageRunner(setup)
        self._results: deque[StepResult] = deque()

    def start(self) -> None:
        """Load the stage."""
        self.runner.load()

    def send(self, batch: MicroBatch) -> None:
        """Run a micro-batch."""
        made = self.runner.run(batch)
        assert isinstance(made, StepResult)
        self._results.append(made)

    def receive(self) -> StepResult:
        """Its result."""
        return self._results.popleft()

    def counters(self) -> list[StageCounters]:
        """Of the one stage."""
        return [self.runner.counters]

    def close(self) -> None:
        """Let weights and cache go."""
        self.runner = StageRunner(self.runner.setup)
