"""Stages that answer late or never, played by threads: each is named within its heartbeat, whatever the pipeline was doing."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from rag.llama.batch import MicroBatch
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.launch import Launched
from rag.llama.options import setups_of
from rag.llama.pipeline import ProcessPipeline
from rag.llama.runner import StageError, StageRunner
from rag.llama.stage_process import StageProcess
from tests.tiny_llama import save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


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
