"""Several clients of the OpenAI-compatible server: batched together, in nobody's way, and noticed when they leave."""

import json
import socket
import threading

import pytest

from tests.served_engine import Served, complete, health, wait_for


def test_a_prompt_that_is_long_to_read_stops_nobody_else(served: Served) -> None:
    """Prompts were once read within the event loop: one of three megabytes stopped the whole server for half a minute."""
    reading, go_on = threading.Event(), threading.Event()
    encode = served.engine.tokenizer.encode

    def encode_slowly(text: str, special: bool = True) -> list[int]:
        reading.set()
        go_on.wait(30)
        found: list[int] = encode(text, special)
        return found

    served.engine.tokenizer.encode = encode_slowly
    texts: list[str] = []
    asking = threading.Thread(target=lambda: texts.append(complete(served).choices[0].text))
    asking.start()
    assert reading.wait(10)
    assert health(served) == {"status": "ok"}
    assert complete(served, [104, 105]).choices[0].text == "hi"
    go_on.set()
    asking.join()
    assert texts == ["hello"]


def test_clients_are_batched_together(served: Served) -> None:
    served.engine.go.clear()
    texts: dict[str, str] = {}

    def ask(prompt: str) -> None:
        texts[prompt] = complete(served, prompt).choices[0].text

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in ("left", "right")]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(served.engine.running) == 2)
    served.engine.go.set()
    for thread in threads:
        thread.join()
    assert texts == {"left": "left", "right": "right"}
    assert served.engine.most_together == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_requests(served: Served, stream: bool) -> None:
    served.engine.go.clear()
    body = json.dumps({"model": "echo", "prompt": "hello", "n": 2, "stream": stream}).encode()
    host, port = served.url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        line.sendall(f"{head}\r\n\r\n".encode() + body)
        wait_for(lambda: len(served.engine.running) == 2)
    wait_for(lambda: len(served.engine.cancelled) == 2)
    served.engine.go.set()
    assert complete(served).choices[0].text == "hello"  # the others go on


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_while_tokens_flow_is_noticed(served: Served, stream: bool) -> None:
    """It was looked for only when no token had come for a while: a reply that nobody awaited was written to its end."""
    served.engine.pause = 0.1
    body = json.dumps({"model": "echo", "prompt": "x" * 60, "max_tokens": 30, "stream": stream}).encode()
    host, port = served.url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        line.sendall(f"{head}\r\n\r\n".encode() + body)
        wait_for(lambda: bool(served.engine.running) and len(served.engine.running[0].tokens) > 2)
    wait_for(lambda: len(served.engine.cancelled) == 1)
    assert len(served.engine.cancelled[0].tokens) < 20


def test_a_client_that_leaves_in_mid_stream_ends_its_request(served: Served) -> None:
    events = complete(served, "hello", stream=True)
    served.engine.go.clear()
    next(iter(events))
    events.close()
    if served.engine.running:  # it may have been written to its end before the engine stood still
        wait_for(lambda: bool(served.engine.cancelled))
    served.engine.go.set()
    assert complete(served).choices[0].text == "hello"  # the others go on
