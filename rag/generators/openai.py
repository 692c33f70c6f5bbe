"""Any server that speaks OpenAI's completions API as a `Generator`: ours (`genir serve-llm`), vLLM's, llama.cpp's, OpenAI's.

Plain HTTP by the standard library, one request a prompt, `parallel` of them at once, so that a server with continuous batching can
batch them. A request is tried again after a connection that fails, "too many requests" or a server's own fault, and never after a
fault of the request. Leaving `stream` early closes the connection, which is how a server learns that nobody reads on.

Known gaps: what a prompt for `/completions` holds is the server's to read, and special tokens spelled out in it are special there, ours
included; with `chat` our server reads them as text. OpenAI's own dialect knows no `top_k`, `repetition_penalty` or `ignore_eos` (refused)
and no token ids, so generations carry no tokens and, to stand beside them, no log-probabilities; the vLLM dialect, which our server
speaks too, has them all.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, Literal, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from genir.errors import ConfigError, GenirError
from genir.protocols import Generation, SamplingParams
from rag.generators.limits import refuse

T = TypeVar("T")

_PASSING = (408, 409, 429)  # and every status from 500 on: worth another try
_LONGEST_WAIT = 30.0  # seconds, whatever a server asks for


@dataclass
class OpenAIGenerator:
    """`base_url` ends where `/completions` begins, e.g. http://127.0.0.1:8000/v1.

    `model`: its name at the server; empty for the only one there. `api_key_env`: the environment variable that holds the key; no
    key is sent where it is unset. `dialect` "vllm": the server also knows vLLM's parameters. `chat`: a prompt is a
    user's message to `/chat/completions`. `timeout` (seconds) bounds each wait for the server; the n-th further try waits
    `backoff` * 2 ** n seconds, or what the server asks for.
    """

    base_url: str
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    dialect: Literal["openai", "vllm"] = "openai"
    chat: bool = False
    timeout: float = 120.0
    retries: int = 3
    backoff: float = 0.5
    parallel: int = 8
    label: str = ""

    @property
    def name(self) -> str:
        """The label, or the model, or the address."""
        return self.label or self.model or self.base_url

    def models(self) -> list[str]:
        """Names of the models that the server offers."""
        reply = self._object(self._ask("/models", None, HTTPResponse.read))
        try:
            return [str(entry["id"]) for entry in reply["data"]]
        except (KeyError, TypeError) as error:
            raise self._unexpected("/models", "a list of models", reply, error) from None

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """One generation a prompt, in order. Raises GenirError with the server's own words where it refuses."""
        if not prompts:
            return []
        bodies = [self._body(prompt, params) for prompt in prompts]
        with ThreadPoolExecutor(min(self.parallel, len(bodies))) as pool:
            try:
                return list(pool.map(self._complete, bodies))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The text of `generate` in the pieces that the server sends."""
        yield from (piece for piece in self.stream_generation(prompt, params) if isinstance(piece, str))

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The pieces of `stream`, then what `generate` gives."""
        body = self._body(prompt, params) | {"stream": True}
        pieces: list[str] = []
        tokens: list[int] = []
        logprobs: list[float] = []
        reason = "stop"
        with self._ask(self._path, body, lambda response: response) as response:
            for event in self._events(response):
                for choice in event.get("choices", ()):
                    piece = choice.get("delta", {}).get("content") if self.chat else choice.get("text")
                    if piece:
                        pieces.append(piece)
                        yield piece
                    if self.dialect == "vllm" and choice.get("token_ids"):
                        new, sure = self._tokens(choice)
                        tokens, logprobs = [*tokens, *new], [*logprobs, *sure]
                    reason = choice.get("finish_reason") or reason
        yield Generation("".join(pieces), tuple(tokens), tuple(logprobs), reason)

    @property
    def _path(self) -> str:
        return "/chat/completions" if self.chat else "/completions"

    def _body(self, prompt: str, params: SamplingParams) -> dict[str, Any]:
        refuse(params, ("num_beams", "length_penalty"), "OpenAI's API")
        if not self.model:
            offered = self.models()
            if len(offered) != 1:
                raise ConfigError(f"{self.base_url}: offers {len(offered)} models ({', '.join(offered)}); name one")
            self.model = offered[0]
        body: dict[str, Any] = {"model": self.model, "temperature": params.temperature, "seed": params.seed}
        if self.chat:
            body |= {"messages": [{"role": "user", "content": prompt}], "max_completion_tokens": params.max_new_tokens}
        else:
            body |= {"prompt": prompt, "max_tokens": params.max_new_tokens}
        if params.top_p < 1:
            body["top_p"] = params.top_p
        if params.stop:
            body["stop"] = list(params.stop)
        if self.dialect == "vllm":
            body |= {"top_k": params.top_k, "repetition_penalty": params.repetition_penalty}
            body |= {"ignore_eos": params.ignore_eos, "return_token_ids": True}
            if params.logprobs:
                body["logprobs"] = True if self.chat else 0
        else:
            refuse(params, ("top_k", "repetition_penalty", "ignore_eos"), "OpenAI's own dialect")
        return body

    def _complete(self, body: Mapping[str, Any]) -> Generation:
        reply = self._object(self._ask(self._path, body, HTTPResponse.read))
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"] if self.chat else choice["text"]
            tokens, logprobs = self._tokens(choice) if self.dialect == "vllm" else ((), ())
            return Generation(text or "", tokens, logprobs, choice["finish_reason"])
        except (KeyError, IndexError, TypeError) as error:
            raise self._unexpected(self._path, "a completion", reply, error) from None

    def _tokens(self, choice: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[float, ...]]:
        tokens = choice.get("token_ids")
        if tokens is None:
            raise GenirError(f"{self.base_url}: sends no token_ids, so it does not speak vLLM's dialect; use 'openai'")
        logprobs = choice.get("logprobs") or {"content": (), "token_logprobs": ()}
        found = [one["logprob"] for one in logprobs["content"]] if self.chat else logprobs["token_logprobs"]
        return tuple(tokens), tuple(found)

    def _events(self, response: HTTPResponse) -> Iterator[dict[str, Any]]:
        """Server-sent events until [DONE]. Raises GenirError for an error among them, and for a stream that breaks off."""
        try:
            for line in response:
                data = line.decode().strip().removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                if data and not data.startswith(":"):
                    event = self._object(data.encode())
                    if "error" in event:
                        raise GenirError(f"{self.base_url}: {_message(data.encode())}")
                    yield event
        except (OSError, HTTPException) as error:
            raise GenirError(f"{self.base_url}: the stream broke off ({_reason(error)}); ask again") from None
        raise GenirError(f"{self.base_url}: the stream broke off before its end; ask again")

    def _ask(self, path: str, body: Mapping[str, Any] | None, read: Callable[[HTTPResponse], T]) -> T:
        """What `read` makes of the reply to a GET, or to a POST of `body`; GenirError once the tries are used up."""
        for turn in range(self.retries + 1):
            wait = self.backoff * 2**turn
            try:
                return read(urlopen(self._request(path, body), timeout=self.timeout))
            except HTTPError as error:
                said = f"{self.base_url}{path}: {error.code} {error.reason}: {_message(error.read())}"
                if (error.code < 500 and error.code not in _PASSING) or turn == self.retries:
                    raise GenirError(said + self._hint(error.code)) from None
                wait = _seconds(error.headers.get("Retry-After"), wait)
            except (OSError, HTTPException) as error:
                if turn == self.retries:
                    raise GenirError(
                        f"{self.base_url}: no answer after {turn + 1} tries ({_reason(error)}); is the server running there?"
                    ) from None
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _request(self, path: str, body: Mapping[str, Any] | None) -> Request:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url {self.base_url!r}: expected http://HOST:PORT/v1 or https://...")
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.api_key_env, "")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        return Request(self.base_url.rstrip("/") + path, data, headers)

    def _hint(self, status: int) -> str:
        return f"; set the environment variable {self.api_key_env} to a valid key" if status in (401, 403) else ""

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise GenirError(f"{self.base_url}: expected a JSON object, got {data[:80]!r}; does base_url end in /v1?")
        return value

    def _unexpected(self, path: str, wanted: str, reply: object, error: Exception) -> GenirError:
        return GenirError(f"{self.base_url}{path}: expected {wanted}, got {reply!r:.200} ({error!r})")


def _message(data: bytes) -> str:
    """What an error reply says, in OpenAI's form ({"error": {"message": ...}}) or any other, on one line."""
    text = data.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        text = text[:200]
    return " ".join(text.split()) or "no message"


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _seconds(asked: str | None, otherwise: float) -> float:
    """A Retry-After header in seconds; `otherwise` where there is none, or a date."""
    try:
        return min(max(float(asked or ""), 0.0), _LONGEST_WAIT)
    except ValueError:
        return otherwise
