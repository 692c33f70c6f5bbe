"""The gate: which paths, hosts and bodies reach the application."""

import asyncio
from typing import Any

import pytest

from experiments.demo.gate import LOCAL_HOSTS, Gate, Message, Receive, Scope, Send, is_open
from experiments.demo.limits import Limits


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/config",
        "/assets/index.js",
        "/api/answer",
        "/gradio_api/queue/join",
        "/gradio_api/heartbeat/abc",
        "/theme.css",
    ],
)
def test_what_the_page_needs_is_open(path: str) -> None:
    assert is_open(path)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/proxy=http://10.0.0.1",
        "/gradio_api/run/predict",
        "/gradio_api/call/ask",
        "/gradio_api/vibe-edit",
        "/gradio_api/run-history/records",
        "/assets/../../etc/passwd",
        "/assets/..",
        "//etc/passwd",
        "/static/..\\..\\secret",
        "/static/\0",
        "/monitoring",
        "/login",
    ],
)
def test_everything_else_of_gradio_is_closed(path: str) -> None:
    assert not is_open(path)


class Echo:
    """An application that answers 200 with the body that it was sent."""

    def __init__(self) -> None:
        self.called = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called += 1
        body = b"" if scope["type"] == "lifespan" else (await receive()).get("body", b"")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": body})


def ask(
    gate: Gate, path: str = "/", method: str = "GET", host: str = "127.0.0.1:7860", chunks: tuple[bytes, ...] = (b"",)
) -> list[Message]:
    sent: list[Message] = []
    waiting = [{"type": "http.request", "body": one, "more_body": True} for one in chunks]
    waiting[-1]["more_body"] = False

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "headers": [(b"host", host.encode())]}
    asyncio.run(gate(scope, receive, send))
    return sent


def test_a_request_passes_with_the_policy_in_its_reply() -> None:
    start, body = ask(Gate(Echo(), Limits()), method="POST", chunks=(b"ab", b"cd"))
    headers = dict(start["headers"])
    assert (start["status"], body["body"]) == (200, b"abcd")
    assert b"connect-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"x"] == b"y"


@pytest.mark.parametrize("chunks", [(b"x" * 101,), (b"x" * 60, b"x" * 60)])
def test_a_large_body_never_arrives(chunks: tuple[bytes, ...]) -> None:
    echo = Echo()
    start, body = ask(Gate(echo, Limits(body=100)), method="POST", chunks=chunks)
    assert (start["status"], body["body"]) == (413, b'{"error": "the request is larger than 100 bytes"}')
    assert echo.called == 0


def test_a_slow_body_never_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.demo.gate._BODY_SECONDS", 0.01)
    echo, sent = Echo(), []

    async def receive() -> Message:
        await asyncio.sleep(5)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "method": "POST", "headers": [(b"host", b"localhost")]}
    asyncio.run(Gate(echo, Limits())(scope, receive, send))
    assert sent[0]["status"] == 408
    assert echo.called == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:7860", "[::1]:7860"])
def test_local_names_are_served(host: str) -> None:
    assert ask(Gate(Echo(), Limits()), host=host)[0]["status"] == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "", "[::1", "127.0.0.1.evil.example"])
def test_other_names_are_not(host: str) -> None:
    """A page elsewhere may give its own name this machine's address; its browser then names it here."""
    assert ask(Gate(Echo(), Limits(), LOCAL_HOSTS), host=host)[0]["status"] == 400
    assert ask(Gate(Echo(), Limits(), None), host=host)[0]["status"] == 200


def test_a_closed_path_is_not_found() -> None:
    echo = Echo()
    assert ask(Gate(echo, Limits()), path="/gradio_api/file=/etc/passwd")[0]["status"] == 404
    assert echo.called == 0
