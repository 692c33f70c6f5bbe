"""Readers name file and line; writers give back what was written, or nothing at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from genir.errors import DataError
from genir.formats import (
    dataset_sha256,
    load_dataset,
    read_answers,
    read_corpus,
    read_qrels,
    read_queries,
    read_run,
    write_answers,
    write_dataset,
    write_run,
)
from genir.records import Answer, Citation, Claim, Dataset, Document, Qrels, Query, Rival, Run, ScoredDoc

GOOD = '{"_id": "d1", "text": "one"}'


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# --- the corpus and the queries


def test_corpus_reads_ids_titles_and_urls(tmp_path: Path) -> None:
    path = write(
        tmp_path / "corpus.jsonl",
        '{"_id": "a", "title": "T", "text": "x", "url": "u", "other": [1]}',
        "",
        '{"_id": "b", "title": null, "text": "", "metadata": {"url": "v"}}',
    )
    assert list(read_corpus(path)) == [Document("a", "x", "T", "u"), Document("b", "", "", "v")]


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n" + GOOD.replace("d1", "d2").encode() + b"\r\n")
    assert [document.doc_id for document in read_corpus(path)] == ["d1", "d2"]


def test_readers_stream(tmp_path: Path) -> None:
    """The first record is there before the broken second line is read."""
    path = write(tmp_path / "corpus.jsonl", GOOD, "{")
    assert next(iter(read_corpus(path))).doc_id == "d1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "d2", "text": "cut sho', "corpus.jsonl:2: not valid JSON (cut short?): Unterminated string"),
        ('["d2", "text"]', 'corpus.jsonl:2: expected one JSON object a line, got ["d2", "text"]'),
        ("17", "corpus.jsonl:2: expected one JSON object a line, got 17"),
        ('{"text": "two"}', 'corpus.jsonl:2: "_id" is missing'),
        ('{"_id": "d2"}', 'corpus.jsonl:2: "text" is missing'),
        ('{"_id": 2, "text": "two"}', 'corpus.jsonl:2: "_id" must be a string, got 2'),
        ('{"_id": "d2", "text": ["two"]}', 'corpus.jsonl:2: "text" must be a string, got ["two"]'),
        ('{"_id": "d2", "text": "two", "title": 3}', 'corpus.jsonl:2: "title" must be a string, got 3'),
        ('{"_id": "", "text": "two"}', "corpus.jsonl:2: the document id '' is empty"),
        ('{"_id": "d 2", "text": "two"}', "corpus.jsonl:2: the document id 'd 2' holds white space; TREC files cannot"),
        ('{"_id": "d1", "text": "two"}', "corpus.jsonl:2: the document id 'd1' stands already in line 1"),
        ('{"_id": "d2", "text": "\\ud83d"}', 'corpus.jsonl:2: "text" holds half a surrogate pair'),
    ],
)
def test_a_broken_corpus_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "corpus.jsonl", GOOD, line)
    with pytest.raises(DataError) as caught:
        list(read_corpus(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_invalid_utf8_is_named_by_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"_id": "d2", "text": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: not valid UTF-8 at byte 26 of the line"):
        list(read_corpus(path))


def test_queries_keep_answers_and_ignore_other_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path / "queries.jsonl",
        '{"_id": "q1", "text": "who?", "answers": ["A", "B"], "popularity": 3}',
        '{"_id": "q2", "text": "😀 多少?"}',
    )
    assert list(read_queries(path)) == [Query("q1", "who?", ("A", "B")), Query("q2", "😀 多少?")]


def test_answers_that_are_no_list_of_strings_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "queries.jsonl", '{"_id": "q1", "text": "who?", "answers": [1]}')
    with pytest.raises(DataError, match=r'queries\.jsonl:1: "answers" must be a list of strings, got \[1\]'):
        list(read_queries(path))


# --- qrels


def test_qrels_are_read_from_beir_and_from_trec(tmp_path: Path) -> None:
    expected = Qrels({"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2}})
    beir = write(tmp_path / "a.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\td2\t0", "q2\td1\t2")
    bare = write(tmp_path / "b.tsv", "q1\td1\t1", "q1\td2\t0", "q2\td1\t2")
    trec = write(tmp_path / "c.qrels", "q1 0 d1 1", "q1 0 d2 0", "q2\t0\td1\t2")
    assert read_qrels(beir) == read_qrels(bare) == read_qrels(trec) == expected
    assert expected.relevant("q1") == ("d1",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\td2"], "test.tsv:3: expected 3 tab-separated fields, got 2"),
        (["q1 d1 1"], "test.tsv:1: expected 3 tab-separated fields, got 1"),
        (["q1 0 d1 1", "q1 0 d2"], "test.tsv:2: expected 4 fields (query 0 document gain), got 3"),
        (["q1\td1\t0.5"], "test.tsv:1: expected an integer gain, got '0.5'"),
        (["q1\td1\t1", "q1\td1\t2"], "test.tsv:2: query 'q1', document 'd1': gain 2, but 1 further up"),
    ],
)
def test_a_broken_qrels_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_qrels(write(tmp_path / "test.tsv", *lines))
    assert message in str(caught.value)


# --- whole data sets


def test_a_data_set_comes_back_as_written(tiny_dataset: Dataset, tiny_folder: Path) -> None:
    found = load_dataset(tiny_folder)
    assert found == tiny_dataset
    assert list(found.qrels) == ["train", "dev", "test"]
    assert (tiny_folder / "qrels/test.tsv").read_text() == "query-id\tcorpus-id\tscore\nq3\td3\t1\n"


def test_only_the_splits_asked_for_are_read(tiny_folder: Path) -> None:
    write(tiny_folder / "qrels/dev.tsv", "broken")
    assert list(load_dataset(tiny_folder, ["test"]).qrels) == ["test"]
    assert list(load_dataset(tiny_folder, []).qrels) == []


def test_a_corpus_alone_is_a_data_set(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl", GOOD)
    assert load_dataset(tmp_path) == Dataset(tmp_path.name, (Document("d1", "one"),), {})


def test_a_missing_split_lists_those_there(tiny_folder: Path) -> None:
    with pytest.raises(DataError, match=r"has no split 'tset' \(qrels/tset\.tsv\); there are: train, dev, test"):
        load_dataset(tiny_folder, ["tset"])


def test_a_missing_folder_says_what_one_looks_like(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; a BEIR folder holds corpus") as caught:
        load_dataset(tmp_path / "nowhere")
    assert "`genir data import SOURCE --out DIR`" in str(caught.value)


def test_a_folder_without_a_corpus_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no corpus\.jsonl; a BEIR folder holds .* `genir data import"):
        load_dataset(tmp_path)


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl")
    with pytest.raises(DataError, match=r"corpus\.jsonl: holds no document"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q3\td99\t1", r"qrels/test\.tsv:3: no document has the id 'd99'; add it to corpus\.jsonl or delete the line"),
        ("q99\td1\t1", r"qrels/test\.tsv:3: no query has the id 'q99'; add it to queries\.jsonl or delete the line"),
    ],
)
def test_a_judged_id_must_exist_unless_it_is_to_be_counted(tiny_folder: Path, line: str, message: str) -> None:
    path = tiny_folder / "qrels/test.tsv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=message):
        load_dataset(tiny_folder)
    assert line.split("\t")[0] in load_dataset(tiny_folder, strict=False).qrels["test"]


def test_writing_replaces_a_data_set_but_nothing_else(tiny_dataset: Dataset, tiny_folder: Path) -> None:
    write_dataset(replace(tiny_dataset, qrels={}), tiny_folder)
    assert load_dataset(tiny_folder).qrels == {}
    assert [path.name for path in tiny_folder.parent.iterdir()] == ["tiny"]
    write(tiny_folder / "thesis.tex", "years of work")
    with pytest.raises(DataError, match=r"already holds other things \(thesis\.tex\); give the name of a new folder"):
        write_dataset(tiny_dataset, tiny_folder)
    with pytest.raises(DataError, match=r"thesis\.tex: is a file; give the name of a new folder"):
        write_dataset(tiny_dataset, tiny_folder / "thesis.tex")


def test_a_write_that_fails_leaves_the_old_data_set(
    tiny_dataset: Dataset, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dataset_sha256(tiny_folder)

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genir.formats._query_line", full)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(replace(tiny_dataset, qrels={}), tiny_folder)
    assert dataset_sha256(tiny_folder) == before
    assert [path.name for path in tiny_folder.parent.iterdir()] == ["tiny"]


def test_ids_that_no_run_could_hold_are_not_written(tiny_dataset: Dataset, tmp_path: Path) -> None:
    bad = replace(tiny_dataset, corpus=(Document("a b", "text"),))
    twice = replace(tiny_dataset, corpus=(Document("a", "one"), Document("a", "two")))
    with pytest.raises(DataError, match="the document id 'a b' holds white space"):
        write_dataset(bad, tmp_path / "out")
    with pytest.raises(DataError, match="cannot write two documents with the id 'a'"):
        write_dataset(twice, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_current_folder_can_be_filled(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path / "tiny")
    write_dataset(tiny_dataset, Path())
    assert load_dataset(tmp_path / "tiny") == tiny_dataset


def test_the_digest_sees_the_data_and_only_the_data(tiny_folder: Path) -> None:
    before = dataset_sha256(tiny_folder)
    write(tiny_folder / "manifest.json", "{}")
    assert dataset_sha256(tiny_folder) == before
    (tiny_folder / "qrels/dev.tsv").rename(tiny_folder / "qrels/val.tsv")
    assert dataset_sha256(tiny_folder) != before


# --- runs


def test_a_run_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    ranking = (ScoredDoc("d2", 0.1 + 0.2), ScoredDoc("d1", 1 / 3), ScoredDoc("d3", -1e-17))
    run = Run("bm25", {"q1": tuple(sorted(ranking, key=lambda scored: -scored.score))})
    write_run(run, tmp_path / "run.trec")
    assert read_run(tmp_path / "run.trec") == run
    assert (tmp_path / "run.trec").read_text().splitlines()[1] == "q1 Q0 d2 2 0.30000000000000004 bm25"


def test_ties_stand_in_ascending_order_of_doc_id_whatever_the_rank_says(tmp_path: Path) -> None:
    path = write(tmp_path / "run", "q Q0 b 1 2.0 x", "q Q0 a 2 2.0 x", "q Q0 c 3 5 x")
    assert [scored.doc_id for scored in read_run(path).rankings["q"]] == ["c", "a", "b"]


def test_a_run_without_lines_is_named_by_its_file(tmp_path: Path) -> None:
    write_run(Run("mute", {"q1": ()}), tmp_path / "mute.trec")
    assert read_run(tmp_path / "mute.trec") == Run("mute", {})


def test_white_space_in_a_run_name_becomes_an_underscore(tmp_path: Path) -> None:
    write_run(Run("two words", {"q": (ScoredDoc("d", 1.0),)}), tmp_path / "run")
    assert read_run(tmp_path / "run").name == "two_words"


@pytest.mark.parametrize(
    ("query_id", "doc_id", "score", "message"),
    [
        ("q 1", "d", 1.0, "the query id 'q 1' holds white space"),
        ("q", "d\u00a01", 1.0, "the document id 'd\\xa01' holds white space"),
        ("q", "d", float("nan"), "query 'q', document 'd': expected a finite number as score, got nan"),
    ],
)
def test_what_trec_cannot_hold_is_not_written(
    tmp_path: Path, query_id: str, doc_id: str, score: float, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        write_run(Run("x", {query_id: (ScoredDoc(doc_id, score),)}), tmp_path / "run.trec")
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d2 2 1.0", "run.trec:2: expected 6 fields (query Q0 document rank score tag), got 5"),
        ("q Q0 d2 2 high x", "run.trec:2: expected a finite number as score, got 'high'"),
        ("q Q0 d2 2 inf x", "run.trec:2: expected a finite number as score, got 'inf'"),
        ("q Q0 d1 2 0.5 x", "run.trec:2: document 'd1' stands twice in the ranking of query 'q'"),
    ],
)
def test_a_broken_run_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_run(write(tmp_path / "run.trec", "q Q0 d1 1 1.0 x", line))
    assert message in str(caught.value)


def test_a_missing_run_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run\.trec: cannot be read: No such file or directory"):
        read_run(tmp_path / "run.trec")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_run(tmp_path)


# --- answers


def test_answers_come_back_as_written(tmp_path: Path) -> None:
    answers = [
        Answer("q1", "谁?", "A", (Citation("d1", 0, 1, "A"),), False, 0.5, "bm25", "hf", (ScoredDoc("d1", 2.5),)),
        Answer("q2", "who?", "", abstained=True),
    ]
    write_answers(iter(answers), tmp_path / "answers.jsonl")
    assert list(read_answers(tmp_path / "answers.jsonl")) == answers


def test_claims_come_back_as_written(tmp_path: Path) -> None:
    citation = Citation("d1", 0, 1, "A", 2, (5, 258), "5-2", written=True)
    claims = (
        Claim("A", 0, 1, (citation,), 0.75, "supported", out_of_range=1),
        Claim("B", 3, 4, verdict="contradicted"),
    )
    answers = [Answer("q1", "谁?", "A. B", (citation,), claims=claims, confidence=0.5, search_query="谁? (A)")]
    answers += [replace(answers[0], query_id="q2", rivals=(Rival("C", citation, 0.25),))]
    write_answers(answers, tmp_path / "answers.jsonl")
    assert list(read_answers(tmp_path / "answers.jsonl")) == answers


def test_answers_from_before_there_were_claims_are_read(tmp_path: Path) -> None:
    cited = {"doc_id": "d", "start": 0, "end": 1, "text": "x"}
    record = {"query_id": "q", "question": "?", "text": "x", "citations": [cited], "abstained": False, "support": 1.0}
    record |= {"retriever": "bm25", "generator": "hf", "passages": [{"doc_id": "d", "score": 2}]}
    [found] = read_answers(write(tmp_path / "answers.jsonl", json.dumps(record)))
    assert found == Answer("q", "?", "x", (Citation("d", 0, 1, "x"),), False, 1.0, "bm25", "hf", (ScoredDoc("d", 2.0),))
    assert (found.claims, found.citations[0].passage, found.citations[0].written) == ((), -1, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"txt": "x"}, "answers.jsonl:1: unknown key 'txt': did you mean 'text'?"),
        ({"support": "much"}, "answers.jsonl:1 support: expected float, got 'much'"),
        ({"citations": [{"doc_id": "d"}]}, "answers.jsonl:1 citations: the key 'start' is missing"),
        (
            {"claims": [{"text": "x", "start": 0, "end": 1, "verdict": "suported"}]},
            "answers.jsonl:1 claims verdict: unknown value 'suported': did you mean 'supported'?",
        ),
    ],
)
def test_a_broken_answer_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    record = {"query_id": "q", "question": "?", "text": "x", **change}
    path = write(tmp_path / "answers.jsonl", json.dumps(record))
    with pytest.raises(DataError) as caught:
        list(read_answers(path))
    assert message in str(caught.value)


def test_real_data_sets_load_and_come_back_whole(shared_data: Path, tmp_path: Path) -> None:
    found = load_dataset(shared_data / "xquad-zh")
    assert (len(found.corpus), {split: len(qrels) for split, qrels in found.qrels.items()}) == (
        240,
        {"train": 980, "dev": 104, "test": 106},
    )
    write_dataset(found, tmp_path / "xquad-zh")
    assert load_dataset(tmp_path / "xquad-zh") == found
