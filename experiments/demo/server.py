"""The server: page and API under one roof, behind the gate, at a port that was taken first (uvicorn; extra "serve")."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.demo.desk import Desk
from experiments.demo.gate import LOCAL_HOSTS, Application, Gate
from genir.errors import MissingExtraError
from rag.serving.server import open_port, url_of

_CONNECTIONS = 256  # at once; uvicorn answers 503 beyond
_GRACE = 2  # seconds that running replies have at the end


def create_app(desk: Desk, host: str) -> Application:
    """The whole application for a server at `host`: the gate, the API, and the page at /."""
    import gradio

    from experiments.demo.api import create_api
    from experiments.demo.page import create_page, static_file

    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    app = gradio.mount_gradio_app(
        create_api(desk),
        create_page(desk),
        path="/",
        app_kwargs={"openapi_url": None, "docs_url": None, "redoc_url": None},
        css=static_file("page.css"),
        theme=theme,
        blocked_paths=[Path("/").anchor],
        max_file_size=1,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
    )
    return Gate(app, desk.limits, LOCAL_HOSTS if host in LOCAL_HOSTS else None)


def base_url(door: socket.socket) -> str:
    """Where the page is."""
    return url_of(door).removesuffix("/v1")


def serve(desk: Desk, door: socket.socket, host: str, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal ends the process. `ready` is called once everything is loaded."""
    with _uvicorn(desk, host) as server:
        ready()
        server.run(sockets=[door])


@contextmanager
def serving(desk: Desk, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The server in a thread of this process, for as long as the block runs; gives the page's URL."""
    with open_port(host, port) as door, _uvicorn(desk, host) as server:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="server", daemon=True)
        thread.start()
        try:
            yield base_url(door)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _uvicorn(desk: Desk, host: str) -> Iterator[Any]:
    """A server that has not begun; the desk is closed after it. Gradio's temporary files live as long."""
    with TemporaryDirectory(prefix="genir-serve-") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch
        check_installed()
        import uvicorn

        config = uvicorn.Config(
            create_app(desk, host),
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
            limit_concurrency=_CONNECTIONS,
            server_header=False,
            ws="none",
        )
        try:
            yield uvicorn.Server(config)
        finally:
            desk.close()


def check_installed() -> None:
    """Raise MissingExtraError, in one line, where the packages of the server are not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: it tells nobody
    try:
        import fastapi  # noqa: F401 - asked for here, where its absence can be told in one line
        import gradio  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "gradio", "serve", "genir serve") from None
