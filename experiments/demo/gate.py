"""What stands between the network and the application: only known paths, small bodies, local hosts (plain ASGI; no framework).

Gradio serves files, uploads and proxied requests; the page needs none of them, so that what lies below /gradio_api is closed unless it is
named here. Every reply carries a policy that lets the page load nothing from elsewhere.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from experiments.demo.limits import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = frozenset(("127.0.0.1", "localhost", "::1"))
_GRADIO = "/gradio_api/"
_OPEN = frozenset(("queue/join", "queue/data", "startup-events", "info", "app_id", "cancel", "reset", "theme.css"))
_OPEN_BELOW = ("heartbeat/",)
_CLOSED = ("/monitoring", "/login", "/logout", "/manifest.json", "/pwa_icon")
_BODY_SECONDS = 10.0  # that a client has to send its request
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"no-referrer"),
]


def is_open(path: str) -> bool:
    """Whether a path (percent-decoded) may reach the application at all."""
    if ".." in path.split("/") or "\\" in path or "\0" in path or "//" in path:
        return False
    if path.startswith(_GRADIO):
        rest = path.removeprefix(_GRADIO).removesuffix("/")
        return rest in _OPEN or rest.startswith(_OPEN_BELOW)
    return not path.startswith(_CLOSED)


class Gate:
    """An ASGI application around another. `hosts` are the names by which it may be called, None for any.

    That a page elsewhere cannot give its own name this address (DNS rebinding) is what `hosts` is for.
    """

    def __init__(self, app: Application, limits: Limits, hosts: frozenset[str] | None = LOCAL_HOSTS) -> None:
        self.app = app
        self.limits = limits
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request; what starts and ends the application passes."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        if not self._is_ours(scope):
            await _refuse(send, 400, "this server answers to its own name only")
        elif not is_open(scope["path"]):
            await _refuse(send, 404, "not found")
        elif scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, _with_headers(send))
        else:
            await self._with_body(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        if self.hosts is None:
            return True
        named = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        try:
            return urlsplit(f"//{named}").hostname in self.hosts
        except ValueError:
            return False

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body first, so that a large or slow one never reaches the application."""
        try:
            body = await asyncio.wait_for(self._body(receive), _BODY_SECONDS)
        except TimeoutError:
            await _refuse(send, 408, f"the request did not arrive within {_BODY_SECONDS:g} s")
            return
        if body is None:
            await _refuse(send, 413, f"the request is larger than {self.limits.body} bytes")
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, _with_headers(send))

    async def _body(self, receive: Receive) -> bytes | None:
        """The body, or None where it is too large."""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.limits.body:
                return None
            if not message.get("more_body", False):
                return bytes(body)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
