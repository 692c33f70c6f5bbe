"""The generator over HTTP: against our own server, and against one that fails on purpose."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from genir.errors import ConfigError, GenirError
from genir.protocols import Generation, Generator, SamplingParams
from rag.generators.openai import OpenAIGenerator
from tests.scripted_engine import ScriptedEngine

PROMPTS = ["hello", "naïve 東京", "a, b"]
GREEDY = SamplingParams(max_new_tokens=20)
Reply = tuple[int, dict[str, str], bytes]  # status, headers, body


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
    pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')
    from rag.serving.server import serving

    with serving(ScriptedEngine()) as url:  # type: ignore[arg-type]
        yield url


@pytest.mark.parametrize("chat", [False, True])
def test_our_own_server_in_vllm_s_dialect(url: str, chat: bool) -> None:
    generator = OpenAIGenerator(url, dialect="vllm", chat=chat, retries=0)
    assert isinstance(generator, Generator)
    found = generator.generate(PROMPTS, GREEDY)
    for prompt, one in zip(PROMPTS, found, strict=True):
        expected = f"User: {prompt}\nAssistant:".encode()[:20].decode() if chat else prompt
        assert one.text == expected
        assert len(one.tokens) == len(one.logprobs)
        assert bytes(token for token in one.tokens if token < 256).decode() == one.text
        assert "".join(generator.stream(prompt, GREEDY)) == one.text
    assert generator.name == "echo"  # the only model there
    assert generator.generate([], GREEDY) == []


def test_parameters_reach_the_server(url: str) -> None:
    generator = OpenAIGenerator(url, "echo", dialect="vllm")
    assert generator.generate(["a, b"], SamplingParams(stop=(", ",)))[0] == Generation("a", (97, 44, 32), (-0.5,) * 3)
    assert generator.generate(["abc"], SamplingParams(temperature=1.0, seed=2, top_k=5))[0].text == "cde"
    assert generator.generate(["abc"], SamplingParams(max_new_tokens=2)) == [
        Generation("ab", (97, 98), (-0.5, -0.5), "length")
    ]
    assert generator.generate(["abc"], SamplingParams(logprobs=False))[0].logprobs == ()


def test_openai_s_own_dialect_has_neither_tokens_nor_their_logprobs(url: str) -> None:
    assert OpenAIGenerator(url).generate(["hi"], GREEDY) == [Generation("hi")]


def test_what_the_server_refuses_is_told_in_its_words(url: str) -> None:
    generator = OpenAIGenerator(url, "echo")
    with pytest.raises(
        GenirError, match=r"/completions: 400 Bad Request: prompt of 3 tokens .* exceeds the context of 96 tokens"
    ):
        generator.generate(["hi"], SamplingParams(max_new_tokens=100))
    with pytest.raises(GenirError, match=r"404 Not Found: the model 'gpt' does not exist here"):
        list(OpenAIGenerator(url, "gpt").stream("hi", GREEDY))


BAD = [
    (
        SamplingParams(top_k=3),
        "top_k 3: OpenAI's own dialect does not know it; leave it at 0, or use the generator llama",
    ),
    (SamplingParams(num_beams=2), "num_beams 2: OpenAI's API does not know it; leave it at 1"),
    (SamplingParams(repetition_penalty=1.2), "repetition_penalty 1.2: OpenAI's own dialect does not know it"),
]


@pytest.mark.parametrize(("params", "message"), BAD)
def test_what_the_api_does_not_know_is_refused(params: SamplingParams, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIGenerator("http://127.0.0.1:9", "m").generate(["x"], params)
    assert str(caught.value).startswith(message)


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"^base_url 'localhost:8000': expected http://HOST:PORT/v1"):
        OpenAIGenerator("localhost:8000", "m").generate(["x"], GREEDY)
    with pytest.raises(GenirError, match=r"no answer after 2 tries .* is the server running there"):
        OpenAIGenerator("http://127.0.0.1:9/v1", "m", retries=1, backoff=0).generate(["x"], GREEDY)


@dataclass
class Script:
    """What the failing server answers, request by request, and what it was asked."""

    replies: list[Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def scripted(*replies: Reply) -> Iterator[tuple[str, Script]]:
    script = Script(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.do_GET()

        def do_GET(self) -> None:
            script.keys.append(self.headers["Authorization"])
            status, headers, body = script.replies.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", script
        server.shutdown()
        thread.join()


def reply(text: str) -> Reply:
    return 200, {}, json.dumps({"choices": [{"text": text, "finish_reason": "stop"}]}).encode()


def test_passing_faults_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("rag.generators.openai.time.sleep", waits.append)
    busy = (429, {"Retry-After": "7"}, b"{}")
    broken: Reply = (503, {}, b'{"error": {"message": "starting"}}')
    with scripted(broken, busy, (500, {"Retry-After": "tomorrow"}, b""), reply("done")) as (url, script):
        assert OpenAIGenerator(url, "m").generate(["x"], GREEDY) == [Generation("done")]
    assert waits == [0.5, 7.0, 2.0]
    assert len({json.dumps(body) for body in script.asked}) == 1  # the same request each time
    with scripted(broken, broken) as (url, _), pytest.raises(GenirError, match=r"/completions: 503 .*: starting$"):
        OpenAIGenerator(url, "m", retries=1).generate(["x"], GREEDY)


def test_a_fault_of_the_request_is_not_tried_again() -> None:
    with scripted((422, {}, b"<html>no</html>"), reply("never")) as (url, script):
        with pytest.raises(GenirError, match=r"422 .*: <html>no</html>$"):
            OpenAIGenerator(url, "m").generate(["x"], GREEDY)
        assert len(script.asked) == 1


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MY_KEY", "secret")
    denied: Reply = (401, {}, b'{"error": {"message": "no key"}}')
    with scripted(reply("a"), denied) as (url, script):
        OpenAIGenerator(url, "m", api_key_env="MY_KEY").generate(["x"], GREEDY)
        with pytest.raises(
            GenirError, match=r"401 .*: no key; set the environment variable OPENAI_API_KEY to a valid key$"
        ):
            OpenAIGenerator(url, "m").generate(["x"], GREEDY)
    assert script.keys == ["Bearer secret", None]


def test_replies_that_are_no_completions() -> None:
    with scripted((200, {}, b"<html>"), (200, {}, b'{"choices": []}'), reply("x")) as (url, _):
        with pytest.raises(GenirError, match=r"expected a JSON object, got b'<html>'; does base_url end in /v1"):
            OpenAIGenerator(url, "m").generate(["x"], GREEDY)
        with pytest.raises(GenirError, match=r"expected a completion, got {'choices': \[\]}"):
            OpenAIGenerator(url, "m").generate(["x"], GREEDY)
        with pytest.raises(GenirError, match=r"sends no token_ids, so it does not speak vLLM's dialect; use 'openai'"):
            OpenAIGenerator(url, "m", dialect="vllm").generate(["x"], GREEDY)


def test_several_models_must_be_told_apart() -> None:
    models: Reply = (200, {}, b'{"data": [{"id": "a"}, {"id": "b"}]}')
    with scripted(models) as (url, _), pytest.raises(ConfigError, match=r"offers 2 models \(a, b\); name one"):
        OpenAIGenerator(url).generate(["x"], GREEDY)


def test_a_stream_that_breaks_off_or_ends_in_an_error() -> None:
    piece = b'data: {"choices": [{"text": "he"}]}\n\n'
    error = b'data: {"error": {"message": "stage 1 died"}}\n\n'
    with scripted((200, {}, piece), (200, {}, piece + error)) as (url, _):
        for message in ("the stream broke off before its end; ask again", "stage 1 died"):
            pieces = OpenAIGenerator(url, "m").stream("x", GREEDY)
            assert next(pieces) == "he"
            with pytest.raises(GenirError, match=message):
                next(pieces)
