"""report.html of a run folder: one file that needs no network, built from what the stages wrote, nothing typed by hand.

Invariants: every figure on the page comes from a file in the folder, and stands there in full precision as the `value`
of a <data> element; a section whose file is absent is left out and named under "not run"; passages and titles are text,
never markup. The page runs no script and asks for nothing (its own Content-Security-Policy says so).

The sections' figures are prepared in `report_sections` (retrieval) and `report_answers` (answers); words and looks are
in templates/report.html.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from experiments import report_answers, report_sections
from experiments.tables import figure, plain
from genir import __version__
from genir.errors import ArtefactError, MissingExtraError
from genir.formats import read_answers
from genir.manifest import MANIFEST, write_atomically

REPORT = "report.html"
# Section -> the file that it needs, and how a reader calls it; the page keeps this order.
SECTIONS = {
    "data": ("data/manifest.json", "Data"),
    "identifiers": ("docids/manifest.json", "Identifiers"),
    "training": ("model/training.json", "Training"),
    "writing": ("examples.json", "Writing"),
    "retrieval": ("metrics.json", "Retrieval"),
    "cost": ("metrics.json", "Cost"),
    "grounding": ("grounding.json", "Grounding"),
    "answers": ("answers.jsonl", "Answers"),
}


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html and return its path.

    Raises ArtefactError where the folder holds no finished stage, or a file of it cannot be read; MissingExtraError
    where matplotlib or jinja2 is not installed.
    """
    manifests = _read_manifests(folder)
    views: dict[str, Any] = {}
    missing: list[tuple[str, str]] = []
    for name, (file, heading) in SECTIONS.items():
        if (folder / file).is_file():
            views[name] = _view(name, folder, file)
        if views.get(name) is None:
            missing.append((heading.lower(), file))
    page = _render(
        run_name=folder.resolve().name,
        run=report_sections.provenance(manifests),
        missing=missing,
        contents=[(name, heading) for name, (_, heading) in SECTIONS.items() if views.get(name) is not None],
        next_steps=report_sections.next_steps(folder, views),
        **{name: views.get(name) for name in SECTIONS},
    )
    path = folder / REPORT
    write_atomically(path, lambda temporary: cast(None, temporary.write_text(page, encoding="utf-8")))
    return path


def _view(name: str, folder: Path, file: str) -> dict[str, Any] | None:
    """What a section shows, or None where its file holds nothing for it."""
    path = folder / file
    try:
        match name:
            case "data":
                return report_sections.data(_object(path)["facts"])
            case "identifiers":
                return report_sections.identifiers(_object(path)["facts"])
            case "training":
                return report_sections.training(_object(path))
            case "writing":
                return report_answers.writing(_read_json(path))
            case "retrieval":
                return report_sections.retrieval(_object(path))
            case "cost":
                return report_sections.cost(_object(path))
            case "grounding":
                return report_answers.grounding(_object(path))
            case _:
                return report_answers.answers(tuple(read_answers(path)), folder / "data")
    except KeyError as error:
        raise ArtefactError(f"{path}: the key {error} is missing; run the stage that makes it again") from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtefactError(f"{path}: not what its stage writes ({error}); run that stage again") from None


def _read_manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Finished folder, relative to the run folder -> its manifest, in the order in which they were made."""
    if not folder.is_dir():
        raise ArtefactError(
            f"{folder}: no such folder; `genir demo --out DIR` makes one with everything that a report shows"
        )
    paths = [
        path
        for path in folder.rglob(MANIFEST)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise ArtefactError(
            f"{folder}: no {MANIFEST} in it or below it, so no stage was finished here; "
            "expected a run folder, as `genir demo` makes one"
        )
    manifests = {path.parent.relative_to(folder).as_posix(): _object(path) for path in paths}
    return dict(sorted(manifests.items(), key=lambda item: (str(item[1].get("made_at")), item[0])))


def _object(path: Path) -> dict[str, Any]:
    value = _read_json(path)
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: expected a JSON object; run the stage that makes it again")
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not valid JSON ({error}); run the stage that makes it again") from None


def _render(**values: Any) -> str:
    """Fill the template; everything is escaped, except what is marked as drawn or formatted by us."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingExtraError("jinja2", "report", REPORT) from None

    def number(value: object) -> str:
        """A figure as people read it, with its full value for programs."""
        exact = plain(value)
        if isinstance(exact, bool) or not isinstance(exact, int | float):
            return figure(exact)
        return Markup('<data value="{}">{}</data>').format(
            repr(exact), figure(exact).replace("-", "−", 1) if exact < 0 else figure(exact)
        )

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "num": number,
        "svg": Markup,  # only for what experiments.plots drew: it escapes its labels itself
        "bytes": report_sections.in_bytes,
        "p": report_sections.p_value,
        "json": lambda value: json.dumps(value, ensure_ascii=False, indent=2),
    }
    source = files("experiments").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(source).render(**values, version=__version__)
