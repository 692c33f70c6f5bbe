"""The OpenAI-compatible server over a scripted engine, so that faults come on time, and how the real `openai` client asks it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import pytest

from rag.serving.server import serving
from tests.scripted_engine import ScriptedEngine

openai = pytest.importorskip("openai", reason="the openai client is a development package")
pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')


@dataclass
class Served:
    """A running server, its engine, and a client."""

    engine: ScriptedEngine
    url: str
    client: Any


@contextmanager
def serve_scripted() -> Iterator[Served]:
    """A server over a scripted engine, which is let go at the end."""
    engine = ScriptedEngine()
    with serving(engine) as url:  # type: ignore[arg-type]
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=10) as client:
            yield Served(engine, url, client)
        engine.go.set()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.01)


def complete(served: Served, prompt: Any = "hello", **options: Any) -> Any:
    return served.client.completions.create(model="echo", prompt=prompt, **{"temperature": 0} | options)


def chat(served: Served, *texts: str, **options: Any) -> Any:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return served.client.chat.completions.create(model="echo", messages=messages, **{"temperature": 0} | options)


def fault_of(ask: Callable[[], Any]) -> tuple[int, dict[str, Any]]:
    """(status, error object) of a refused request."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask()
    return caught.value.status_code, caught.value.body


def health(served: Served) -> Any:
    with urlopen(served.url.removesuffix("/v1") + "/health", timeout=10) as response:
        return json.load(response)
