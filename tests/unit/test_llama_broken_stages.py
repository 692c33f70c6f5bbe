"""What is left when one of the stages dies, stops, is interrupted or meets NaN: an error that names it, and nothing else."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genir.errors import ArtefactError, GenirError
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.launch import Launched
from rag.llama.pipeline import ProcessPipeline
from rag.llama.request import Request
from rag.llama.runner import StageError
from tests.stage_processes import ENDLESS, GREEDY, PROMPTS, is_alive, processes, run, written_by_one
from tests.tiny_llama import save_tiny_llama

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[tuple[int, ...]]:
    return written_by_one(folder)


def listening(owners: list[int] | None = None) -> set[str]:
    """Addresses (hexadecimal) that are listened at over TCP, by these processes or by any."""
    inodes = None
    if owners is not None:
        files = [file for owner in owners for file in Path(f"/proc/{owner}/fd").iterdir()]
        inodes = {str(file.readlink())[8:-1] for file in files if str(file.readlink()).startswith("socket:[")}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and (inodes is None or rest[5] in inodes):
                found.add(local)
    return found


def run_until_it_fails(engine: LlamaEngine, break_it: object) -> tuple[StageError, float, list[Request]]:
    """Break a stage in mid-generation; the error, the seconds it took, and the requests."""
    requests = [engine.submit(prompt, ENDLESS if len(prompt) < 28 else GREEDY) for prompt in PROMPTS]
    for _ in range(6):
        engine.step()
    assert callable(break_it)
    break_it()
    begin = time.monotonic()
    with pytest.raises(StageError) as caught:
        run(engine)
    return caught.value, time.monotonic() - begin, requests


@pytest.mark.parametrize("stage", [0, 1])
def test_killing_a_stage_ends_every_request_at_once_and_leaves_nothing(
    folder: Path, expected: list[tuple[int, ...]], stage: int
) -> None:
    engine = LlamaEngine(folder, EngineOptions(stages=2, threads=1))
    engine.start()
    left = processes(engine)
    ports = listening(left)
    assert all(port.startswith("0100007F:") for port in ports)  # gloo's, on the loopback interface only
    error, seconds, requests = run_until_it_fails(engine, lambda: os.kill(left[stage], signal.SIGKILL))
    assert str(error).startswith(f"stage {stage} (layers ")
    assert "was killed by SIGKILL; all requests are ended" in str(error)
    assert seconds < 5
    assert all(
        request.done and (request.error is error or request.finish_reason in ("stop", "length")) for request in requests
    )
    with pytest.raises(StageError):
        requests[1].generation()
    assert not any(map(is_alive, left))
    assert not engine.has_work
    assert not ports & listening()
    with engine:  # and it starts again
        assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected


@pytest.mark.parametrize("stage", [0, 1])
def test_a_stage_that_stops_answering_is_named_within_seconds(
    folder: Path, expected: list[tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared = set(Path("/dev/shm").iterdir())
    engine = LlamaEngine(folder, EngineOptions(stages=2, threads=1, heartbeat=1.0))
    engine.start()
    left = processes(engine)
    error, seconds, _ = run_until_it_fails(engine, lambda: os.kill(left[stage], signal.SIGSTOP))
    assert f"stage {stage} (layers " in str(error)
    assert "has not answered for 1 s" in str(error)
    assert seconds < 6
    assert not any(map(is_alive, left))
    assert not list(tmp_path.iterdir())
    assert set(Path("/dev/shm").iterdir()) <= shared
    with engine:  # and it starts again
        assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected


def test_an_interrupted_start_leaves_no_process_and_no_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the pipeline knew of the stages, which loaded on for a quarter of a minute; their folder stayed for good."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    started: list[Launched] = []

    def interrupted(pipeline: ProcessPipeline) -> None:
        assert pipeline._launched is not None
        started.append(pipeline._launched)
        raise KeyboardInterrupt

    monkeypatch.setattr(ProcessPipeline, "_await_loading", interrupted)
    engine = LlamaEngine(folder, EngineOptions(stages=2, threads=1))
    with pytest.raises(KeyboardInterrupt):
        engine.start()
    assert [process.returncode for process in started[0].processes] == [-signal.SIGKILL] * 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(GenirError, match="the engine does not run"):
        engine.statistics()


@pytest.mark.parametrize("stages", [1, 2])
def test_a_nan_ends_every_request_and_names_the_stage(folder: Path, tmp_path: Path, stages: int) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.4.mlp.down_proj.weight"][0, 0] = torch.nan
    save_file(weights, tmp_path / "model.safetensors")
    engine = LlamaEngine(tmp_path, EngineOptions(stages=stages, threads=1))
    request = engine.submit("once", GREEDY)
    with pytest.raises(
        StageError,
        match=f"stage {stages - 1} \\(layers .* made scores that are not numbers \\(NaN\\) in float32: its weights are broken$",
    ):
        run(engine)
    assert request.finish_reason == "error"
    assert not engine.has_work


def test_a_fault_while_loading_keeps_its_own_words(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.4.mlp.down_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ArtefactError, match=r"hold no tensor 'model\.layers\.4\.mlp\.down_proj\.weight'"):
        LlamaEngine(tmp_path, EngineOptions(stages=2, threads=1)).start()


def test_stages_end_when_their_front_is_killed(folder: Path) -> None:
    code = (
        "import sys\nfrom rag.llama.engine import *\n"
        f"engine = LlamaEngine({str(folder)!r}, EngineOptions(stages=2, threads=1))\nengine.start()\n"
        "print(*[p.pid for p in engine._pipeline._launched.processes], engine._pipeline._launched.folder, flush=True)\n"
        "sys.stdin.read()"
    )
    front = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert front.stdout is not None
    *stages, shared = front.stdout.readline().split()
    front.kill()
    front.wait()
    deadline = time.monotonic() + 10
    while any(is_alive(int(stage)) for stage in stages) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(int(stage)) for stage in stages)
    assert not Path(shared).exists()
