"""Options, settings and configurations that cannot be: one clear line on stderr, exit code 1, and nothing half-written."""

from pathlib import Path

import pytest

from tests.tiny_journey import Journey, genir, run_file


@pytest.mark.parametrize("k", ["0", "-3"])
def test_k_below_one(finished: Journey, k: str) -> None:
    assert (
        genir("search", "--model", finished.model, "a question", "-k", k).fault
        == f"-k {k}: expected at least 1 document a query"
    )
    fault = genir("answer", "a question", "--data", finished.data, "-k", k).fault
    assert fault.startswith(f"-k {k}: expected at least 1 passage")


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question(finished: Journey, question: str) -> None:
    fault = "the question is empty: expected some text"
    assert genir("search", "--model", finished.model, question).fault == fault
    assert genir("answer", question, "--data", finished.data).fault == fault


def test_a_question_in_another_encoding(finished: Journey) -> None:
    fault = "the question is not valid UTF-8: type it in a UTF-8 terminal"
    assert genir("search", "--model", finished.model, "caf\udce9").fault == fault
    assert genir("answer", "caf\udce9", "--data", finished.data).fault == fault


def test_unknown_names_come_with_a_suggestion(finished: Journey, tmp_path: Path) -> None:
    data = ("--data", finished.data)
    new = ("--out", tmp_path / "new")
    fault = genir("docids", "build", *data, *new, "--scheme", "residal").fault
    assert fault == (
        "unknown scheme 'residal': did you mean 'residual'? known: atomic, hierarchical, key-terms, ngram, numeric, product, "
        "random, residual, title, url, views"
    )
    fault = genir("search", "a question", *data, "--retriever", "bm52").fault
    assert (
        fault == "unknown retriever 'bm52': did you mean 'bm25'? known: bm25, dense, generative, hybrid, ngram, tfidf"
    )
    assert genir("answer", "a question", *data, "--retriever", "bm52").fault == fault
    fault = genir("docids", "build", *data, *new, "--set", "level=3").fault
    assert fault.startswith("scheme residual: unknown key 'level': did you mean 'levels'? known: codes, ")
    fault = genir("evaluate", *data, "-m", "nDGC@10", run_file(tmp_path / "run.trec")).fault
    assert fault.startswith("unknown measure 'nDGC@10': did you mean 'nDCG@10'?")
    fault = genir("search", "a question", *data, "--retriever", "dense", "--device", "gpu").fault
    assert fault == "unknown device 'gpu': expected auto, cpu, cuda or cuda:N"
    assert not (tmp_path / "new").exists()


BAD_SETTINGS = [
    ("levels", "setting 'levels': expected KEY=VALUE, e.g. levels=4"),
    ("levels=many", "scheme residual levels: expected int, got 'many'"),
    ("levels=0", "identifiers need at least one level and one code, got 0 levels of 256"),
    ("encoder=x", "the encoder is not a setting of the scheme: use --encoder"),
]


@pytest.mark.parametrize(("pair", "fault"), BAD_SETTINGS)
def test_bad_settings_of_a_scheme(finished: Journey, tmp_path: Path, pair: str, fault: str) -> None:
    options = ("--data", finished.data, "--encoder", finished.encoder, "--out", tmp_path / "new")
    assert genir("docids", "build", *options, "--set", pair).fault == fault
    assert not (tmp_path / "new").exists()


BAD_CONFIGURATIONS = [
    ("epoch = 1", "unknown key 'epoch'"),
    ("[training]\nepoch = 1", " training: unknown key 'epoch': did you mean 'epochs'? known: "),
    ("[training]\nepochs = 1.5", " training epochs: expected int, got 1.5"),
    ('[training]\nprecision = "float16"', "unknown value 'float16'"),
    ("[training]\nbatch_size = 0", "impossible training: "),
    ("[training]\nmax_grad_norm = 0", "impossible training: "),
    ("[training]\nlearning_rate = nan", "learning_rate: expected a finite number, got nan"),
    ("[objective]\nscale = inf", "scale: expected a finite number, got inf"),
    ("[training]\nepochs = ", "not valid TOML: "),
    ("training = 3", " training: expected a table, got 3"),
    ("dev_queries = 0", "dev_queries is 0: expected 1 or more"),
    ("[search]\nnum_beams = 0", "num_beams is 0 and batch_size 16: expected at least 1 of each"),
    ('[search]\nscoring = "alowed"', "unknown value 'alowed': did you mean 'allowed'?"),
    ("[causal]\nlora_rank = -1", "impossible causal: "),
    ("[examples]\npassage_words = 0", "impossible examples: "),
    ("[examples.pseudo_queries]\nper_document = 0", "per_document is 0: expected at least 1 pseudo-query a document"),
    ("[objective]\nprefixes = [0]", "impossible objective: "),
    ("[code_decoder]\nheads = 0", "impossible code_decoder: "),
    ("[seq2seq.t5]\nnum_heads = 0", "impossible t5: "),
    (
        'architecture = "seq2seq"',
        "objective 'ranking' is for code_decoder; give seq2seq [objective] kind = \"cross_entropy\"",
    ),
    (
        '[causal]\nsource = "some/model"\nlora_rank = 8',
        "[causal] source is 'some/model', but architecture is 'code_decoder': set architecture = \"causal\"",
    ),
    (
        '[objective]\nkind = "cross_entropy"\nprefixes = [3]',
        "[objective] prefixes and hard_negatives are for kind 'ranking'; leave them out",
    ),
    ('[teacher]\nmodel = "some/model"', "teacher model is 'some/model', but its source is 'none'"),
    ('[teacher]\nsource = "run"\nmodel = "x.trec"\nkinds = ["pseudo"]', "a run knows the training queries alone"),
    ('[examples.generator]\nmodel = "some/model"', "generator model is 'some/model', but its source is \"none\""),
    (
        "[examples]\nqueries = false\npassages = 0\npseudo_query_weight = 0",
        "nothing to learn from: no training queries, passages or pseudo-queries",
    ),
]


@pytest.mark.parametrize(("text", "fault"), BAD_CONFIGURATIONS)
def test_a_bad_configuration(finished: Journey, tmp_path: Path, text: str, fault: str) -> None:
    config, new = tmp_path / "config.toml", tmp_path / "new"
    small = f'[code_decoder]\nencoder = "{finished.encoder}"\nheads = 2\n' if "code_decoder" not in text else ""
    config.write_text(f"{text}\n{small}")
    where = ("--data", finished.data, "--docids", finished.docids, "--config", config, "--out", new)
    assert fault in genir("train", *where).fault
    assert not new.exists()


def test_missing_options_say_which(finished: Journey) -> None:
    fault = "give either one question, or --data DIR --split NAME --out FILE"
    assert genir("search", "--model", finished.model).fault == fault
    assert genir("search", "a question", "--model", finished.model, "--split", "test").fault == fault
    data = ("--data", finished.data)
    fault = "--out FILE is needed to search a split, e.g. --out runs/generative.trec"
    assert genir("search", *data, "--split", "test", "--model", finished.model).fault == fault
    fault = "the generative retriever needs a trained model: give --model DIR (made by `genir train`)"
    assert genir("search", "a question", *data).fault == fault
    assert genir("search", "a question", "--retriever", "bm25").fault.startswith("--data DIR is needed here")
    assert genir("train", *data).code == 2  # wrong usage: typer's own message


def test_a_generator_that_is_not_there(finished: Journey, tmp_path: Path) -> None:
    fault = genir("answer", "Where is Oslo?", "--data", finished.data, "--generator", tmp_path / "reader").fault
    assert (
        fault
        == f"--generator {tmp_path}/reader: no such folder; give extractive, the folder of a reader or of a causal model, or a hub name"
    )


def test_decoding_options_are_for_the_generative_retriever() -> None:
    fault = genir("search", "a question", "--retriever", "bm25", "--num-beam-groups", "2").fault
    assert "--num-beam-groups: for the generative retriever only; --retriever is bm25" in fault


@pytest.mark.parametrize("command", ["search", "answer"])
def test_what_a_retriever_would_leave_unread_is_refused(finished: Journey, command: str) -> None:
    asked = (command, "Where is Oslo?", "--data", finished.data, "--retriever", "bm25")
    unread = f"--model {finished.model}: --retriever bm25 searches no model; leave one of the two out"
    assert genir(*asked, "--model", finished.model).fault == unread
    beams = "--num-beams: for the generative retriever only; --retriever is bm25"
    assert genir(*asked, "--num-beams", "2").fault == beams


def test_a_model_is_unread_beside_a_reranker_of_other_weights(finished: Journey) -> None:
    asked = ("search", "Where is Oslo?", "--data", finished.data, "--retriever", "bm25", "--model", finished.model)
    assert "bm25 searches no model" in genir(*asked, "--rerank", "cross-encoder:nowhere").fault
    assert "has no rerank head" in genir(*asked, "--rerank", "head").fault
