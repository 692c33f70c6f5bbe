"""Processes of stages: started on this machine with one end of a socket pair each, or awaited from torchrun at an address.

`python -m rag.llama.pipeline` is a stage. Started here it inherits its socket (--socket FD), and no port is opened but gloo's own on
the loopback interface. Under torchrun it calls the front (--front HOST:PORT) and both sides prove that they know GENIR_FRONT_KEY.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from genir.errors import ConfigError, GenirError
from rag.llama.runner import StageSetup

_KEY = "GENIR_FRONT_KEY"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Launched:
    """Running stages: a connection to each, in order, and what has to be tidied up."""

    connections: list[Connection]
    rendezvous: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    folder: str = ""

    def how_it_ended(self, number: int) -> str:
        """What became of a stage whose socket has ended."""
        if not self.processes:
            return "is gone"
        try:
            code = self.processes[number].wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def end(self, patience: float) -> None:
        """Wait `patience` seconds for the processes to end, then kill them; close sockets, remove the folder."""
        deadline = monotonic() + patience
        for process in self.processes:
            try:
                process.wait(timeout=max(0.0, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for process in self.processes:
            process.wait()
        for connection in self.connections:
            connection.close()
        self.met()

    def met(self) -> None:
        """All stages know each other: the folder where they met is not needed any more."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def launch(setups: Sequence[StageSetup]) -> Launched:
    """Start one process a stage on this machine."""
    folder = tempfile.mkdtemp(prefix="genir-stages-")
    started = Launched([], f"file://{folder}/rendezvous", folder=folder)
    try:
        for setup in setups:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-m", "rag.llama.pipeline", "--socket", str(theirs.fileno())]
                environment = _environment(setup, len(setups))
                process = subprocess.Popen(
                    command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
                )
            started.processes.append(process)
            started.connections.append(Connection(ours.detach()))
    except BaseException:
        started.end(patience=0.0)
        raise
    return started


def listen(front: str, stages: int, timeout: float) -> Launched:
    """Await `stages` stages at HOST:PORT. Raises ConfigError for an address that cannot be used, GenirError where they do not come."""
    host, _, port = front.rpartition(":")
    key = os.environ.get(_KEY, "").encode()
    if not host or not port.isdigit():
        raise ConfigError(f"front {front!r}: expected HOST:PORT")
    if not key:
        raise ConfigError(
            f"{_KEY} is not set: stages under torchrun and the front prove to each other that they know it"
        )
    try:
        listener = Listener((host, int(port)), authkey=key)
    except OSError as error:
        raise ConfigError(
            f"front {front}: cannot listen there ({error.strerror}); give a free port of this machine"
        ) from None
    callers: SimpleQueue[Connection] = SimpleQueue()
    threading.Thread(target=_accept, args=(listener, callers), daemon=True).start()
    deadline, found = monotonic() + timeout, dict[int, Connection]()
    try:
        while len(found) < stages:
            caller = callers.get(timeout=max(0.0, deadline - monotonic()))
            rank, world = (int(word) for word in caller.recv_bytes().split())
            if world != stages:
                raise ConfigError(
                    f"torchrun started {world} stages, the front was told {stages}: give both the same number"
                )
            found[rank] = caller
    except Empty:
        for connection in found.values():
            connection.close()
        raise GenirError(f"only {len(found)} of {stages} stages came to {front} within {timeout:.0f} s") from None
    finally:
        listener.close()
    return Launched([found[rank] for rank in range(stages)], "env://")


def own_connection() -> Connection:
    """A stage's connection to its front, from the command line."""
    parser = argparse.ArgumentParser(prog="python -m rag.llama.pipeline", description="One stage of a LLaMA pipeline.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--socket", type=int, metavar="FD", help="inherited socket (used by the engine itself)")
    way.add_argument("--front", metavar="HOST:PORT", help=f"where the front listens; both sides need {_KEY}")
    chosen = parser.parse_args()
    if chosen.socket is not None:
        return Connection(chosen.socket)
    host, _, port = chosen.front.rpartition(":")
    connection: Connection = Client((host, int(port)), authkey=os.environ.get(_KEY, "").encode())
    connection.send_bytes(f"{os.environ['RANK']} {os.environ['WORLD_SIZE']}".encode())
    return connection


def _accept(listener: Listener, callers: "SimpleQueue[Connection]") -> None:
    while True:
        try:
            callers.put(listener.accept())
        except (AuthenticationError, EOFError):
            continue  # a stranger
        except OSError:
            return  # closed


def _environment(setup: StageSetup, stages: int) -> dict[str, str]:
    """What a stage's process sees: its threads, where its code lies, and gloo kept on this machine."""
    environment = dict(os.environ)
    environment["OMP_NUM_THREADS"] = str(setup.threads)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Large pages for what torch and oneDNN allocate: decode steps on Linux take about a fifth less time.
    tunables = [environment.get("GLIBC_TUNABLES", ""), "glibc.malloc.hugetlb=1"]
    environment["GLIBC_TUNABLES"] = ":".join(filter(None, tunables))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH", "")]))
    environment |= {"RANK": str(setup.number), "WORLD_SIZE": str(stages), "LOCAL_RANK": str(setup.number)}
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    return environment
