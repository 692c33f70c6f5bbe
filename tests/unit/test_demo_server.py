"""The server as a whole, over HTTP: the JSON API, the page's files, and what must not be served."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'genir[serve]'")

from experiments.commands.serve import serve
from experiments.demo import start
from experiments.demo.desk import Desk
from experiments.demo.library import Holdings, Library
from experiments.demo.server import serving
from experiments.demo.start import find_holdings
from experiments.demo.wording import CHINESE
from genir.errors import GenirError
from genir.records import Dataset, Document
from rag.reading import Reading
from tests.small_library import DOCUMENTS, small_library
from tests.tiny_journey import Journey

PERU_ZH = CHINESE.placeholder
EXPECTED = 'expected a JSON object; send {"question": "..."} with Content-Type: application/json'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Desk(small_library())) as base:
        yield base


def call(url: str, body: object = None, raw: bytes | None = None, media: str = "application/json") -> tuple[int, Any]:
    """(status, JSON or text) of a GET, or of a POST where there is a body, sent as `media`."""
    sent = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, sent, {"Content-Type": media})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            status, text = reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def test_health_says_what_is_offered(url: str) -> None:
    status, health = call(f"{url}/api/health")
    assert status == 200
    assert (health["status"], health["data"], health["documents"]) == ("ok", "small", 6)
    assert health["retrievers"][:2] == ["generative", "bm25"]
    assert health["generators"] == ["wordy", "extractive"]
    assert health["limits"]["question"] == 500
    assert (health["limits"]["turns"], health["limits"]["history"]) == (8, 4000)


def test_an_answer_as_json(url: str) -> None:
    question = {"question": "What is the capital of Peru?", "retriever": "bm25", "generator": "extractive"}
    status, reply = call(f"{url}/api/answer", question | {"passages": 2, "closed_book": True})
    assert status == 200
    assert (reply["text"], reply["abstained"], reply["caution"]) == ("Lima is the capital of Peru.", False, None)
    [claim] = reply["claims"]
    assert claim["verdict"] == "supported"
    assert claim["citations"][0] == {
        "passage": 1, "doc_id": "lima", "start": 0, "end": 28, "text": "Lima is the capital of Peru.",
    }  # fmt: skip
    assert len(reply["passages"]) <= 2
    assert (reply["closed_book"], reply["only_copies"]) == (None, True)
    assert set(reply["seconds"]) >= {"search", "answer"}


def test_a_language_model_answers_without_documents_too(url: str) -> None:
    question = {"question": "What is the capital of Peru?", "retriever": "bm25", "generator": "wordy"}
    _, reply = call(f"{url}/api/answer", question | {"closed_book": True})
    assert reply["closed_book"] == {"text": "Atlantis is the capital.", "abstained": False}
    assert not reply["only_copies"]
    assert call(f"{url}/api/answer", question)[1]["closed_book"] is None


@pytest.mark.parametrize(
    ("question", "named", "used"),
    [
        (PERU_ZH, {}, ("bm25", "extractive")),
        (PERU_ZH, {"generator": "wordy"}, ("bm25", "wordy")),
        (PERU_ZH, {"retriever": "generative"}, ("generative", "extractive")),
        ("What is the capital of Peru?", {}, ("generative", "wordy")),
    ],
)
def test_what_is_not_named_is_chosen_by_the_language_of_the_question(
    url: str, question: str, named: dict[str, str], used: tuple[str, str]
) -> None:
    _, reply = call(f"{url}/api/answer", {"question": question, **named})
    assert (reply["retriever"], reply["generator"]) == used
    found = call(f"{url}/api/search", {"question": question})[1]
    assert found["retriever"] == ("bm25" if question == PERU_ZH else "generative")


def test_a_chinese_question_is_answered_beside_a_model_that_does_not_know_chinese(
    finished: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's own placeholder was answered 我不知道: `span` reads English only, and the model's index lacks the articles in Chinese."""
    (tmp_path / "data").symlink_to(finished.data)
    (tmp_path / "model").symlink_to(finished.model)
    monkeypatch.setattr(start, "span_ships", lambda: True)
    library = Library(find_holdings(None, None, (), tmp_path))
    assert (library.retriever_names[0], library.reader_names[0]) == ("generative", "span")
    with serving(Desk(library)) as base:
        _, reply = call(f"{base}/api/answer", {"question": CHINESE.placeholder})
    assert (reply["retriever"], reply["generator"], reply["abstained"]) == ("bm25", "extractive", False)
    assert "利马" in reply["text"]


def test_an_answer_that_is_held_back_says_so_as_other_abstentions_do(url: str) -> None:
    body = {"retriever": "bm25", "generator": "extractive", "threshold": 1.0}
    for question, refusal in (
        ("What is the capital city of Peru?", "I do not know"),
        ("秘鲁的旧首都是哪里？", "我不知道"),
    ):
        _, reply = call(f"{url}/api/answer", body | {"question": question})
        assert (reply["caution"], reply["text"], reply["abstained"]) == ("below_threshold", refusal, True)
        assert reply["held_back"]


def test_a_history_completes_the_question(url: str) -> None:
    before = [{"question": "What is the capital of Norway?", "answer": "Oslo is the capital of Norway."}]
    body = {"question": "And of Peru?", "retriever": "bm25", "generator": "extractive", "history": before}
    status, reply = call(f"{url}/api/answer", body)
    assert (status, reply["text"]) == (200, "Lima is the capital of Peru.")
    assert (reply["question"], reply["search_query"]) == ("And of Peru?", "What is the capital of Peru?")
    del body["generator"]
    assert call(f"{url}/api/search", body)[1]["search_query"] == "What is the capital of Peru?"


def test_a_search_as_json(url: str) -> None:
    status, reply = call(f"{url}/api/search", {"question": "capital", "retriever": "generative"})
    assert status == 200
    assert reply["passages"][0]["docid_tokens"]
    assert "text" not in reply


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"question": ""}, 400, "the question is empty: type one"),
        ({"question": "x" * 501}, 413, "the question has 501 characters: expected at most 500; shorten it"),
        ({"question": "x", "retriever": "bm52"}, 400, "unknown retriever 'bm52': did you mean 'bm25'?"),
        ({"question": "x", "passages": 99}, 400, "99 passages: expected 1 to 10"),
        ({"question": "x", "passages": True}, 400, "passages: Input should be a valid integer"),
        ({"question": "x", "threshold": True}, 400, "threshold: Input should be a valid number"),
        ({"question": "x", "closed_book": 1}, 400, "closed_book: Input should be a valid boolean"),
        ({"question": "x", "threshold": 2}, 400, "threshold: Input should be less than or equal to 1"),
        (
            {"question": "x", "colour": "red"},
            400,
            "unknown field 'colour': known: closed_book, generator, history, passages, question, retriever, threshold",
        ),
        (
            {"question": "x", "history": [{"question": "y", "answer": "z", "by": "me"}]},
            400,
            "unknown field 'history.0.by': known: answer, question",
        ),
        ({"question": "x", "history": [{"question": "y"}]}, 400, "history.0.answer: Field required"),
        (
            {"question": "x", "history": [{"question": "y", "answer": "z"}] * 9},
            413,
            "the history has 9 turns: expected at most 8; send the last ones",
        ),
        ({}, 400, "question: Field required"),
        ([], 400, f"the body is a JSON array: {EXPECTED}"),
        ("x", 400, f"the body is a JSON string: {EXPECTED}"),
        ({"question": "x", "history": ["y"]}, 400, "history.0 is a JSON string: expected a JSON object"),
    ],
)
def test_faulty_requests(url: str, body: object, status: int, message: str) -> None:
    found, reply = call(f"{url}/api/answer", body)
    assert found == status
    assert reply["error"].startswith(message)


def test_requests_that_are_no_json_or_too_large(url: str) -> None:
    status, reply = call(f"{url}/api/answer", raw=b"{")
    assert (status, reply["error"].startswith("the body is no JSON (")) == (400, True)
    assert reply["error"].endswith(" at character 1): expected an object with a question")
    assert call(f"{url}/api/answer", raw=b"x" * 70_000) == (413, {"error": "the request is larger than 65536 bytes"})


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_sent_as_json(url: str, media: str) -> None:
    """The second is what curl -d sends."""
    status, reply = call(f"{url}/api/answer", {"question": "Where is Lima?"}, media=f"{media}; charset=utf-8")
    assert (status, reply["error"]) == (400, f"the body came as {media}: {EXPECTED}")
    status, reply = call(f"{url}/api/answer", raw=b"")
    assert (status, reply["error"]) == (400, f"the body is empty: {EXPECTED}")


def test_unknown_routes_of_the_api(url: str) -> None:
    status, reply = call(f"{url}/api/secret")
    assert (status, reply["error"]) == (
        404,
        "no such route: /api/secret; there are /api/answer, /api/search and /api/health",
    )


@pytest.mark.parametrize(
    ("path", "method", "takes"), [("answer", "GET", "POST"), ("search", "PUT", "POST"), ("health", "POST", "GET")]
)
def test_another_method_than_the_routes(url: str, path: str, method: str, takes: str) -> None:
    request = urllib.request.Request(f"{url}/api/{path}", method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert (refused.value.code, refused.value.headers["Allow"]) == (405, takes)
    assert json.loads(refused.value.read()) == {"error": f"/api/{path} takes {takes}, not {method}"}


def test_the_schema_promises_no_status_that_is_never_sent(url: str) -> None:
    _, schema = call(f"{url}/api/openapi.json")
    for path in ("answer", "search"):
        assert "422" not in schema["paths"][f"/api/{path}"]["post"]["responses"]
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_the_schema_is_typed(url: str) -> None:
    status, schema = call(f"{url}/api/openapi.json")
    assert status == 200
    assert set(schema["paths"]) == {"/api/answer", "/api/search", "/api/health"}
    reply = schema["paths"]["/api/answer"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert reply == {"$ref": "#/components/schemas/AnswerReply"}
    assert {"claims", "passages", "held_back"} <= set(schema["components"]["schemas"]["AnswerReply"]["required"])
    limits = schema["components"]["schemas"]["LimitsReply"]["properties"]
    assert limits["body"]["description"] == (
        "Most bytes of a request's body (413). 65,536 unless the server was started with another."
    )
    assert all("unless the server was started with another" in one["description"] for one in limits.values())


def test_the_page_is_served_and_nothing_of_the_disk(url: str) -> None:
    status, page = call(url)
    assert status == 200
    assert "Answers with their sources" in page
    here = Path(__file__).resolve()
    for path in (
        f"/gradio_api/file={here}",
        f"/gradio_api/file/{here}",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/x",
    ):
        assert call(url + path)[0] == 404, path
    assert call(f"{url}/gradio_api/upload", raw=b"")[0] == 404
    assert str(here.parents[2]) not in page + json.dumps(call(f"{url}/config")[1])


class Broken:
    """A reader with a fault of ours."""

    name = "broken"

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        raise RuntimeError("the inside of the machine")


def test_a_fault_of_ours_is_told_without_its_inside(capfd: pytest.CaptureFixture[str]) -> None:
    library = Library(Holdings(Dataset("small", DOCUMENTS, {})), readers={"broken": Broken()})
    with serving(Desk(library)) as base:
        status, reply = call(f"{base}/api/answer", {"question": "Where is Lima?"})
        assert call(f"{base}/api/health")[0] == 200
    assert (status, reply) == (500, {"error": "the server failed (RuntimeError): its log says where"})
    assert "the inside of the machine" in capfd.readouterr().err


def test_two_visitors_at_once(url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    body = {"question": "What is the capital of Norway?", "retriever": "bm25", "generator": "wordy"}
    with ThreadPoolExecutor(4) as visitors:
        replies = list(visitors.map(lambda _: call(f"{url}/api/answer", body), range(4)))
    assert {(status, reply["text"]) for status, reply in replies} == {(200, "Oslo is the capital of Norway.")}


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GenirError) as fault:
            serve(port=port)
    assert str(fault.value) == (
        f"port {port} of 127.0.0.1: Address already in use; give another --port, or 0 for any free one"
    )
