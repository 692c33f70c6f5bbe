"""Stages as processes: the same tokens from one, two and three of them; and what is left when one of them dies, stops or meets NaN."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genir.errors import ArtefactError, ConfigError, GenirError
from genir.protocols import SamplingParams
from rag.llama.batch import MicroBatch
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.launch import Launched
from rag.llama.options import setups_of
from rag.llama.pipeline import ProcessPipeline, StageProcess
from rag.llama.request import Request
from rag.llama.runner import StageError, StageRunner, StageSetup
from tests.tiny_llama import save_tiny_llama

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ["once upon a time there was", "a", "the cat", "a longer prompt than the others, in several chunks"]
GREEDY = SamplingParams(max_new_tokens=16)
ENDLESS = SamplingParams(max_new_tokens=100, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


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


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[tuple[int, ...]]:
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        return [one.tokens for one in engine.generate(PROMPTS, GREEDY)]


@pytest.mark.parametrize("stages", [2, 3])
def test_two_and_three_stages_write_what_one_writes(folder: Path, expected: list[tuple[int, ...]], stages: int) -> None:
    """Five layers divide evenly over neither; the same engine serves batches, late arrivals, sampling, beams and a stream."""
    ways = (SamplingParams(max_new_tokens=8, num_beams=3), SamplingParams(max_new_tokens=12, temperature=1.0, seed=2))
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        others = [engine.generate(PROMPTS, params) for params in ways]
    with LlamaEngine(folder, EngineOptions(stages=stages, threads=1, token_budget=8, block_size=4)) as engine:
        assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected
        requests = []
        for prompt in PROMPTS:
            requests.append(engine.submit(prompt, GREEDY))
            engine.step()
        while engine.has_work:
            engine.step()
        assert [tuple(request.tokens) for request in requests] == expected
        for params, other in zip(ways, others, strict=True):
            assert [one.tokens for one in engine.generate(PROMPTS, params)] == [one.tokens for one in other]
        assert "".join(engine.stream("the cat", GREEDY)) == engine.generate(["the cat"], GREEDY)[0].text
        figures = engine.statistics()
        assert len(figures.utilisation) == stages
        assert all(0 < share < 1 for share in figures.utilisation)
        assert figures.cache.free == figures.cache.blocks
        # Every stage read its own layers and nothing else: the table once for the embedding, once for the head.
        assert sum(figures.weights_bytes_read) == sum(
            v.nbytes for v in load_file(folder / "model.safetensors").values()
        )
        left = processes(engine)
    assert not any(map(is_alive, left))


def test_naive_and_every_micro_batch_size_write_the_same(folder: Path, expected: list[tuple[int, ...]]) -> None:
    for options in ({"in_flight": 1, "micro_batches": 2}, {"micro_batches": 3, "micro_batch_size": 1}):
        with LlamaEngine(folder, EngineOptions(stages=2, threads=1, **options)) as engine:  # type: ignore[arg-type]
            assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected


def run(engine: LlamaEngine) -> None:
    while engine.has_work:
        engine.step()


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


def test_a_stage_that_computes_for_ever_is_named(folder: Path) -> None:
    """Stages that answer pings and never finish; two threads play them."""
    engine = LlamaEngine(folder, EngineOptions(stages=2, step_timeout=0.3, heartbeat=0.4))
    pipeline = ProcessPipeline(setups_of(folder, engine.config, engine.options, engine.plan), heartbeat=0.4)
    ends = [socket.socketpair() for _ in range(2)]
    pipeline._launched = Launched([Connection(ours.detach()) for ours, _ in ends], "")

    def answer(connection: Connection, computing: float) -> None:
        with contextlib.suppress(EOFError, OSError):
            while "ping" in json.loads(connection.recv_bytes()):
                connection.send_bytes(json.dumps({"counters": {}, "computing": computing}).encode())

    for (_, theirs), computing in zip(ends, (0.0, 9.0), strict=True):
        threading.Thread(target=answer, args=(Connection(theirs.detach()), computing), daemon=True).start()
    begin = time.monotonic()
    with pytest.raises(StageError, match=r"stage 1 \(layers .* hangs: it has computed one micro-batch for 9 s"):
        pipeline.receive()
    assert time.monotonic() - begin < 3


def test_a_stage_that_does_not_listen_is_named_though_its_socket_is_full(folder: Path) -> None:
    """Sending once waited for ever: only `receive` looked at the clock."""
    engine = LlamaEngine(folder, EngineOptions(stages=2))
    pipeline = ProcessPipeline(setups_of(folder, engine.config, engine.options, engine.plan), heartbeat=0.3)
    ends = [socket.socketpair() for _ in range(2)]
    pipeline._launched = Launched([Connection(ours.detach()) for ours, _ in ends], "")
    reader = Connection(ends[0][1].detach())
    threading.Thread(target=reader.recv_bytes, daemon=True).start()
    batch = MicroBatch(0, decode=True, tokens=list(range(1_000_000)))
    begin = time.monotonic()
    with pytest.raises(
        StageError, match=r"^stage 1 \(layers .*\) has not answered for 0 s: it was stopped, or its machine"
    ):
        pipeline.send(batch)
    assert time.monotonic() - begin < 5
    with pytest.raises(StageError, match="the pipeline is closed"):
        pipeline.send(batch)
    for _, theirs in ends:
        theirs.close()


def played(monkeypatch: pytest.MonkeyPatch, *stages: Callable[[Connection], None]) -> None:
    """Let `launch` give sockets that threads of this process answer."""

    def launch(_: object) -> Launched:
        ends = [socket.socketpair() for _ in stages]
        for (_, theirs), stage in zip(ends, stages, strict=True):
            threading.Thread(target=stage, args=(Connection(theirs.detach()),), daemon=True).start()
        return Launched([Connection(ours.detach()) for ours, _ in ends], "")

    monkeypatch.setattr("rag.llama.pipeline.launch", launch)


def answering(connection: Connection) -> None:
    """A stage that answers pings, and never gets any further."""
    sign = json.dumps({"counters": {}, "computing": 0.0}).encode()
    with contextlib.suppress(EOFError, OSError):
        connection.send_bytes(sign)
        while message := json.loads(connection.recv_bytes()):
            if "ping" in message:
                connection.send_bytes(sign)


def silent(connection: Connection) -> None:
    """A stage that is stopped."""
    with contextlib.suppress(EOFError, OSError):
        while connection.recv_bytes():
            pass


def falling_silent(connection: Connection) -> None:
    """A stage that is stopped once it has begun to load."""
    connection.send_bytes(json.dumps({"counters": {}, "computing": 0.0}).encode())
    silent(connection)


def test_a_stage_that_stops_while_it_loads_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was once given the ten minutes that loading may take."""
    played(monkeypatch, answering, falling_silent)
    engine = LlamaEngine(folder, EngineOptions(stages=2, heartbeat=0.2))
    with pytest.raises(
        StageError, match=r"^stage 1 \(layers .*\) has not answered for 1 s: it was stopped, or its machine"
    ):
        engine.start()


def test_a_stage_that_is_stopped_while_nothing_runs_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, answering, silent)
    monkeypatch.setattr(ProcessPipeline, "_await_loading", lambda _: None)
    engine = LlamaEngine(folder, EngineOptions(stages=2))
    pipeline = ProcessPipeline(setups_of(folder, engine.config, engine.options, engine.plan), heartbeat=0.2)
    pipeline.start()
    with pytest.raises(
        StageError, match=r"^stage 1 \(layers .*\) has not answered for 0 s: it was stopped, or its machine"
    ):
        pipeline.counters()


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


def test_a_stage_that_loads_answers_and_ends_with_its_front(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once listened only after it had loaded."""
    exits: list[int] = []
    gone = threading.Event()

    def end(code: int) -> None:
        exits.append(code)
        gone.set()
        sys.exit(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
    monkeypatch.setattr(StageProcess, "_join", lambda _: None)
    monkeypatch.setattr(StageRunner, "load", lambda _: gone.wait())
    engine = LlamaEngine(folder, EngineOptions(stages=2, threads=1))
    setup = setups_of(folder, engine.config, engine.options, engine.plan)[0]
    ours, theirs = socket.socketpair()
    with Connection(ours.detach()) as front:
        stage = threading.Thread(target=StageProcess(Connection(theirs.detach())).run, daemon=True)
        stage.start()
        front.send_bytes(json.dumps({"setup": setup.to_json()}).encode())
        assert "counters" in json.loads(front.recv_bytes())
        front.send_bytes(b'{"ping": true}')
        assert "counters" in json.loads(front.recv_bytes())
        assert not exits
    stage.join(30)
    assert exits[0] == 1


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


def test_under_torchrun_the_stages_come_to_the_front(
    folder: Path, expected: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("GENIR_FRONT_KEY", "a secret of this test")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "rag.llama.pipeline"]
    stages = subprocess.Popen(
        [sys.executable, *command, "--front", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        with LlamaEngine(folder, EngineOptions(stages=2, threads=1, front=f"127.0.0.1:{port}")) as engine:
            assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected
        assert stages.wait(timeout=20) == 0
    finally:
        stages.kill()
        stages.wait()


def test_a_front_without_a_key_or_with_a_port_in_use_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = EngineOptions(stages=2, threads=1, front=f"127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.delenv("GENIR_FRONT_KEY", raising=False)
        with pytest.raises(ConfigError, match="GENIR_FRONT_KEY is not set"):
            LlamaEngine(folder, options).start()
        monkeypatch.setenv("GENIR_FRONT_KEY", "key")
        with pytest.raises(GenirError, match="cannot listen there \\(Address already in use\\); give a free port"):
            LlamaEngine(folder, options).start()
    with pytest.raises(ConfigError, match="front 'nowhere': expected HOST:PORT"):
        LlamaEngine(folder, EngineOptions(front="nowhere")).start()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (EngineOptions(stages=2), [(2, 3), (5, 7)]),
        (EngineOptions(stages=4), [(2,), (3,), (5,), (7,)]),
        (EngineOptions(stages=1), [()]),  # in this process, which is not ours to tie down
        (EngineOptions(stages=2, threads=1), [(), ()]),  # cores to spare: the system places them better
        (EngineOptions(stages=2, threads=4), [(), ()]),
        (EngineOptions(stages=3), [(), (), ()]),
        (EngineOptions(stages=2, pin_cores=False), [(), ()]),
        (EngineOptions(stages=2, front="127.0.0.1:7000"), [(), ()]),
    ],
)
def test_stages_that_fill_the_machine_keep_to_cores_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: EngineOptions, expected: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 5, 3}, raising=False)
    engine = LlamaEngine(folder, options)
    setups = setups_of(folder, engine.config, options, engine.plan)
    assert [setup.cores for setup in setups] == expected
    assert [StageSetup.from_json(json.loads(json.dumps(setup.to_json()))) for setup in setups] == setups


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_stage_runs_on_its_cores_only(folder: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    os.sched_setaffinity(0, cores[:2])
    try:
        with LlamaEngine(folder, EngineOptions(stages=2, threads=1)) as engine:
            pinned = [os.sched_getaffinity(process) for process in processes(engine)]
    finally:
        os.sched_setaffinity(0, cores)
    assert pinned == [{cores[0]}, {cores[1]}]
