"""How stages under torchrun and their front find each other: in any order, with one key, and with one line where they cannot."""

import os
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Client, Connection
from pathlib import Path

import pytest

from genir.errors import ConfigError, GenirError
from rag.llama.launch import Launched, call, listen

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> str:
    """A free address, with the key and rank that torchrun would set."""
    monkeypatch.setenv("GENIR_FRONT_KEY", "a secret of this test")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def in_thread(front: str, stages: int = 1, timeout: float = 10.0) -> tuple[threading.Thread, list[Launched]]:
    met: list[Launched] = []
    thread = threading.Thread(target=lambda: met.append(listen(front, stages, timeout)), daemon=True)
    thread.start()
    return thread, met


def test_a_stage_that_starts_first_waits_for_its_front(front: str) -> None:
    """It once died of a refused connection, and torchrun with it."""
    found: list[Connection] = []
    stage = threading.Thread(target=lambda: found.append(call(front, 10.0)), daemon=True)
    stage.start()
    time.sleep(0.3)
    assert not found
    met = listen(front, 1, 10.0)
    stage.join(5)
    met.connections[0].send_bytes(b"hello")
    assert found[0].recv_bytes() == b"hello"


def test_nobody_waits_for_ever(front: str) -> None:
    begin = time.monotonic()
    with pytest.raises(GenirError, match=rf"^front {front}: nobody answered within 0 s \(Connection refused\)$"):
        call(front, 0.3)
    with pytest.raises(GenirError, match=rf"^only 0 of 2 stages came to {front} within 0 s$"):
        listen(front, 2, 0.3)
    assert time.monotonic() - begin < 3


def test_strangers_and_the_dead_keep_nobody_away(front: str) -> None:
    """One that hangs up during the handshake once ended the listening; one that died behind it gave a traceback."""
    thread, met = in_thread(front)
    host, port = front.split(":")
    time.sleep(0.2)
    socket.create_connection((host, int(port))).close()
    Client((host, int(port)), authkey=os.environ["GENIR_FRONT_KEY"].encode()).close()
    stage = call(front, 5.0)
    thread.join(5)
    met[0].connections[0].send_bytes(b"hello")
    assert stage.recv_bytes() == b"hello"


def listened_at(front: str) -> bool:
    port = f":{int(front.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[1].endswith(port) and line[3] == "0A" for line in lines)


def test_a_silent_stranger_keeps_nobody_waiting(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who connected and said nothing once blocked all stages; now the others come in, and it is hung up on."""
    thread, met = in_thread(front, stages=1)
    host, port = front.split(":")
    time.sleep(0.2)
    with socket.create_connection((host, int(port))) as stranger:
        time.sleep(0.1)
        stage = call(front, 5.0)
        thread.join(5)
        met[0].connections[0].send_bytes(b"hello")
        assert stage.recv_bytes() == b"hello"
        stranger.settimeout(5)
        while stranger.recv(100):
            pass  # the challenge, then the end
    monkeypatch.setattr("rag.llama.launch._HANDSHAKE", 0.2)
    thread, _ = in_thread(front, stages=1, timeout=2.0)
    time.sleep(0.2)
    with socket.create_connection((host, int(port)), timeout=1.5) as stranger:
        while stranger.recv(100):
            pass  # hung up on while others are still awaited
        assert thread.is_alive()
    call(front, 5.0)
    thread.join(5)


def test_nothing_is_left_and_the_port_can_be_had_again(front: str) -> None:
    """The port once stayed listened at, by a thread that nobody ended: a second engine at the same address failed."""
    threads = set(threading.enumerate())
    for _ in range(3):
        caller = threading.Thread(target=call, args=(front, 5.0), daemon=True)
        caller.start()
        met = listen(front, 1, 5.0)
        caller.join(5)
        assert not listened_at(front)
        met.end(patience=0.0)
        with pytest.raises(GenirError, match="only 0 of 1 stages came"):
            listen(front, 1, 0.1)
        assert not listened_at(front)
    assert set(threading.enumerate()) <= threads


def test_a_stage_that_was_started_again_takes_its_place(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    thread, met = in_thread(front, stages=2)
    call(front, 5.0).close()
    second = call(front, 5.0)
    monkeypatch.setenv("RANK", "1")
    other = call(front, 5.0)
    thread.join(5)
    for connection, stage in zip(met[0].connections, (second, other), strict=True):
        connection.send_bytes(b"hello")
        assert stage.recv_bytes() == b"hello"


def test_numbers_of_stages_that_differ(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    caller = threading.Thread(target=call, args=(front, 5.0), daemon=True)
    caller.start()
    with pytest.raises(ConfigError, match="torchrun started 3 stages, the front was told 2: give both the same number"):
        listen(front, 2, 5.0)


def test_a_wrong_key_and_no_key(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, _ = in_thread(front)
    key = os.environ["GENIR_FRONT_KEY"]
    monkeypatch.setenv("GENIR_FRONT_KEY", "another")
    with pytest.raises(ConfigError, match=f"^front {front}: it has another GENIR_FRONT_KEY; give both sides the same$"):
        call(front, 5.0)
    monkeypatch.setenv("GENIR_FRONT_KEY", key)
    call(front, 5.0)
    thread.join(5)
    monkeypatch.delenv("GENIR_FRONT_KEY")
    for meet in (lambda: call(front, 5.0), lambda: listen(front, 1, 5.0)):
        with pytest.raises(ConfigError, match=r"^GENIR_FRONT_KEY is not set: "):
            meet()  # type: ignore[no-untyped-call]


def test_a_stage_without_a_front_says_so_in_one_line(front: str) -> None:
    command = [sys.executable, "-m", "rag.llama.pipeline", "--front", front, "--patience", "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"genir: front {front}: nobody answered within 0 s (Connection refused)\n"
