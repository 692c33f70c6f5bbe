"""What the OpenAI-compatible server refuses, in OpenAI's form: parameters, prompts, bodies, names, ports."""

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from genir.errors import ConfigError, GenirError
from rag.serving.server import open_port, url_of
from tests.served_engine import Served, chat, complete, fault_of
from tests.tiny_journey import genir

REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"max_tokens": 100}, "prompt", "prompt of 6 tokens + max_tokens 100 exceeds the context of 96 tokens of 'echo': shorten the "),
    ({"prompt": "x" * 90}, "prompt", "prompt of 91 tokens + max_tokens 16 exceeds the context of 96 tokens"),
    ({"prompt": [1, 999]}, "prompt", "a prompt token lies outside the vocabulary: expected 0 to 257"),
    ({"prompt": [[]]}, "prompt", "empty prompt: expected at least one token; this tokenizer adds none of its own"),
    ({"prompt": [True, False]}, "prompt", "prompt: expected a text, a list of texts, a list of token ids, or a list of such"),
    ({"prompt": []}, "prompt", "prompt: expected a text, a list of texts"),
    ({"prompt": [1, "x"]}, "prompt", "prompt: expected a text, a list of texts"),
    ({"prompt": "x" * 5000}, "prompt", "prompt of 5000 characters exceeds the context of 96 tokens: give fewer or shorter"),
    ({"stop": ["x", 1]}, "stop[1]", "stop[1]: Input should be a valid string"),
    ({"stop": 1}, "stop", "stop: Input should be a valid list"),
    ({"temperature": 3}, "temperature", "temperature: Input should be less than or equal to 2"),
    ({"max_tokens": 0}, "max_tokens", "max_tokens: Input should be greater than or equal to 1"),
    ({"extra_body": {"repetition_penalty": 1e-40}}, "repetition_penalty", "repetition_penalty: Input should be greater than"),
    ({"extra_body": {"repetition_penalty": 1e9}}, "repetition_penalty", "repetition_penalty: Input should be less than or equal"),
    ({"n": 0}, "n", "n: Input should be greater than or equal to 1"),
    ({"logprobs": 4}, "logprobs", "logprobs 4: only the chosen tokens' are known here; ask for 1"),
    ({"echo": True}, None, "echo = True is not supported here; leave it out"),
    ({"extra_body": {"max_token": 3}}, "max_token", "max_token: Extra inputs are not permitted"),
    ({"top_p": 0.001}, None, "the engine refuses this"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "param", "message"), REFUSED)
def test_bad_requests_are_told_why(served: Served, options: dict[str, Any], param: str | None, message: str) -> None:
    for stream in (False, True):
        status, error = fault_of(lambda stream=stream: complete(served, **{"stream": stream} | options))  # type: ignore[misc]
        assert status == 400
        assert error["type"] == "invalid_request_error"
        assert error["message"].startswith(message)
        assert error["param"] == param


def test_other_errors_have_openai_s_form(served: Served) -> None:
    status, error = fault_of(lambda: served.client.completions.create(model="gpt", prompt="x"))
    assert (status, error["code"]) == (404, "model_not_found")
    assert error["message"] == "the model 'gpt' does not exist here; this server has 'echo'"
    status, error = fault_of(lambda: served.client.embeddings.create(model="echo", input="x"))
    assert (status, error["message"]) == (404, "POST /v1/embeddings: Not Found")
    status, error = fault_of(lambda: chat(served, "x" * 80))
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    messages = [{"role": "user", "content": [{"type": "text", "text": 1}]}]
    status, error = fault_of(lambda: served.client.chat.completions.create(model="echo", messages=messages))
    assert (status, error["param"]) == (400, "messages[0].content[0].text")
    served.engine.tokenizer.begin = []
    status, error = fault_of(lambda: complete(served, ""))
    assert (status, error["param"]) == (400, "prompt")
    assert error["message"] == "empty prompt: expected at least one token; this tokenizer adds none of its own"


def refused(served: Served, body: bytes) -> Any:
    """The error of a body that the client would not send."""
    request = Request(f"{served.url}/completions", body, {"Content-Type": "application/json"})
    with pytest.raises(HTTPError) as caught:
        urlopen(request, timeout=10)
    with caught.value as reply:
        assert reply.code == 400
        return json.load(reply)["error"]


def test_a_body_that_is_no_json_or_no_text(served: Served) -> None:
    error = refused(served, b"{not json")
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert error["message"].startswith("the body is no JSON: ")
    error = refused(served, rb'{"model": "echo", "prompt": "caf\udce9"}')
    assert error["param"] == "prompt"
    assert error["message"] == "prompt is not valid Unicode ('\\udce9' at character 3): give it in UTF-8"
    assert refused(served, rb'{"model": "echo", "prompt": "x", "stop": "\udce9"}')["param"] == "stop[0]"
    assert "unicode" in refused(served, rb'{"\udce9": "echo", "prompt": "x"}')["message"]


def test_a_port_in_use_is_one_line() -> None:
    with open_port("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        assert url_of(door) == f"http://127.0.0.1:{port}/v1"
        with pytest.raises(
            GenirError, match=rf"^port {port} of 127.0.0.1: Address already in use; give another --port, or 0"
        ):
            open_port("127.0.0.1", port)
    with open_port("127.0.0.1", port):
        pass  # it can be had again at once


def test_ports_and_hosts_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"^port 70000: expected 0"):
        open_port("127.0.0.1", 70_000)
    with pytest.raises(ConfigError, match=r"^host 'no such host'"):
        open_port("no such host", 0)
    with pytest.raises(GenirError, match=r"^port 0 of 203.0.113.9: Cannot assign requested address"):
        open_port("203.0.113.9", 0)


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    with open_port("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        line = genir("serve-llm", "--model", tmp_path, "--port", port).fault
        assert line == f"port {port} of 127.0.0.1: Address already in use; give another --port, or 0 for any free one"
    assert genir("serve-llm", "--model", tmp_path, "--port", 0).fault.startswith(f"{tmp_path}: has no config.json")
    assert genir("serve-llm", "--model", tmp_path / "none", "--port", 0).fault.startswith(
        f"{tmp_path}/none: no such folder"
    )
