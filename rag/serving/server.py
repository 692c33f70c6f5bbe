"""The server: a port, the engine, uvicorn (extra "serve"). The port is taken first, so that nobody loads a model in vain."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genir.errors import ConfigError, GenirError, MissingExtraError
from rag.serving.loop import EngineLoop

if TYPE_CHECKING:
    from rag.llama.engine import LlamaEngine

_GRACE = 5  # seconds that running replies have at the end


def open_port(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 takes a free one. Raises GenirError in one line where it cannot be had."""
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port {port}: expected 0 (any free one) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ConfigError(f"host {host!r}: {error.strerror}; give an address of this machine, e.g. 127.0.0.1") from None
    door = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # a port whose last connections are fading away can be had again; one in use cannot
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(2048)
    except OSError as error:
        door.close()
        raise GenirError(
            f"port {port} of {host}: {error.strerror}; give another --port, or 0 for any free one"
        ) from None
    return door


def url_of(door: socket.socket) -> str:
    """The base URL for clients, e.g. http://127.0.0.1:8000/v1."""
    host, port = door.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def serve(engine: "LlamaEngine", door: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal ends the process; then the engine is closed. `ready` is called once the engine is up."""
    loop = EngineLoop(engine)
    server = _uvicorn(loop, door)
    loop.start()
    try:
        ready()
        server.run(sockets=[door])
    finally:
        loop.close()


@contextmanager
def serving(engine: "LlamaEngine", host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The server in a thread of this process, for as long as the block runs; gives the base URL."""
    with open_port(host, port) as door:
        loop = EngineLoop(engine)
        server = _uvicorn(loop, door)
        loop.start()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="server", daemon=True)
        thread.start()
        try:
            yield url_of(door)
        finally:
            server.should_exit = True
            thread.join()
            loop.close()


def _uvicorn(loop: EngineLoop, door: socket.socket) -> Any:
    try:
        import fastapi  # noqa: F401 - asked for here, where its absence can be told in one line
        import uvicorn
    except ImportError as error:
        door.close()
        raise MissingExtraError(error.name or "fastapi", "serve", "genir serve-llm") from None
    from rag.serving.app import create_app

    config = uvicorn.Config(create_app(loop), log_level="warning", timeout_graceful_shutdown=_GRACE)
    return uvicorn.Server(config)
