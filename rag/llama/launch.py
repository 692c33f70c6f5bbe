"""Processes of stages: started on this machine with one end of a socket pair each, or awaited from torchrun at an address.

`python -m rag.llama.pipeline` is a stage. Started here it inherits its socket (--socket FD), and no port is opened but gloo's own on
the loopback interface. Under torchrun it calls the front (--front HOST:PORT), waits where nobody listens there yet, and both sides
prove that they know GENIR_FRONT_KEY.
"""

import argparse
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep

from genir.errors import ConfigError, GenirError
from rag.llama.runner import StageSetup

_KEY = "GENIR_FRONT_KEY"
_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 600.0  # s that a stage waits for its front
_PAUSE = 0.2  # s between its calls
_HANDSHAKE = 10.0  # s that a caller has to prove that it knows the key
_MOMENT = 0.05  # s between looks at those who have

_Caller = tuple[int, int, Connection]  # rank, number of stages, connection


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
        try:
            for process in self.processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(0.0, deadline - monotonic()))
        finally:  # whoever loses patience earlier, by Ctrl-C, leaves nothing behind
            for process in self.processes:
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
                    command,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    process_group=0,  # the terminal's Ctrl-C is for the front, which decides what it means
                )
            started.processes.append(process)
            started.connections.append(Connection(ours.detach()))
    except BaseException:
        started.end(patience=0.0)
        raise
    return started


def listen(front: str, stages: int, timeout: float) -> Launched:
    """Await `stages` stages at HOST:PORT. Raises ConfigError for an address that cannot be used, GenirError where they do not come."""
    address, key = _address(front), _key()
    door = _open(address, front)
    callers, greetings = SimpleQueue[_Caller](), list[_Greeting]()
    deadline, found = monotonic() + timeout, dict[int, Connection]()
    try:
        while len(found) < stages:
            if monotonic() > deadline:
                raise GenirError(f"only {len(found)} of {stages} stages came to {front} within {timeout:.0f} s")
            with suppress(TimeoutError):
                greetings.append(_Greeting(door.accept()[0], key, callers))
            for greeting in greetings:
                greeting.look_at_the_clock()
            while not callers.empty():
                rank, world, caller = callers.get()
                if rank in found:  # torchrun has started it again
                    found[rank].close()
                found[rank] = caller
                if world != stages:
                    raise ConfigError(
                        f"torchrun started {world} stages, the front was told {stages}: give both the same number"
                    )
    except BaseException:
        for connection in found.values():
            connection.close()
        raise
    finally:
        door.close()
        for greeting in greetings:
            greeting.end()
        while not callers.empty():
            callers.get()[2].close()
    return Launched([found[rank] for rank in range(stages)], "env://")


def limit_sends(connection: Connection, seconds: float) -> None:
    """Let sending on a connection raise BlockingIOError where the other side takes nothing for `seconds`, instead of waiting on."""
    whole = int(seconds)
    limit = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as line:  # the limit is the socket's, whoever holds it
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def own_connection() -> Connection:
    """A stage's connection to its front, from the command line. Raises GenirError where there is no front to be had."""
    parser = argparse.ArgumentParser(prog="python -m rag.llama.pipeline", description="One stage of a LLaMA pipeline.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--socket", type=int, metavar="FD", help="inherited socket (used by the engine itself)")
    way.add_argument("--front", metavar="HOST:PORT", help=f"where the front listens; both sides need {_KEY}")
    parser.add_argument(
        "--patience", type=float, default=_PATIENCE, metavar="S", help="seconds to wait for the front (%(default).0f)"
    )
    chosen = parser.parse_args()
    return Connection(chosen.socket) if chosen.socket is not None else call(chosen.front, chosen.patience)


def call(front: str, patience: float = _PATIENCE) -> Connection:
    """Call the front, again and again for `patience` seconds. Raises ConfigError for a wrong key, GenirError where nobody answers."""
    host, port = _address(front)
    key, deadline = _key(), monotonic() + patience
    while True:
        try:
            connection: Connection = Client((host, port), authkey=key)
            connection.send_bytes(f"{os.environ['RANK']} {os.environ['WORLD_SIZE']}".encode())
            return connection
        except AuthenticationError:
            raise ConfigError(f"front {front}: it has another {_KEY}; give both sides the same") from None
        except (OSError, EOFError) as error:
            if monotonic() > deadline:
                reason = getattr(error, "strerror", None) or "it hung up"
                raise GenirError(f"front {front}: nobody answered within {patience:.0f} s ({reason})") from None
        sleep(_PAUSE)


def _address(front: str) -> tuple[str, int]:
    host, _, port = front.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"front {front!r}: expected HOST:PORT")
    return host, int(port)


def _key() -> bytes:
    key = os.environ.get(_KEY, "").encode()
    if not key:
        raise ConfigError(
            f"{_KEY} is not set: stages under torchrun and the front prove to each other that they know it"
        )
    return key


def _open(address: tuple[str, int], front: str) -> socket.socket:
    """A listening socket at HOST:PORT that waits a moment for each caller. Raises ConfigError where it cannot be had."""
    door = socket.socket()
    try:
        if os.name == "posix":  # a port whose last connections are fading away can be had again; one in use cannot
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen()
    except OSError as error:
        door.close()
        raise ConfigError(
            f"front {front}: cannot listen there ({error.strerror}); give a free port of this machine"
        ) from None
    door.settimeout(_MOMENT)
    return door


class _Greeting:
    """The handshake with one caller, on a thread of its own, so that one who says nothing keeps nobody waiting."""

    def __init__(self, line: socket.socket, key: bytes, callers: "SimpleQueue[_Caller]") -> None:
        self._line, self._until = line, monotonic() + _HANDSHAKE
        caller = Connection(os.dup(line.fileno()))
        self._thread = threading.Thread(target=self._greet, args=(caller, key, callers), daemon=True)
        self._thread.start()

    @staticmethod
    def _greet(caller: Connection, key: bytes, callers: "SimpleQueue[_Caller]") -> None:
        """Let in a caller that knows the key and says who it is."""
        try:
            deliver_challenge(caller, key)
            answer_challenge(caller, key)
            rank, world = (int(word) for word in caller.recv_bytes().split())
        except (AuthenticationError, EOFError, OSError, ValueError):
            caller.close()  # a stranger, or a stage that died in the meantime
        else:
            callers.put((rank, world, caller))

    def look_at_the_clock(self) -> None:
        """Hang up where it takes too long."""
        if monotonic() > self._until and self._thread.is_alive():
            self._hang_up()

    def end(self) -> None:
        """Hang up on a caller that has not said who it is; nothing is left but the connections of those who have."""
        if self._thread.is_alive():
            self._hang_up()
        self._thread.join()
        self._line.close()

    def _hang_up(self) -> None:
        with suppress(OSError):  # it has hung up itself
            self._line.shutdown(socket.SHUT_RDWR)


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
