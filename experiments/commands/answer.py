"""`genir answer`: one question, or a conversation, answered from what was retrieved, claim by claim with its source."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.commands import answer_options as of_answer
from experiments.commands.options import DEFAULT_ENCODER, Beams, Cache, Data, Device, Encoder, Json, Model

if TYPE_CHECKING:
    from genir.protocols import Retriever
    from genir.records import Answer, Dataset, Document, Query
    from rag.conversation import Condenser, Turn
    from rag.demonstrations import Demonstrations
    from rag.reading import Reader
    from rag.template import PromptTemplate

_OWN = "joint"  # the retriever that a joint model is by itself


def answer(
    question: of_answer.Question,
    data: Data,
    retriever: of_answer.Retriever = None,
    generator: of_answer.Generator = None,
    model: Model = None,
    k: of_answer.Passages = 3,
    num_beams: Beams = None,
    search_below: of_answer.SearchBelow = None,
    checker: of_answer.Checker = None,
    follow_ups: of_answer.FollowUps = None,
    condense: of_answer.Condense = "rules",
    template: of_answer.Template = None,
    language: of_answer.Language = "auto",
    shots: of_answer.Shots = 0,
    shots_by: of_answer.ShotsBy = "similar",
    seed: of_answer.Seed = 0,
    stream: of_answer.Stream = False,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Answer a question from the documents that a retriever finds, and show where each claim of the answer stands."""
    from experiments.checkers.benchmark import default_checker, make_checker
    from experiments.rag_evaluation.models import check_checker, check_model
    from experiments.reading import default_generator, make_reader_over
    from experiments.retrieval import build_retriever, check_question
    from experiments.searching import given_decoding
    from genir.errors import ConfigError
    from genir.formats import load_dataset
    from rag.answering import answer as answer_questions
    from rag.answering import answer_stream
    from rag.gate import Gate, answer_adaptively
    from rag.joint.answerer import JointAnswerer

    if k < 1:
        raise ConfigError(f"-k {k}: expected at least 1 passage; for an answer without passages use --retriever none")
    if search_below is not None and stream:
        raise ConfigError("--search-below: which answer stands is known at the end only; leave out --stream")
    questions = [question, *(follow_ups or ())]
    for one in questions:
        check_question(one)
    wording = _template(template, language, question)
    chosen = generator or default_generator(question)
    found_by = _retriever_name(retriever, chosen, model)
    decoding = given_decoding("generative" if found_by == _OWN else found_by, num_beams=num_beams)
    judge = make_checker(checker or default_checker(), device, cache)
    dataset = load_dataset(data)
    reader = make_reader_over(chosen, dataset, data, device)
    _check_prompted(reader, template is not None, shots > 0)
    check_model(reader)
    check_checker(judge)
    reader = _worded(reader, wording, _demonstrations(dataset, shots, shots_by, seed))
    condenser = _condenser(condense, reader)
    searcher: Retriever | None = None
    if found_by == _OWN and isinstance(reader, JointAnswerer):
        searcher = reader = reader.with_settings(**decoding)
    elif found_by != "none":
        searcher = build_retriever(found_by, dataset, data, model, decoding, encoder, cache, device).retriever
    documents = dataset.documents()

    def ask(query: "Query", turns: "list[Turn]") -> "Iterable[str | Answer]":
        asked = (query, searcher, reader, documents, k)
        if stream:
            return answer_stream(*asked, turns=turns, condenser=condenser, checker=judge)
        told: Any = {"conversations": [turns], "condenser": condenser, "checker": judge}
        if search_below is None or searcher is None:
            return answer_questions(*asked, **told)
        return answer_adaptively([query], searcher, reader, documents, Gate(search_below, "confidence"), k, **told)

    _converse(questions, ask, documents, stream, as_json)


def _retriever_name(asked: str | None, generator: str, model: Path | None) -> str:
    """What finds passages: what was asked for; else a joint model by itself, the generative `model` where there is one, or bm25.

    Raises ConfigError where options contradict each other.
    """
    from experiments.reading import joint_folder
    from experiments.searching import check_model_is_searched
    from genir.errors import ConfigError

    joint = joint_folder(generator) is not None
    name = asked or (_OWN if joint else "generative" if model is not None else "bm25")
    if name == _OWN and not joint:
        raise ConfigError(f"--retriever joint: is a joint model's own; give --generator joint:DIR, not {generator}")
    if name == _OWN and model is not None:
        raise ConfigError(
            f"--model {model}: the generator {generator} finds its passages by itself; leave it out, or give --retriever generative"
        )
    check_model_is_searched(name, model)
    return name


def _converse(
    questions: Sequence[str],
    ask: "Callable[[Query, list[Turn]], Iterable[str | Answer]]",
    documents: "Mapping[str, Document]",
    stream: bool,
    as_json: bool,
) -> None:
    """Print the answer to each question, asked with those before it in view."""
    import json

    from experiments.answer_text import print_sources
    from experiments.tables import figure, plain, show, show_facts
    from genir.records import Query
    from rag.conversation import Turn

    finished: list[Answer] = []
    for number, text in enumerate(questions, 1):
        if number > 1 and not as_json:
            print(f"\n> {text}")
        for piece in ask(Query(f"q{number}", text), [Turn(one.question, one.text) for one in finished]):
            if not isinstance(piece, str):
                finished.append(piece)
            elif as_json:
                print(json.dumps({"piece": piece}, ensure_ascii=False), flush=True)
            else:
                print(figure(piece), end="", flush=True)
        if not as_json:
            print("" if stream else figure(finished[-1].text))
            print_sources(finished[-1], documents)
        elif stream:
            print(json.dumps(plain(finished[-1]), ensure_ascii=False))
    if as_json and not stream:
        if len(finished) > 1:
            show([plain(one) for one in finished], (), as_json=True)
        else:
            show_facts(plain(finished[0]), as_json=True)


def _template(wording: str | None, language: str, question: str) -> "PromptTemplate":
    """The wording that was asked for; in Chinese for a question in Han characters without Kana, unless told otherwise."""
    from rag.template import load_template, written_in

    return load_template(wording or "plain", written_in(question) if language == "auto" else language)


def _demonstrations(dataset: "Dataset", shots: int, way: str, seed: int) -> "Demonstrations | None":
    import sys

    from genir.errors import DataError, unknown_name
    from rag.demonstrations import RandomShots, SimilarShots, collect_shots

    if way not in ("similar", "random"):
        raise unknown_name("way to choose --shots-by", way, ("similar", "random"))
    if shots == 0:
        return None
    if "train" not in dataset.qrels:
        raise DataError(f"--shots {shots}: {dataset.name} has no train split to take worked examples from")
    pool, left_out = collect_shots(dataset.split("train"), dataset.qrels["train"], dataset.documents())
    print(f"{len(pool)} of {len(pool) + left_out} train questions can be worked examples", file=sys.stderr)
    return SimilarShots(pool, shots) if way == "similar" else RandomShots(pool, shots, seed)


def _check_prompted(reader: "Reader", worded: bool, shown: bool) -> None:
    """Raise ConfigError where a wording or examples were asked of a reader that has no prompt, before anything is read for them."""
    from genir.errors import ConfigError
    from rag.reading import GeneratorReader

    if (worded or shown) and not isinstance(reader, GeneratorReader):
        option = "--template" if worded else "--shots"
        raise ConfigError(f"{option}: for language models only; the generator {reader.name} reads without a prompt")


def _worded(reader: "Reader", template: "PromptTemplate", demonstrations: "Demonstrations | None") -> "Reader":
    """The reader with its prompt's wording and examples, where it has a prompt."""
    from dataclasses import replace

    from rag.generators.extractive import ExtractiveGenerator
    from rag.reading import GeneratorReader

    if isinstance(reader, GeneratorReader):
        return replace(reader, template=template, demonstrations=demonstrations)
    if isinstance(reader, ExtractiveGenerator):
        return replace(reader, template=template)  # for what it says where it has no answer
    return reader


def _condenser(way: str, reader: "Reader") -> "Condenser":
    from genir.errors import ConfigError, unknown_name
    from rag.conversation import GeneratorCondenser, RuleCondenser
    from rag.reading import GeneratorReader

    if way not in ("rules", "generator"):
        raise unknown_name("way to --condense", way, ("generator", "rules"))
    if way == "rules":
        return RuleCondenser()
    if not isinstance(reader, GeneratorReader):
        raise ConfigError(f"--condense generator: the generator {reader.name} rewrites no questions; use rules")
    return GeneratorCondenser(reader.generator, reader.template)
