"""The OpenAI-compatible server, asked by the real `openai` client over a real port; the engine is scripted, so that faults come on time."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from genir.errors import ConfigError, GenirError
from genir.protocols import SamplingParams
from rag.llama.runner import StageError
from rag.serving.chat import chat_prompt, plain_chat
from rag.serving.loop import EngineDownError, EngineLoop, Listen, Update, _Listener
from rag.serving.server import open_port, serving, url_of
from tests.scripted_engine import ByteTokenizer, ScriptedEngine
from tests.tiny_journey import genir

openai = pytest.importorskip("openai", reason="the openai client is a development package")
STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260k"

pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')


@dataclass
class Served:
    """A running server, its engine, and a client."""

    engine: ScriptedEngine
    url: str
    client: Any


@pytest.fixture
def served() -> Iterator[Served]:
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


def test_models_and_health(served: Served) -> None:
    assert [model.id for model in served.client.models.list()] == ["echo"]
    assert served.client.models.retrieve("echo").id == "echo"
    status, error = fault_of(lambda: served.client.models.retrieve("meta/gpt"))
    assert (status, error["code"]) == (404, "model_not_found")
    assert health(served) == {"status": "ok"}


def health(served: Served) -> Any:
    with urlopen(served.url.removesuffix("/v1") + "/health", timeout=10) as response:
        return json.load(response)


def test_a_completion(served: Served) -> None:
    reply = complete(served)
    assert reply.object == "text_completion"
    assert reply.id.startswith("cmpl-")
    assert reply.model == "echo"
    [choice] = reply.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (0, "hello", "stop", None)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (6, 6, 12)


def test_length_stop_and_several_prompts(served: Served) -> None:
    reply = complete(served, ["hello", "world"], max_tokens=3)
    assert [(c.index, c.text, c.finish_reason) for c in reply.choices] == [(0, "hel", "length"), (1, "wor", "length")]
    assert complete(served, "one, two", stop=[", t", "zz"]).choices[0].text == "one"
    assert complete(served, "one, two", stop=",").choices[0].finish_reason == "stop"
    assert complete(served, [256, 104, 105]).choices[0].text == "hi"
    assert [choice.text for choice in complete(served, [[104], [105]]).choices] == ["h", "i"]


def test_several_choices_have_seeds_of_their_own_and_repeat(served: Served) -> None:
    first = complete(served, "abc", n=3, temperature=1, seed=1)
    assert [choice.text for choice in first.choices] == ["bcd", "cde", "def"]
    again = complete(served, "abc", n=3, temperature=1, seed=1)
    assert [choice.text for choice in again.choices] == ["bcd", "cde", "def"]
    assert first.usage.prompt_tokens == 4  # read once
    assert first.usage.completion_tokens == 12


@pytest.mark.parametrize("prompt", ["hello", "naïve 東京", "stop, here"])
def test_streaming_equals_not_streaming(served: Served, prompt: str) -> None:
    options: dict[str, Any] = {"n": 2, "max_tokens": 40, "stop": [" here"]}
    whole = complete(served, prompt, **options)
    texts, reasons = ["", ""], ["", ""]
    events = list(complete(served, prompt, stream=True, stream_options={"include_usage": True}, **options))
    for event in events[:-1]:
        assert event.usage is None
        for choice in event.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.text for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert events[-1].usage == whole.usage
    assert len(events) > 4  # it came in pieces


def test_a_chat_without_a_template(served: Served) -> None:
    reply = chat(served, "hi", max_completion_tokens=5)
    [choice] = reply.choices
    assert reply.object == "chat.completion"
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "User:", "length")
    # The plain template ends an answer where the user's next line would begin.
    assert chat(served, "hi", "ho", "hm").choices[0].message.content == "User: hi\nAssistant: ho"


def test_a_chat_as_a_stream(served: Served) -> None:
    events = list(chat(served, "hi", stream=True))
    assert events[0].choices[0].delta.role == "assistant"
    whole = chat(served, "hi").choices[0]
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole.message.content
    assert events[-1].choices[0].finish_reason == whole.finish_reason


def test_the_model_s_own_template_is_used_and_its_refusal_told(served: Served) -> None:
    served.engine.tokenizer.chat_template = "any"

    def apply(turns: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool) -> str:
        assert (tokenize, add_generation_prompt) == (False, True)
        if turns[0]["role"] != "user":
            from jinja2 import TemplateError

            raise TemplateError("roles must alternate")
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns)

    served.engine.tokenizer.apply_chat_template = apply
    assert chat(served, "hi\nUser: x").choices[0].message.content == "<user>hi\nUser: x"
    status, error = fault_of(
        lambda: served.client.chat.completions.create(model="echo", messages=[{"role": "system", "content": "x"}]),
    )
    assert (status, error["param"]) == (400, "messages")
    assert error["message"] == "the model's chat template refuses these messages: roles must alternate"


def test_the_plain_template() -> None:
    from rag.serving.requests import Message

    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye")]
    messages = [Message(role=role, content=text) for role, text in turns]  # type: ignore[arg-type]
    assert plain_chat(messages) == "Be brief.\n\nUser: Hi\nAssistant: Yes?\nUser: Bye\nAssistant:"
    prompt = chat_prompt(ByteTokenizer(), messages)  # type: ignore[arg-type]
    assert (prompt.text, prompt.special, prompt.stop) == (plain_chat(messages), True, ("\nUser:",))


def test_logprobs_and_token_ids(served: Served) -> None:
    found = complete(served, "aé", logprobs=1, extra_body={"return_token_ids": True}).choices[0]
    assert found.logprobs.token_logprobs == [-0.5] * 4
    assert found.logprobs.tokens == ["a", "", "é", ""]  # half a character, the whole of it, the end
    assert found.logprobs.text_offset == [0, 1, 1, 2]
    assert found.token_ids == [97, 195, 169, 257]
    content = chat(served, "x", logprobs=True, max_completion_tokens=4).choices[0].logprobs.content
    assert "".join(one.token for one in content) == "User"
    assert {one.logprob for one in content} == {-0.5}
    streamed = list(complete(served, "ab", logprobs=0, stream=True))
    assert [token for event in streamed for token in event.choices[0].logprobs.tokens] == ["a", "b", ""]


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


def test_an_empty_prompt_where_the_tokenizer_begins_a_text(served: Served) -> None:
    assert complete(served, "").usage.prompt_tokens == 1


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


def test_book_keeping_neutral_values_and_nulls_change_nothing(served: Served) -> None:
    options = {"user": "me", "frequency_penalty": 0, "echo": False, "logprobs": None, "max_tokens": None, "stop": None}
    assert complete(served, **options).choices[0].text == "hello"
    assert chat(served, "hi", "ho", "hm", tool_choice="none").choices[0].message.content == "User: hi\nAssistant: ho"


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


def test_a_chat_without_a_length_takes_what_fits(served: Served) -> None:
    """It was once refused, because the whole context did not fit the cache."""
    served.engine.cache = 40
    reply = chat(served, "hi")
    assert reply.usage.total_tokens <= 40
    assert fault_of(lambda: chat(served, "hi", max_completion_tokens=60))[1]["message"] == "the cache is too small"


def test_a_client_that_leaves_in_mid_stream_ends_its_request(served: Served) -> None:
    events = complete(served, "hello", stream=True)
    served.engine.go.clear()
    next(iter(events))
    events.close()
    if served.engine.running:  # it may have been written to its end before the engine stood still
        wait_for(lambda: bool(served.engine.cancelled))
    served.engine.go.set()
    assert complete(served).choices[0].text == "hello"  # the others go on


def test_a_fault_ends_every_request_and_the_engine_starts_again(served: Served) -> None:
    served.engine.faults = [GenirError("stage 1 of 2 died"), ValueError("a fault of ours")]
    status, error = fault_of(lambda: complete(served))
    assert (status, error["type"], error["message"]) == (500, "server_error", "stage 1 of 2 died")
    wait_for(lambda: served.engine.starts == 2)
    status, error = fault_of(lambda: complete(served))
    assert (status, error["message"]) == (500, "the engine broke: ValueError('a fault of ours')")
    wait_for(lambda: served.engine.starts == 3)
    assert complete(served).choices[0].text == "hello"


def test_a_fault_in_mid_stream_is_an_event(served: Served) -> None:
    served.engine.faults, served.engine.fault_after = [GenirError("stage 0 hangs")], 3
    events = iter(complete(served, stream=True))
    pieces = [next(events).choices[0].text for _ in range(3)]
    with pytest.raises(openai.APIError, match="stage 0 hangs"):
        next(events)
    assert pieces == ["h", "e", "l"]


def test_while_the_engine_is_down_requests_are_refused(served: Served) -> None:
    served.engine.restart_fault = GenirError("the shards are gone")
    served.engine.faults = [GenirError("stage 1 of 2 died")]
    assert fault_of(lambda: complete(served))[0] == 500
    wait_for(lambda: fault_of(lambda: complete(served))[1]["message"] == "the engine is down: the shards are gone")
    with pytest.raises(openai.APIStatusError) as caught:
        complete(served)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "2")
    with pytest.raises(OSError, match="503"):
        urlopen(served.url.removesuffix("/v1") + "/health")


def test_stages_that_die_while_nothing_runs_are_started_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were once noticed by the next request, which they cost."""
    served.engine.stage_fault = StageError("stage 1 was killed")
    assert complete(served).choices[0].text == "hello"
    assert served.engine.starts == 2
    monkeypatch.setattr("rag.serving.loop._LOOK", 0.02)
    assert complete(served).choices[0].text == "hello"
    served.engine.stage_fault = StageError("stage 1 was killed")
    wait_for(lambda: served.engine.starts == 3)
    wait_for(lambda: health(served) == {"status": "ok"})


def test_a_request_that_meets_a_fault_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look whether the engine is up and the queue a fault once fitted: the request ended well, and "cancelled"."""
    loop = EngineLoop(ScriptedEngine())  # type: ignore[arg-type]
    error, heard = GenirError("stage 0 died"), list[Update]()
    failing = threading.Thread(target=loop._fail, args=(error,))

    class Listener(_Listener):
        def __init__(self, listen: Listen) -> None:
            super().__init__(listen)
            failing.start()
            failing.join(0.3)

    monkeypatch.setattr("rag.serving.loop._Listener", Listener)
    request = loop.submit([104], SamplingParams(), heard.append)
    failing.join()
    assert [update.error for update in heard] == [error]
    loop._listeners.clear()
    request.finish_reason = "cancelled"
    assert request.on_update is not None
    request.on_update(request)
    assert len(heard) == 1  # what has ended ends once
    with pytest.raises(EngineDownError, match="the engine is down: stage 0 died"):
        loop.submit([104], SamplingParams(), heard.append)
    loop.close()
    with pytest.raises(EngineDownError, match="the server is shutting down"):
        loop.submit([104], SamplingParams(), heard.append)


def test_closing_ends_what_runs() -> None:
    engine = ScriptedEngine()
    heard: list[Update] = []
    loop = EngineLoop(engine)  # type: ignore[arg-type]
    engine.go.clear()
    loop.start()
    loop.submit([104, 105], SamplingParams(), heard.append)
    loop._stopping = True
    engine.go.set()
    loop.close()
    assert heard[-1].finish_reason == "error"
    assert str(heard[-1].error) == "the server is shutting down"


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


@pytest.mark.parametrize("stages", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_real_model(stages: int) -> None:
    """The story that the checkpoint is known for, to two clients at once, streamed and whole."""
    if not STORIES.is_dir():
        pytest.skip("no real model here: ../shared/models is absent")
    from rag.llama.engine import EngineOptions, LlamaEngine

    begin, known = "Once upon a time", ", there was a little girl named Lily. She loved to play outside in the park."
    with serving(LlamaEngine(STORIES, EngineOptions(stages=stages, threads=1))) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=30)
        ask = partial(client.completions.create, model="stories260k", temperature=0, max_tokens=24)
        texts: dict[str, str] = {}

        def stream() -> None:
            texts["streamed"] = "".join(event.choices[0].text for event in ask(prompt=begin, stream=True))

        def whole() -> None:
            texts["whole"] = ask(prompt=begin).choices[0].text

        threads = [threading.Thread(target=stream), threading.Thread(target=whole)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts["streamed"] == texts["whole"]
        assert known.startswith(texts["whole"])
        drawn = [ask(prompt=begin, temperature=1, seed=3, logprobs=0).choices[0] for _ in range(2)]
        assert drawn[0].text == drawn[1].text != texts["whole"]
        assert len(drawn[0].logprobs.token_logprobs) == len(drawn[0].logprobs.tokens) == 24
        assert "".join(drawn[0].logprobs.tokens) == drawn[0].text
        status, error = fault_of(lambda: ask(prompt=begin * 200))
        assert (status, error["code"]) == (400, "context_length_exceeded")
        messages = [{"role": "user", "content": "Tell me a story."}]
        reply = client.chat.completions.create(
            model="stories260k", messages=messages, max_completion_tokens=8, temperature=0
        )
        assert reply.usage.completion_tokens == 8
        client.close()


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    with open_port("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        line = genir("serve-llm", "--model", tmp_path, "--port", port).fault
        assert line == f"port {port} of 127.0.0.1: Address already in use; give another --port, or 0 for any free one"
    assert genir("serve-llm", "--model", tmp_path, "--port", 0).fault.startswith(f"{tmp_path}: has no config.json")
    assert genir("serve-llm", "--model", tmp_path / "none", "--port", 0).fault.startswith(
        f"{tmp_path}/none: no such folder"
    )
