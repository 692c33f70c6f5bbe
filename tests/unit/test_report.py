"""The report: what it shows is what the files hold, user's text stays text, absent sections are named."""

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from docids.quality import diagnose
from docids.table import DocIDTable
from experiments.report import SECTIONS, write_report
from experiments.report_answers import interval_of, source
from experiments.report_sections import in_bytes, meaning, next_steps, p_value
from genir.errors import ArtefactError, MissingExtraError
from genir.formats import write_answers, write_dataset
from genir.manifest import write_json, write_manifest
from genir.records import Answer, Citation, Dataset, Document, Qrels, Query, ScoredDoc

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

ARMS = ("none", "generative", "bm25", "dense", "oracle", "random")
EVIL = '<script>alert("x")</script>'
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a test asks of a page: tags that close in order, ids, text, <data> values, links out."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def values(self) -> set[float]:
        """Every figure on the page, in full."""
        return {float(attributes["value"] or "") for attributes in self.having("data")}


def dataset() -> Dataset:
    fjord = (
        "Norway lies in the north. " * 12 + "Oslo is the capital of Norway. " + "It lies at the head of a fjord. " * 12
    )
    corpus = (
        Document("d1", fjord, f"Oslo {EVIL}", "https://example.org/oslo"),
        Document("d2", "Lima is the capital of Peru.", "Lima", "javascript:alert(1)"),
    )
    queries = (Query("q1", "What is the capital of Norway?", ("Oslo",)), Query("q2", "Who rules <b>Peru</b>?"))
    return Dataset("made-up", corpus, {q.query_id: q for q in queries}, {"test": Qrels({"q1": {"d1": 1}})})


def answers() -> list[Answer]:
    text = dataset().corpus[0].text
    start = text.index("Oslo is")
    citation = Citation("d1", start, start + 30, text[start : start + 30])
    given = []
    for arm in reversed(ARMS):
        said = "Bergen" if arm == "none" else "Oslo"
        cited = () if arm == "none" else (citation,)
        given.append(
            Answer("q1", "What is the capital of Norway?", said, cited, retriever=arm, passages=(ScoredDoc("d1", 1.5),))
        )
        given.append(Answer("q2", "Who rules <b>Peru</b>?", "", abstained=True, retriever=arm))
    return given


def spread(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": max(0.0, mean - 0.0312345), "high": min(1.0, mean + 0.0412345)}


def metrics() -> dict[str, Any]:
    measures, runs = (
        ["Success@1", "R@10", "R@100", "RR@10", "nDCG@10"],
        ["bm25", "dense", "generative $x$ & <i>co</i>", "random-control"],
    )
    rows = []
    for i, run in enumerate(runs):
        for j, measure in enumerate(measures):
            tested = (
                {"delta": 0.0123 * i - 0.02, "p": 0.01 / i, "p_corrected": 0.0002 if i == 3 else 0.04 * i}
                if i
                else dict.fromkeys(("delta", "p", "p_corrected"))
            )
            rows.append(
                {
                    "run": run,
                    "measure": measure,
                    "queries": 437,
                    **spread([0.6512345, 0.5987, 0.7023, 0.0112][i] + 0.02 * j),
                    **tested,
                }
            )
    cost = {"build_seconds": 12.3456, "search_seconds": 0.8765, "queries": 437, "bytes": 12_345_678}
    return {"split": "test", "queries": 437, "measures": measures, "rows": rows, "costs": dict.fromkeys(runs, cost)}


def training() -> dict[str, Any]:
    dev = [0.5312345, 0.5871, 0.6423, 0.6812, 0.6791, 0.6934, 0.6901]
    loss = [0.0, 2.41, 1.52, 1.11, 0.93, 0.81, 0.74]
    history = [{"step": 120 * i, "seconds": 31.5 * i, "loss": loss[i], "dev": dev[i]} for i in range(len(dev))]
    return {"history": history, "best": dev[5], "best_step": 600, "seconds": 189.3, "measure": "RR@10 on dev"}


def write_run_folder(run: Path) -> None:
    """A run folder with everything in it, all made up."""
    write_dataset(dataset(), run / "data")
    write_manifest(
        run / "data",
        "data",
        {"source": "atlas"},
        {},
        7,
        documents=1234,
        queries=5678,
        splits={"train": 4000, "dev": 600, "test": 437},
    )
    table = DocIDTable("residual", {f"d{i}": (i % 7, 8 + i % 5, 16 + i % 3) for i in range(100)}, 24)
    write_manifest(run / "docids", "docids", {"scheme": "residual"}, {"corpus": "ab12"}, **diagnose(table))
    write_json(run / "model" / "training.json", training())
    write_json(run / "model" / "config.json", {"architecture": "code_decoder"})
    write_manifest(run / "model", "model", {"training": {"epochs": 6}}, {"corpus": "ab12"}, 7, seconds=203.4)
    write_json(run / "metrics.json", metrics())
    rates = {"none": 0.91, "generative": 0.14, "bm25": 0.12, "dense": 0.13, "oracle": 0.05, "random": 0.21}
    rows = [
        {
            "arm": arm,
            "em": spread(0.8 - rate / 2),
            "f1": spread(0.85 - rate / 2),
            "hallucination": spread(rate),
            "abstention": spread(0.05),
        }
        for arm, rate in rates.items()
    ]
    write_json(run / "grounding.json", {"reader": "reader-llama", "questions": 200, "rows": rows})
    write_answers(answers(), run / "answers.jsonl")
    one = {
        "question": "What is the capital of Norway?",
        "docid_tokens": [3, 11, 17],
        "title": f"Oslo {EVIL}",
        "doc_id": "d1",
        "score": -0.123,
    }
    write_json(
        run / "examples.json",
        [one | {"alternatives": [one | {"docid_tokens": [3, 12, 16], "title": "", "doc_id": "d2", "score": -1.5}]}],
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that tests only read, with its report."""
    run = tmp_path_factory.mktemp("runs") / "made-up run"
    write_run_folder(run)
    assert write_report(run) == run / "report.html"
    return run


@pytest.fixture
def html(whole: Path) -> str:
    return (whole / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder to be changed; its plots are not drawn, which takes most of the time."""
    write_run_folder(tmp_path)
    monkeypatch.setattr("experiments.plots._svg", lambda name, alt, height, draw: "<svg></svg>")
    return tmp_path


def test_figures_equal_those_of_the_files(page: Page) -> None:
    wanted = {
        row[key]
        for row in metrics()["rows"]
        for key in ("mean", "low", "high", "delta", "p_corrected")
        if row[key] is not None
    }
    wanted |= {row[key] for row in training()["history"] for key in ("dev", "seconds")} | {189.3, 203.4}
    wanted |= {1234, 5678, 4000, 600, 437, 12.3456, 0.8765, 12_345_678, 1000 * 0.8765 / 437, -0.123}
    wanted |= {value for rate in (0.91, 0.14, 0.12, 0.13, 0.05, 0.21) for value in spread(rate).values()}
    assert wanted <= page.values
    assert "0.651" in page.text
    assert "12.3 MB" in page.text
    assert "p < .001" in page.text
    assert "−0.008, p = .040" in page.text


def test_every_section_has_a_heading_and_a_sentence_that_explains_it(page: Page) -> None:
    sections = [attributes["id"] for attributes in page.having("section")]
    assert sections == ["run", *SECTIONS, "next"]
    assert "not run:" not in page.text
    assert sum(attributes.get("class") == "lead" for attributes in page.having("p")) == len(sections) + 1


def test_users_text_is_never_markup(html: str) -> None:
    page = Page(html)
    assert not page.having("script")
    assert not page.having("b")
    assert not page.having("i")
    assert f"Oslo {EVIL}" in page.text
    assert "Who rules <b>Peru</b>?" in page.text
    assert "javascript:" not in html


def test_plots_are_inline_described_and_follow_the_colour_scheme(html: str) -> None:
    plots = [attributes for attributes in Page(html).having("svg") if attributes.get("role") == "img"]
    assert len(plots) == 1 + 2 + 5 + 1  # entropy, dev and loss, a measure each, hallucination
    assert all(attributes["aria-label"] for attributes in plots)
    assert "closed-book 0.910; generative 0.140" in str(plots[-1]["aria-label"])
    assert "var(--accent)" in html
    assert "generative $x$ & <i>co<…" in Page(html).text  # a long name is cut in the plot, and "$" starts no formula


def test_one_file_without_network_script_or_repeated_ids(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [
        str(value)
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("href", "src", "xlink:href")
    ]
    assert {target for target in targets if not target.startswith("#")} == {"https://example.org/oslo"}
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    assert any("default-src 'none'" in str(attributes.get("content")) for attributes in page.having("meta"))


def test_the_cited_words_are_marked_and_closed_book_stands_first(html: str) -> None:
    assert html.count("<mark>Oslo is the capital of Norway.</mark>") == len(ARMS) - 1
    assert html.index("Bergen") < html.index("<mark>")
    assert "✗ wrong" in html
    assert "✓ right" in html
    assert "no accepted answer: to abstain counts as right" in html


def test_the_untrained_start_is_marked_and_has_no_loss(html: str) -> None:
    assert "untrained start 0.531" in Page(html).text
    assert re.search(r'<data value="0">0</data></th><td><data value="0.0">0.000</data></td><td>–</td>', html)


def test_the_same_files_give_the_same_page(whole: Path, html: str) -> None:
    assert write_report(whole).read_text(encoding="utf-8") == html


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, (file, _) in SECTIONS.items()])
def test_a_section_without_its_file_is_left_out_and_named(folder: Path, name: str, file: str) -> None:
    (folder / file).unlink()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert name not in [attributes["id"] for attributes in page.having("section")]
    assert re.search(rf"not run: .*{SECTIONS[name][1].lower()} \({re.escape(file)} is absent or empty\)", page.text)


def test_only_one_finished_stage_is_enough(tmp_path: Path) -> None:
    write_manifest(tmp_path / "data", "data", {}, {}, documents=1, queries=0, splits={})
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert [attributes["id"] for attributes in page.having("section")] == ["run", "data", "next"]


def test_an_untrained_model_and_runs_of_unknown_cost(tmp_path: Path) -> None:
    folder = tmp_path
    write_run_folder(folder)
    record = training()
    write_json(
        folder / "model" / "training.json",
        record | {"history": record["history"][:1], "best_step": 0, "best": record["history"][0]["dev"]},
    )
    write_json(folder / "metrics.json", metrics() | {"costs": {}})
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "cost (metrics.json is absent or empty)" in page.text
    labels = [str(attributes.get("aria-label")) for attributes in page.having("svg")]
    assert "Line chart of RR@10 on dev over the training steps: step 0 0.531." in labels
    assert not any("training loss" in label for label in labels)


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match=r"no manifest\.json in it or below it, so no stage was finished here"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("{"), r"metrics\.json: not valid JSON"),
        (lambda path: path.write_text("[]"), r"metrics\.json: expected a JSON object"),
        (lambda path: path.write_text('{"rows": []}'), r"metrics\.json: the key 'measures' is missing"),
        (
            lambda path: path.write_text(json.dumps(metrics() | {"rows": 3})),
            r"metrics\.json: not what its stage writes",
        ),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_written(
    folder: Path, change: Callable[[Path], object], message: str
) -> None:
    change(folder / "metrics.json")
    with pytest.raises(ArtefactError, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_the_message_says_what_to_install(
    whole: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"report\.html needs {package}, .*pip install 'genir\[report\]'"):
        write_report(whole)


def test_a_citation_of_another_corpus_stands_alone() -> None:
    citation = Citation("d2", 0, 4, "Rome")
    alone = {"title": "", "doc_id": "d2", "url": "", "before": "", "cited": "Rome", "after": ""}
    assert source(citation, None) == alone
    assert source(citation, dataset().corpus[1]) == alone


def test_a_source_without_spaces_keeps_its_context() -> None:
    document = Document("z", "東" * 400 + "京" + "都" * 400)
    shown = source(Citation("z", 400, 401, "京"), document)
    assert (shown["before"], shown["after"]) == ("… " + "東" * 160, "都" * 160 + " …")


def test_flat_rows_are_read_as_well() -> None:
    assert interval_of({"EM": 0.5, "EM low": 0.4, "EM high": 0.6}, "em", "EM") == {"mean": 0.5, "low": 0.4, "high": 0.6}


def test_advice_follows_from_the_figures(tmp_path: Path) -> None:
    table = {"collision_rate": 0.25, "scheme": "residual"}
    said = " ".join(
        advice for advice, _ in next_steps(tmp_path, {"identifiers": table, "training": {"steps": 9, "best_step": 0}})
    )
    assert "25% of the documents share their identifier" in said
    assert "No step of training was better" in said
    said = " ".join(advice for advice, _ in next_steps(tmp_path, {"training": {"steps": 9, "best_step": 9}}))
    assert "train for more epochs" in said


def test_measures_are_explained_or_not_at_all() -> None:
    assert meaning("Success@1") == "share of the queries with a right document among the first one"
    assert meaning("RR@10") == "1 / rank of the first right document, 0 where none is among the first 10"
    assert meaning("AP")
    assert meaning("Bpref") == ""


def test_small_formats() -> None:
    assert [in_bytes(value) for value in (999, 1500, 2_500_000, 3e9)] == ["999 B", "1.5 kB", "2.5 MB", "3.00 GB"]
    assert [p_value(value) for value in (0.0001, 0.0214, 1.0)] == ["< .001", "= .021", "= 1.000"]
