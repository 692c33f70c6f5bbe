"""A training that is cut: what is lost, what resumes bit for bit, and which checkpoints are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from genir.checkpoint import Checkpoint, Progress
from genir.errors import ArtefactError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import TrainingBatch
from genir.training import (
    BEST,
    CHECKPOINT,
    TrainingConfig,
    TrainingInterruptedError,
    train,
)
from tests.tiny_text_models import save_tiny_bert
from tests.tiny_training import CONFIG, EXAMPLES, make_model, ranking

EVERY_STEP = replace(CONFIG, checkpoint_every=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def interrupt_at(evaluations: int, value: float = 0.0) -> Callable[[], float]:
    """An evaluation that presses Ctrl-C at its n-th call and still returns its figure."""
    calls = iter(range(1, 100))

    def figure() -> float:
        if next(calls) == evaluations:
            os.kill(os.getpid(), signal.SIGINT)
        return value

    return figure


def test_a_cut_training_resumes_bit_for_bit(encoder: Path, tmp_path: Path) -> None:
    rising = iter(range(100))
    whole = make_model(encoder)
    train(whole, ranking(whole), EXAMPLES, lambda: float(next(rising)), CONFIG, tmp_path / "whole")

    cut = make_model(encoder)
    with pytest.raises(TrainingInterruptedError, match="interrupted at step 4; go on with --resume"):
        train(cut, ranking(cut), EXAMPLES, interrupt_at(2), CONFIG, tmp_path / "cut")
    with safe_open(tmp_path / "cut" / CHECKPOINT, framework="pt") as stored:
        spent = json.loads(stored.metadata()["progress"])["seconds"]
    again = make_model(encoder)
    torch.nn.init.normal_(again.codes.weight)  # whatever it starts from is replaced
    rising = iter(range(1, 100))
    begun = time.monotonic()
    progress = train(
        again, ranking(again), EXAMPLES, lambda: float(next(rising)), CONFIG, tmp_path / "cut", resume=True
    )
    elapsed = time.monotonic() - begun
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert 0 < spent == progress.earlier_seconds <= progress.seconds <= spent + elapsed


def weights_after(
    folder: Path, encoder: Path, evaluate: Callable[[], float], resume: bool = True
) -> dict[str, torch.Tensor]:
    """Train (or go on) with a checkpoint at every step, and give the final weights."""
    model = make_model(encoder)
    train(model, ranking(model), EXAMPLES, evaluate, EVERY_STEP, folder, resume)
    return model.state_dict()


def test_sigterm_ends_after_the_step_in_flight(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    inner = ranking(model)
    steps = iter(range(100))

    class Terminated:
        def loss(self, batch: TrainingBatch) -> torch.Tensor:
            if next(steps) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return inner.loss(batch)

    with pytest.raises(TrainingInterruptedError, match="interrupted at step 6"):
        train(model, Terminated(), EXAMPLES, lambda: 0.0, CONFIG, tmp_path)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_killed_process_loses_the_step_in_flight(encoder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of step 7, in a process of its own: 6 steps are there, and the end is the same, bit for bit."""
    cut = tmp_path / "cut"
    child_runs = (
        f"hang_in_step(6, {str(encoder)!r}, {str(cut)!r}, threads={torch.get_num_threads()})"  # sums depend on threads
    )
    script = f"from pathlib import Path; from tests.unit.test_resumption import *; {child_runs}"
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.kill()
    assert (line, child.returncode) == ("in step 6\n", -signal.SIGKILL)
    with safe_open(cut / CHECKPOINT, framework="pt") as stored:
        assert json.loads(stored.metadata()["progress"])["step"] == 6
    whole = weights_after(tmp_path / "whole", encoder, lambda: 0.0, resume=False)
    again = weights_after(cut, encoder, lambda: 0.0)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("every", "takes", "written"),
    [
        (100, 0.3, [1, 3, 4, 6, 8, 10, 12]),  # seconds: one more after 15
        (100, 0.8, [1, 4, 8, 12]),  # after 40
        (3, 0.8, [1, 3, 4, 6, 8, 9, 12]),
        (0, 0.3, [4, 8, 12]),
    ],
)
def test_checkpoints_cost_a_fiftieth_of_the_time(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, takes: float, written: list[int]
) -> None:
    """A step takes 10 seconds; of 12 every fourth is evaluated, and saved whatever it costs."""
    clock, found = [0.0], []
    model = make_model(encoder)
    inner = ranking(model)

    class Slow:
        def loss(self, batch: TrainingBatch) -> torch.Tensor:
            clock[0] += 10
            return inner.loss(batch)

    def save(checkpoint: Checkpoint, progress: Progress) -> None:
        clock[0] += takes
        found.append(progress.step)

    monkeypatch.setattr("genir.training.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Checkpoint, "save", save)
    train(model, Slow(), EXAMPLES, lambda: 0.0, replace(CONFIG, checkpoint_every=every), tmp_path)
    assert found == written


def hang_in_step(step: int, encoder: str, folder: str, threads: int) -> None:
    """What the killed process does: train, and wait for its end in the middle of a step."""
    torch.set_num_threads(threads)
    model = make_model(Path(encoder))
    inner = ranking(model)
    steps = iter(range(100))

    class Hanging:
        def loss(self, batch: TrainingBatch) -> torch.Tensor:
            loss = inner.loss(batch)
            if next(steps) == step:
                print(f"in step {step}", flush=True)
                time.sleep(600)
            return loss

    train(model, Hanging(), EXAMPLES, lambda: 0.0, EVERY_STEP, Path(folder))


class PowerCutError(Exception):
    """Nothing below `train` handles it: files are left as a killed process leaves them."""


@pytest.mark.parametrize("moment", ["evaluation", "best", "checkpoint"])
def test_cut_while_it_measures_or_writes(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Cut in the evaluation after step 4, while its best weights are written, or while its checkpoint is."""
    rising = iter(range(100))
    whole = weights_after(tmp_path / "whole", encoder, lambda: float(next(rising)), resume=False)
    figures = iter(range(100))

    def evaluate() -> float:
        figure = next(figures)
        if moment == "evaluation" and figure == 1:
            raise PowerCutError
        return float(figure)

    writes = {BEST: 0, CHECKPOINT: 0}

    def cut(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        name = BEST if BEST in path.name else CHECKPOINT
        writes[name] += 1
        if (moment, writes[name]) in (("best", 2), ("checkpoint", 4)):
            path.write_bytes(b"half")
            raise PowerCutError
        save_file(tensors, path, metadata)

    with monkeypatch.context() as patched:
        patched.setattr("genir.checkpoint.save_file", cut)
        with pytest.raises(PowerCutError):
            weights_after(tmp_path / "cut", encoder, evaluate, resume=False)
    rising = iter(range(1, 100))
    again = weights_after(tmp_path / "cut", encoder, lambda: float(next(rising)))
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_an_objective_with_a_state_of_its_own_resumes_too(encoder: Path, tmp_path: Path) -> None:
    class Counting:
        """A loss whose factor grows with every step it has seen."""

        def __init__(self, model: CodeDecoder) -> None:
            self.inner, self.seen = ranking(model), torch.zeros(1)

        def loss(self, batch: TrainingBatch) -> torch.Tensor:
            self.seen = self.seen + 1
            return self.inner.loss(batch) * float(self.seen)

        def state_dict(self) -> dict[str, torch.Tensor]:
            return {"seen": self.seen}

        def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
            self.seen = state["seen"]

    whole, cut, again = (make_model(encoder) for _ in range(3))
    train(whole, Counting(whole), EXAMPLES, lambda: 0.0, CONFIG, tmp_path / "whole")
    with pytest.raises(TrainingInterruptedError):
        train(cut, Counting(cut), EXAMPLES, interrupt_at(2), CONFIG, tmp_path / "cut")
    train(again, Counting(again), EXAMPLES, lambda: 0.0, CONFIG, tmp_path / "cut", resume=True)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("cache_gb", [0.0, 1e-6, 1.0])  # nothing kept, some texts, all of them
def test_frozen_layers_stay_and_resume_bit_for_bit(encoder: Path, tmp_path: Path, cache_gb: float) -> None:
    config = replace(CONFIG, frozen_layers=1, frozen_cache_gb=cache_gb)
    start, whole, cut, again = (make_model(encoder) for _ in range(4))
    rising = iter(range(100))
    train(whole, ranking(whole), EXAMPLES, lambda: float(next(rising)), config, tmp_path / "whole")
    with pytest.raises(TrainingInterruptedError):
        train(cut, ranking(cut), EXAMPLES, interrupt_at(2), config, tmp_path / "cut")
    rising = iter(range(1, 100))
    train(again, ranking(again), EXAMPLES, lambda: float(next(rising)), config, tmp_path / "cut", resume=True)
    before, after = start.state_dict(), whole.state_dict()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in after.items())
    unchanged = {name for name in after if torch.equal(before[name], after[name])}
    assert {name for name in unchanged if name.startswith(("encoder.embeddings", "encoder.encoder.layer.0"))}
    assert not any(name.startswith("encoder.encoder.layer.1") for name in unchanged)
    assert all(parameter.requires_grad for parameter in whole.parameters())


def test_a_checkpoint_of_other_examples_is_refused(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    with pytest.raises(TrainingInterruptedError):
        train(model, ranking(model), EXAMPLES, interrupt_at(1), CONFIG, tmp_path)
    with pytest.raises(ArtefactError, match="made with other examples or settings"):
        train(model, ranking(model), EXAMPLES[:-1], lambda: 0.0, CONFIG, tmp_path, resume=True)


def test_a_checkpoint_of_another_model_is_refused(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    with pytest.raises(TrainingInterruptedError):
        train(model, ranking(model), EXAMPLES, interrupt_at(1), CONFIG, tmp_path, made_of="one layer")
    other = make_model(encoder, layers=0)
    with pytest.raises(ArtefactError, match="made with other examples or settings"):
        train(other, ranking(other), EXAMPLES, lambda: 0.0, CONFIG, tmp_path, resume=True, made_of="none")
    with pytest.raises(ArtefactError, match="holds the weights of another model"):
        train(other, ranking(other), EXAMPLES, lambda: 0.0, CONFIG, tmp_path, resume=True, made_of="one layer")


def test_a_run_that_had_ended_early_is_not_trained_further(encoder: Path, tmp_path: Path) -> None:
    model = make_model(encoder)
    config = TrainingConfig(epochs=50, batch_size=4, patience=2, precision="float32")
    ended = train(model, ranking(model), EXAMPLES, lambda: 0.5, config, tmp_path)
    again = train(model, ranking(model), EXAMPLES, lambda: 0.5, config, tmp_path, resume=True)
    assert again.step == ended.step
    assert again.history == ended.history


def test_a_broken_checkpoint_is_refused(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"\x10\0\0\0")
    model = make_model(encoder)
    with pytest.raises(ArtefactError, match="broken checkpoint"):
        train(model, ranking(model), EXAMPLES, lambda: 0.0, CONFIG, tmp_path, resume=True)


def test_a_full_disk_leaves_nothing_half_written(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path, metadata: object = None) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("genir.checkpoint.save_file", full)
    model = make_model(encoder)
    with pytest.raises(OSError, match="No space left"):
        train(model, ranking(model), EXAMPLES, lambda: 0.0, CONFIG, tmp_path)
    assert not (tmp_path / BEST).exists()
    assert not list(tmp_path.iterdir())
