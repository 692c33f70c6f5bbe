"""How every command prints figures: a table for people, or one JSON document for programs, on stdout.

Invariants: cells are text, never markup, so a title that holds "[red]" is printed as such, and escape sequences are
taken out; JSON is strict (a figure that is not finite becomes null) and holds every key of a row, not only the columns
shown; a table that is piped into a file is as wide as it needs to be, never cut at 80 characters.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

ABSENT = "–"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]+")


def show(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | Sequence[str],
    title: str = "",
    as_json: bool = False,
) -> None:
    """Print `rows` to stdout: a table of `columns`, or a JSON array of the whole rows.

    `columns` maps keys to headings, or names keys that head themselves. A key that a row lacks
    shows as a dash. Numbers stand to the right.
    """
    if as_json:
        sys.stdout.write(_json(rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headings = dict(columns) if isinstance(columns, Mapping) else {key: key.replace("_", " ") for key in columns}
    table = Table(title=Text(title, style="bold") if title else None, title_justify="left", header_style="bold")
    for key, heading in headings.items():
        table.add_column(Text(heading), justify="right" if _is_numeric(rows, key) else "left")
    for row in rows:
        table.add_row(*(Text(figure(row.get(key))) for key in headings))
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        wide = console.options.update(max_width=100_000)
        console.width = max(len(title), console.measure(table, options=wide).maximum)
    console.print(table)


def show_facts(facts: Mapping[str, Any], title: str = "", as_json: bool = False) -> None:
    """Print one object to stdout: a line a figure, nested ones under "outer · inner", or the whole as JSON."""
    if as_json:
        sys.stdout.write(_json(facts))
        return
    show([{"what": name, "value": value} for name, value in _flat(facts, "")], ("what", "value"), title)


def figure(value: object) -> str:
    """A value as people read it: 1,234 · 0.713 · 1.2e-05 · yes · – for None, for nothing, and for what is not finite."""
    value = plain(value)
    if value is None or value in ([], {}, ""):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}"
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(
            str(item) if isinstance(item, int) else figure(item) for item in value
        )  # 1,024, 7 would be read wrongly
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _CONTROL.sub(" ", text)


def plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses become objects, NumPy and torch scalars numbers, NaN and infinity null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not isinstance(value, bool | int | float) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else str(value)


def _json(value: object) -> str:
    return json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _flat(facts: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        name = prefix + str(key).replace("_", " ")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name} · ")
        else:
            yield name, value


def _is_numeric(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether every value of a column that is there is a number, and one is."""
    values = [plain(row[key]) for row in rows if row.get(key) is not None]
    return bool(values) and all(
        value is None or (isinstance(value, int | float) and value is not True) for value in values
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
