"""Ctrl-C and a full disk: one line, exit code 1, whole files only, and a way to go on."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from experiments.training import material, model
from genir.records import Dataset
from tests.tiny_journey import TRAINING, Journey, genir

EVERY_STEP = TRAINING.replace("[training]", "[training]\nevaluate_every = 1")
FULL = OSError(errno.ENOSPC, "No space left on device", "somewhere")


@pytest.fixture
def journey(tmp_path: Path, tiny_dataset: Dataset) -> Journey:
    made = Journey.begin(tmp_path, tiny_dataset)
    made.build()
    return made


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", ".new", ".old"))]


def press_ctrl_c_at(evaluation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT arrives while training measures itself for the n-th time; the measurement itself is as ever."""
    calls = iter(range(1, 1000))
    measure = model.evaluate

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == evaluation:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(*arguments)

    monkeypatch.setattr(model, "evaluate", interrupted)


@pytest.mark.parametrize(("architecture", "objective"), [("code_decoder", "ranking"), ("seq2seq", "cross_entropy")])
def test_ctrl_c_leaves_a_checkpoint_and_resume_ends_with_the_same_weights(
    journey: Journey, monkeypatch: pytest.MonkeyPatch, architecture: str, objective: str
) -> None:
    config = journey.config(architecture, objective, EVERY_STEP)  # seq2seq with dropout
    whole = journey.root / "whole"
    assert journey.train(config, out=whole).code == 0
    press_ctrl_c_at(4, monkeypatch)  # in the middle of the first epoch
    fault = journey.train(config).fault
    assert fault == f"interrupted at step 3; go on with --resume (checkpoint in {journey.model})"
    assert sorted(path.name for path in journey.model.iterdir()) == ["best.safetensors", "checkpoint.safetensors"]

    fault = genir("search", "--model", journey.model, "a question").fault
    assert (
        fault
        == f"{journey.model}: has no manifest.json, so it is unfinished or of another kind; make it with `genir train`"
    )
    fault = journey.train(config).fault
    assert fault.endswith(
        "holds an unfinished training; go on with --resume, or delete checkpoint.safetensors there to begin anew"
    )
    assert journey.train(config, "--resume").code == 0
    assert weights(journey.model) == weights(whole)


def test_ctrl_c_outside_the_training_loop(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(material, "make_pseudo_queries", press)
    assert journey.train().fault == "interrupted"
    assert not journey.model.exists()


def test_a_retraining_that_is_interrupted_leaves_the_old_model_whole(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.train()
    old = weights(journey.model)
    press_ctrl_c_at(1, monkeypatch)
    config = journey.config(more=EVERY_STEP)
    assert journey.train(config, "--replace").fault.startswith("interrupted at step 0; ")
    assert weights(journey.model).items() >= old.items()
    assert genir("search", "--model", journey.model, "a question").code == 0
    fault = journey.train(journey.config(more=TRAINING.replace("epochs = 2", "epochs = 3")), "--resume").fault
    assert fault.endswith("made with other examples or settings; go on with those, or delete it and train again")


def fail(error: Exception) -> Callable[..., None]:
    """A writer that gives up half-way."""

    def write(*arguments: object, **_: object) -> None:
        for argument in arguments:
            if isinstance(argument, Path):
                argument.write_bytes(b"half")
        raise error

    return write


def test_a_disk_that_is_full_when_the_model_is_saved_loses_no_training(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = journey.root / "whole"
    journey.train(out=whole)
    with monkeypatch.context() as patch:
        patch.setattr(
            "genir.models.code_decoder.save_file",
            fail(SafetensorError("I/O error: No space left on device (os error 28)")),
        )
        assert journey.train().fault == "the disk is full (while writing weights); nothing half-written was kept"
    assert not leftovers(journey.model)
    assert "has no manifest.json" in genir("search", "--model", journey.model, "a question").fault
    assert journey.train(None, "--resume").code == 0
    assert weights(journey.model) == weights(whole)


def test_a_disk_that_is_full_at_a_checkpoint(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genir.checkpoint.save_file", fail(FULL))
    assert journey.train().fault == "the disk is full (somewhere); nothing half-written was kept"
    assert not list(journey.model.iterdir())


def test_a_disk_that_is_full_when_identifiers_are_written(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("docids.table.DocIDTable._write_docids", fail(FULL))
        assert journey.build("atomic").fault == "the disk is full (somewhere); nothing half-written was kept"
    assert not leftovers(journey.docids)
    fault = genir("docids", "inspect", journey.docids).fault  # the old ones are not passed off as the new ones
    assert fault.startswith(f"{journey.docids}: has no manifest.json, so it is unfinished")
    assert journey.build("atomic").code == 0
    assert genir("docids", "inspect", journey.docids).code == 0


def test_a_disk_that_is_full_when_data_or_a_run_is_written(
    journey: Journey, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = journey.root / "run.trec"
    search = ("search", "--retriever", "bm25", "--data", journey.data, "--split", "test", "--out", run)
    assert genir(*search).code == 0
    before = run.read_text()
    monkeypatch.setattr("genir.formats._write_lines", fail(FULL))
    full = "the disk is full (somewhere); nothing half-written was kept"
    assert genir("data", "import", tiny_folder, "--out", journey.root / "new").fault == full
    assert genir(*search).fault == full
    assert run.read_text() == before
    assert not (journey.root / "new").exists()
    assert not leftovers(journey.root)


def test_a_place_that_may_not_be_written(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "docids.table.DocIDTable._write_docids", fail(PermissionError(errno.EACCES, "Permission denied", "there"))
    )
    assert journey.build("atomic").fault == "there: Permission denied; give another path, or mend its permissions"


def test_what_is_our_fault_keeps_its_traceback(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docids.table.DocIDTable._write_docids", fail(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        journey.build("atomic")
