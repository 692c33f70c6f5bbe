"""What the OpenAI-compatible server replies, asked by the real `openai` client over a real port."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rag.serving.chat import chat_prompt, plain_chat
from rag.serving.server import serving
from tests.scripted_engine import ByteTokenizer
from tests.served_engine import Served, chat, complete, fault_of, health, openai

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260k"


def test_models_and_health(served: Served) -> None:
    assert [model.id for model in served.client.models.list()] == ["echo"]
    assert served.client.models.retrieve("echo").id == "echo"
    status, error = fault_of(lambda: served.client.models.retrieve("meta/gpt"))
    assert (status, error["code"]) == (404, "model_not_found")
    assert health(served) == {"status": "ok"}


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


def test_an_empty_prompt_where_the_tokenizer_begins_a_text(served: Served) -> None:
    assert complete(served, "").usage.prompt_tokens == 1


def test_book_keeping_neutral_values_and_nulls_change_nothing(served: Served) -> None:
    options = {"user": "me", "frequency_penalty": 0, "echo": False, "logprobs": None, "max_tokens": None, "stop": None}
    assert complete(served, **options).choices[0].text == "hello"
    assert chat(served, "hi", "ho", "hm", tool_choice="none").choices[0].message.content == "User: hi\nAssistant: ho"


def test_a_chat_without_a_length_takes_what_fits(served: Served) -> None:
    """It was once refused, because the whole context did not fit the cache."""
    served.engine.cache = 40
    reply = chat(served, "hi")
    assert reply.usage.total_tokens <= 40
    assert fault_of(lambda: chat(served, "hi", max_completion_tokens=60))[1]["message"] == "the cache is too small"


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
