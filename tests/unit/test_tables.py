"""Printing figures: a table for people, one JSON document for programs."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from experiments.tables import figure, show, show_facts

ROWS = [
    {"run": "bm25", "R@10": 0.96123, "queries": 1234, "p": None, "note": "x" * 150},
    {"run": "[red]dense[/red]\x1b[31m", "R@10": 0.91, "queries": 1234, "p": 0.00001},
]


def test_a_table_has_headings_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, {"run": "system", "R@10": "R@10", "queries": "queries", "p": "p"}, "test split")
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "test split" in printed.out
    for cell in ("system", "bm25", "0.961", "1,234", "1.0e-05", "–"):
        assert cell in printed.out


def test_cells_are_text_never_markup_or_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, ["run"], "[b]title[/b]")
    printed = capsys.readouterr().out
    assert "[red]dense[/red]" in printed
    assert "[b]title[/b]" in printed
    assert "\x1b" not in printed


def test_a_piped_table_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, ["run", "note"], "t" * 120)
    printed = capsys.readouterr().out
    assert "x" * 150 in printed
    assert "t" * 120 in printed


def test_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"n": 5}, {"n": 12345}], ["n"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("     5 │") for line in lines)


def test_no_rows_leave_the_headings(capsys: pytest.CaptureFixture[str]) -> None:
    show([], ["rank", "doc_id"], "nothing found")
    assert "doc_id" not in (printed := capsys.readouterr().out)  # "_" is written as a space
    assert "doc id" in printed


def test_json_is_one_strict_document_with_whole_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "run": "<b>東京</b>",
            "mean": np.float32(0.5),
            "low": math.nan,
            "tokens": (1, 2),
            "n": np.int64(3),
            "sure": True,
        }
    ]
    show(rows, ["run"], "title", as_json=True)
    printed = capsys.readouterr().out
    assert json.loads(printed) == [
        {"run": "<b>東京</b>", "mean": 0.5, "low": None, "tokens": [1, 2], "n": 3, "sure": True}
    ]
    assert "東京" in printed
    assert "NaN" not in printed


def test_facts_print_as_lines_or_as_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"documents": {"count": 1200, "words": {"max": 9}}, "problems": {}, "name": "atlas"}
    show_facts(facts, "data")
    printed = capsys.readouterr().out
    assert "documents · words · max" in printed
    assert "1,200" in printed
    show_facts(facts, "data", as_json=True)
    assert json.loads(capsys.readouterr().out) == facts


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.inf, "–"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.0, "0.000"),
        (0.71249, "0.712"),
        (12.3456, "12.346"),
        (1234.56, "1,234.6"),
        (0.00012, "1.2e-04"),
        (-0.02, "-0.020"),
        ((3, 1024, 17), "3, 1024, 17"),
        (Point(2), '{"x": 2}'),
        ("two\nlines", "two\nlines"),
    ],
)
def test_figures_as_people_read_them(value: object, text: str) -> None:
    assert figure(value) == text
