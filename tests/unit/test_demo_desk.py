"""The desk: states of an answer, turns of visitors, limits, and what is held back."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest

from experiments.demo.conversation import Conversation, check_turns, continued
from experiments.demo.desk import Desk, judged
from experiments.demo.library import Holdings, Library, reader_labels
from experiments.demo.limits import Limits, RefusalError
from experiments.demo.progress import Asked, Passage, Progress
from experiments.demo.steps import Steps
from genir.errors import ArtefactError, ConfigError
from genir.records import Answer, Dataset, Document
from rag.prompt import Turn
from rag.reading import GeneratorReader, Reading
from rag.template import load_template
from tests.scripted_generator import ScriptedGenerator
from tests.small_library import DOCUMENTS, IDENTIFIERS, small_library

ASKED = Asked("What is the capital of Peru?", "bm25", "extractive", k=3)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(small_library())
    yield made
    made.close()


def states(desk: Desk, asked: Asked, client: str = "here") -> list[Progress]:
    return list(desk.answer(asked, client))


def test_an_answer_comes_with_passages_claims_and_seconds(desk: Desk) -> None:
    first, *_, last = states(desk, ASKED)
    assert (first.passages, first.answer, first.finished) == (None, None, False)
    assert last.finished
    assert last.answer is not None
    assert last.answer.text == "Lima is the capital of Peru."
    assert last.passages is not None
    assert (last.passages[0].document.doc_id, last.passages[0].rank) == ("lima", 1)
    [claim] = last.answer.claims
    assert claim.verdict == "supported"
    assert last.caution is None
    assert last.walk is None  # BM25 writes no identifier
    assert (last.closed_book, last.only_copies) == (None, True)
    assert list(last.seconds) == ["load", "search", "answer"]


def test_a_generator_streams(desk: Desk) -> None:
    asked = replace(ASKED, generator="wordy")
    texts = [state.text for state in states(desk, asked) if state.answer is None]
    assert texts[-1].strip() == "Lima is the capital of Peru."
    assert len(set(texts)) > 3
    last = states(desk, asked)[-1]
    assert last.closed_book is not None
    assert (last.closed_book.text, last.only_copies) == ("Atlantis is the capital.", False)
    assert list(last.seconds) == ["search", "answer", "closed_book"]


def test_a_streamed_answer_is_as_sure_as_one_that_is_not(desk: Desk) -> None:
    asked = replace(ASKED, generator="wordy")
    streamed, whole = states(desk, asked)[-1], states(desk, replace(asked, threshold=0.5))[-1]
    assert streamed.answer is not None
    assert whole.answer is not None
    assert streamed.answer.confidence == whole.answer.confidence == pytest.approx(math.exp(-0.1))


BEFORE = (Turn("What is the capital of Norway?", "Oslo is the capital of Norway."),)


def test_a_follow_up_is_searched_for_as_the_conversation_completes_it(desk: Desk) -> None:
    first, *_, last = states(desk, replace(ASKED, question="And of Peru?", turns=BEFORE))
    assert first.search_query == last.search_query == "What is the capital of Peru?"
    assert last.answer is not None
    assert last.answer.text == "Lima is the capital of Peru."
    assert last.caution is None
    found = desk.search(replace(ASKED, question="And of Peru?", turns=BEFORE), "here")
    assert found.search_query == "What is the capital of Peru?"
    complete = states(desk, replace(ASKED, turns=BEFORE))[-1]  # leans on nothing
    assert complete.search_query == ""


def test_a_reader_of_conversations_is_shown_them() -> None:
    generator = ScriptedGenerator(["Lima"])
    library = Library(Holdings(Dataset("small", DOCUMENTS, {})), readers={"scripted": GeneratorReader(generator)})
    desk = Desk(library)
    asked = replace(ASKED, generator="scripted", question="And of Peru?", turns=BEFORE)
    for one in (asked, replace(asked, threshold=0.1)):
        states(desk, one)
    for grounded, memory in (generator.prompts[:2], generator.prompts[2:]):
        assert "Answer: Oslo is the capital of Norway." in grounded
        assert "Question: And of Peru?\n" in grounded
        assert "Question: What is the capital of Peru?\n" in memory
        assert "Oslo" not in memory  # what documents said is not from memory
    desk.close()


@pytest.mark.parametrize(
    ("turns", "status", "message"),
    [
        ((Turn("a?", "b"),) * 9, 413, "the history has 9 turns: expected at most 8"),
        ((Turn("a?", "b"), Turn(" ", "b")), 400, "turn 2 of the history has no question"),
        ((Turn("a?", "b" * 4000),), 413, "the history has 4002 characters: expected at most 4000"),
        ((Turn("a?", "\ud800"),), 400, "the answer of turn 1 is not valid text"),
    ],
)
def test_a_history_within_limits(desk: Desk, turns: tuple[Turn, ...], status: int, message: str) -> None:
    with pytest.raises(RefusalError, match=message) as refused:
        states(desk, replace(ASKED, turns=turns))
    assert refused.value.status == status


def test_a_conversation_goes_on_and_forgets_its_oldest_turns() -> None:
    limits = Limits(turns=2, history=100, question=20)
    assert continued(None, limits) == Conversation()
    asked = replace(ASKED, question="c?", turns=(Turn("a?", "1"), Turn("b?", "2")), forgotten=3)
    answer = Answer("q", "c?", "3")
    assert continued(Progress(asked), limits) == Conversation(asked.turns, 3)  # it was not answered
    after = continued(Progress(asked, answer=answer), limits)
    assert after == Conversation((Turn("b?", "2"), Turn("c?", "3")), 4)
    long = continued(Progress(asked, answer=replace(answer, text="x" * 500)), limits)
    assert long == Conversation((Turn("b?", "2"), Turn("c?", "x" * 80)), 4)
    full = continued(
        Progress(replace(asked, turns=(Turn("b?", "y" * 70),)), answer=replace(answer, text="x" * 80)), limits
    )
    assert full == Conversation((Turn("c?", "x" * 80),), 4)
    check_turns(long.turns, limits)


def test_a_generative_retriever_shows_its_identifiers_and_its_walk(desk: Desk) -> None:
    last = states(desk, replace(ASKED, retriever="generative"))[-1]
    assert last.walk is not None
    assert last.passages
    for passage in last.passages:
        number = [document.doc_id for document in DOCUMENTS].index(passage.document.doc_id)
        assert passage.docid_tokens == IDENTIFIERS[number]
        assert passage.identifier == "-".join(map(str, IDENTIFIERS[number]))
    assert states(desk, replace(ASKED, retriever="generative", walk=False))[-1].walk is None


def test_search_alone(desk: Desk) -> None:
    found = desk.search(ASKED, "here")
    assert found.passages
    assert found.answer is None
    assert desk.search(replace(ASKED, question="🙂"), "here").caution == "nothing_found"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (replace(ASKED, question=" "), "the question is empty"),
        (replace(ASKED, k=11), "11 passages: expected 1 to 10"),
        (replace(ASKED, threshold=1.5), "threshold 1.5: expected 0 to 1"),
        (replace(ASKED, retriever="google"), "unknown retriever 'google'"),
        (replace(ASKED, generator="../secret"), "unknown generator '../secret'"),
    ],
)
def test_what_cannot_be_asked(desk: Desk, asked: Asked, message: str) -> None:
    with pytest.raises((RefusalError, ConfigError), match=message):
        states(desk, asked)


def test_nothing_relevant_is_said(desk: Desk) -> None:
    assert states(desk, replace(ASKED, question="🙂"))[-1].caution == "nothing_found"
    atlantis = states(desk, replace(ASKED, retriever="generative", question="Who wrote a sonata?"))[-1]
    assert atlantis.passages
    assert atlantis.caution == "nothing_relevant"


def test_passages_that_do_not_say_it_are_not_called_irrelevant(desk: Desk) -> None:
    last = states(desk, replace(ASKED, question="Who wrote the north wind sonata?"))[-1]
    assert last.passages is not None
    assert [one.document.doc_id for one in last.passages] == ["nile"]  # it flows north
    assert last.caution == "not_answered"


def test_an_answer_less_sure_than_asked_for_is_held_back() -> None:
    answer = Answer("q", "Where is Lima?", "Peru", confidence=0.4)
    passages = (Passage(Document("lima", "Lima is in Peru."), 1, 1.0),)
    state = Progress(replace(ASKED, question="Where is Lima?", threshold=0.5), passages, answer=answer)
    held = judged(state)
    assert (held.caution, held.held_back) == ("below_threshold", answer)
    assert held.answer is not None
    assert (held.answer.abstained, held.answer.text, held.answer.claims) == (True, "I do not know", ())
    assert judged(replace(state, asked=replace(state.asked, threshold=0.4))).answer == answer


def test_what_may_be_held_back_is_not_shown_while_it_is_written(desk: Desk) -> None:
    asked = replace(ASKED, generator="wordy", threshold=1.0)
    found = states(desk, asked)
    assert all(not state.text for state in found)
    assert found[-1].caution == "below_threshold"


def test_the_rate_of_a_client() -> None:
    desk = Desk(small_library(), Limits(rate=1))
    states(desk, ASKED)
    with pytest.raises(RefusalError, match="more than 1 questions"):
        states(desk, ASKED)
    assert states(desk, ASKED, "there")[-1].finished
    desk.close()


def test_a_full_queue_refuses_and_recovers() -> None:
    desk = Desk(small_library(), Limits(queue=1))
    first = desk.answer(ASKED, "here")
    next(first)
    with pytest.raises(RefusalError, match="1 questions are waiting already") as refused:
        states(desk, ASKED, "there")
    assert refused.value.status == 503
    first.close()  # type: ignore[attr-defined]  # a visitor who goes away leaves the place to others
    assert states(desk, ASKED, "there")[-1].finished
    desk.close()


def test_a_question_that_the_queue_refused_is_none_of_the_client_s_share() -> None:
    desk = Desk(small_library(), Limits(queue=1, rate=1))
    first = desk.answer(ASKED, "here")
    next(first)
    with pytest.raises(RefusalError, match="are waiting already"):
        states(desk, ASKED, "there")
    first.close()  # type: ignore[attr-defined]
    assert states(desk, ASKED, "there")[-1].finished
    with pytest.raises(RefusalError, match="more than 1 questions"):
        states(desk, ASKED, "there")
    desk.close()


def test_two_visitors_take_turns() -> None:
    desk = Desk(small_library(delay=0.002))
    asked = replace(ASKED, generator="wordy")
    order: list[str] = []

    def visit(name: str) -> Progress:
        found = []
        for state in desk.answer(asked, name):
            order.append(name)
            found.append(state)
        return found[-1]

    with ThreadPoolExecutor(2) as visitors:
        answers = [one.result() for one in [visitors.submit(visit, "a"), visitors.submit(visit, "b")]]
    assert all(one.answer is not None and one.answer.text == "Lima is the capital of Peru." for one in answers)
    assert sum(one != other for one, other in pairwise(order)) > 2  # neither waited for the other's end
    desk.close()


class Stuck:
    """A reader that answers when it is let."""

    name = "stuck"

    def __init__(self) -> None:
        self.let = threading.Event()

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        self.let.wait(10)
        return [Reading("at last") for _ in questions]


def test_a_request_ends_at_its_time_and_the_server_goes_on() -> None:
    stuck = Stuck()
    library = Library(Holdings(Dataset("small", DOCUMENTS, {})), readers={"stuck": stuck})
    desk = Desk(library, Limits(seconds=0.3))
    asked = replace(ASKED, generator="stuck")
    library.make_ready(asked.retriever, asked.generator)
    with pytest.raises(RefusalError, match=r"no answer within 0.3 s") as refused:
        states(desk, asked)
    assert refused.value.status == 504
    stuck.let.set()
    assert states(desk, asked)[-1].finished
    desk.close()


def test_steps_hand_on_what_the_work_raises() -> None:
    def fail() -> None:
        raise TimeoutError("the work's own")

    with ThreadPoolExecutor(1) as worker:
        steps = Steps(worker, 5)
        with pytest.raises(TimeoutError, match="the work's own"):
            steps.run("search", fail)
        assert list(steps.each("answer", lambda: iter("ab"))) == ["a", "b"]
        steps.run("answer", lambda: time.sleep(0.01))
        assert list(steps.seconds) == ["search", "answer"]
        assert steps.seconds["answer"] >= 0.01


def test_names_of_readers_say_nothing_of_the_disk() -> None:
    labels = reader_labels(
        ["/home/someone/models/reader", "llama:models/tiny/", "openai:http://10.0.0.1/v1", "extractive"]
    )
    assert list(labels) == ["reader", "tiny", "openai", "extractive"]
    assert reader_labels(["a/reader", "b/reader"]) == {"reader": "a/reader", "reader 2": "b/reader"}
    with pytest.raises(ArtefactError, match="expected extractive, a folder, or a model's name"):
        reader_labels(["llama:"])


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_a_refusal_is_in_the_language_of_the_question(desk: Desk, threshold: float) -> None:
    for question, refusal in (("法国的总统是谁？", "我不知道"), ("Who is the president of France?", "I do not know")):
        last = states(desk, replace(ASKED, question=question, threshold=threshold))[-1]
        assert last.answer is not None
        assert (last.answer.text, last.answer.abstained) == (refusal, True)


def test_a_model_is_asked_in_the_language_of_the_question() -> None:
    generator = ScriptedGenerator(["东京"])
    holdings = Holdings(Dataset("small", DOCUMENTS, {}))
    own = load_template("polite")
    library = Library(holdings, {}, {"model": GeneratorReader(generator), "own": GeneratorReader(generator, own)})
    for name, question, template in (
        ("model", "日本的首都是哪里？", load_template(language="zh")),
        ("model", "Which capital?", load_template()),
        ("own", "日本的首都是哪里？", own),
    ):
        reader = library.reader_for(name, question)
        assert isinstance(reader, GeneratorReader)
        assert reader.template == template
