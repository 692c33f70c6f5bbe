"""Checkers measured: AUROC of each on right and wrong claims, beside what the length and the words alone would give.

    OUT/summary.json           "checker" -> data set -> {name, auroc, low, high, differences, length, containment, pairs, others}; what
                               other experiments wrote there stays
    OUT/checker.scores.jsonl   every statement with every checker's score, so that a figure can be looked into
    OUT/checker.manifest.json  written last

`auroc` is that of the checker that was named first, with a 95 % bootstrap interval over questions; `length` and `containment` are the
AUROC of those baselines on the same statements, `differences` what the checker's is above each of them, with the interval of the paired
difference, and `others` the figures of the checkers named after it.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.checkers.data import BASELINES, CheckerSet, checker_sets
from experiments.checkers.scoring import Interval, Resampled, resampled_auroc, score_statements
from experiments.summary_file import merge_summary, read_summary
from genir.embedding import DEFAULT_ENCODER, TextEncoder
from genir.errors import ArtefactError, ConfigError, unknown_name
from genir.formats import dataset_sha256
from genir.manifest import MANIFEST, provenance, sha256_of, write_atomically, write_json
from rag.checkers.embedding import EmbeddingChecker
from rag.checkers.nli import NLIChecker
from rag.checkers.shipped import ShippedChecker, features_can_run
from rag.checkers.trained import ClaimChecker
from rag.verification import LexicalChecker, SupportChecker

STAGE = "checker benchmark"
FOLDERS = ("halueval-qa", "squad-small", "scifact")
KEY, _SCORES, _MANIFEST = "checker", "checker.scores.jsonl", "checker.manifest.json"
_SOURCES = {"lexical": "", "features": "", "embedding": "[:NAME_OR_DIR]", "trained": ":DIR", "nli": ":NAME_OR_DIR"}


def make_checker(text: str, device: str = "auto", cache: Path | None = None) -> SupportChecker:
    """A checker by KIND or KIND:SOURCE: features (the trained one that ships), lexical, embedding (any encoder), trained:DIR, nli:NAME.

    Raises ConfigError for an unknown kind, or a source that is missing or too much.
    """
    kind, _, source = text.partition(":")
    if kind not in _SOURCES:
        raise unknown_name("checker", kind, _SOURCES)
    wanted = _SOURCES[kind]
    if (source and not wanted) or (not source and wanted.startswith(":")):
        raise ConfigError(f"checker {text!r}: expected {kind}{wanted}")
    if kind == "lexical":
        return LexicalChecker()
    if kind == "features":
        return ShippedChecker(cache, device)
    if kind == "embedding":
        return EmbeddingChecker(TextEncoder(source or DEFAULT_ENCODER, device=device, cache_dir=cache))
    if kind == "trained":
        return ClaimChecker.load(Path(source), cache, device)
    return NLIChecker(source, device=device)


def default_checkers() -> tuple[str, ...]:
    """What is measured where nothing is named: the checker that ships, where it can run, and the two that need no training."""
    return ("features", "lexical", "embedding") if features_can_run() else ("lexical", "embedding")


def default_checker(unspaced: bool = False) -> str:
    """`features` where it can run, else `lexical`, with a warning: that one calls supported whatever is copied from the evidence.

    Of questions in Chinese or Japanese (`unspaced`), which `features` does not read, `lexical`.
    """
    if unspaced:
        return "lexical"
    if features_can_run():
        return "features"
    warnings.warn(
        "claims are judged by their words alone (lexical), which sees no wrong copy and no contradiction: "
        "pip install 'genir[dense]' for the trained checker",
        stacklevel=2,
    )
    return "lexical"


def check_checkers(
    root: Path,
    checkers: Sequence[str],
    out: Path,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure `checkers` on the data sets below `root` and write `out`; returns summary.json's figures.

    `tell` is called with a line a checker. Raises DataError for missing data, ConfigError for a checker that is unknown or named twice.
    """
    made = [make_checker(text, device, cache) for text in checkers]
    names = [one.name for one in made]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"checkers {', '.join(checkers)}: two are called {max(names, key=names.count)!r}; name each once"
        )
    _check_out(out)
    sets = checker_sets(root, seed)
    (out / _MANIFEST).unlink(missing_ok=True)
    trivial = {one.name: _baselines(one, seed) for one in sets}
    figures: dict[str, dict[str, Any]] = {one.name: {} for one in sets}
    scores: dict[str, dict[str, list[float]]] = {one.name: {} for one in sets}
    seconds: dict[str, float] = {}
    for checker in made:
        begun = time.monotonic()
        for one in sets:
            scores[one.name][checker.name] = score_statements(checker, one.judged)
            said = _figures(resampled_auroc(scores[one.name][checker.name], one.judged, seed), trivial[one.name])
            if figures[one.name]:
                figures[one.name]["others"][checker.name] = said
            else:
                baselines = {name: found.value for name, found in trivial[one.name].items()}
                figures[one.name] = {"name": checker.name, **said, **baselines, "pairs": one.pairs, "others": {}}
        seconds[checker.name] = round(time.monotonic() - begun, 1)
        tell(f"{checker.name}: {seconds[checker.name]} s")
    merge_summary(out, {KEY: figures})
    _write_scores(out / _SCORES, sets, scores)
    inputs = {name: dataset_sha256(root / name) for name in FOLDERS}
    inputs |= {
        f"checker {name}": sha256_of(Path(text.partition(":")[2]) / MANIFEST)  # no paths of this machine
        for text, name in zip(checkers, names, strict=True)
        if text.startswith("trained:")
    }
    left_out = {one.name: one.left_out for one in sets}
    facts = {"seconds": seconds, "left_out": left_out}
    write_json(out / _MANIFEST, provenance(STAGE, {"checkers": names}, inputs, seed) | {"facts": facts})
    return {KEY: figures}


def table(figures: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """(rows, columns) for a person: a row a data set, a column a checker, behind the baselines."""
    rows = []
    for name, found in figures[KEY].items():
        by_checker = {found["name"]: found, **found["others"]}
        row = {"data set": name, **{key: found[key] for key in ("pairs", *BASELINES)}}
        row |= {key: f"{one['auroc']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for key, one in by_checker.items()}
        rows.append(row)
    return rows, list(rows[0])


def _baselines(one: CheckerSet, seed: int) -> dict[str, Resampled]:
    return {
        name: resampled_auroc([baseline(judged.statement) for judged in one.judged], one.judged, seed)
        for name, baseline in BASELINES.items()
    }


def _figures(found: Resampled, trivial: Mapping[str, Resampled]) -> dict[str, Any]:
    """A checker's AUROC, and its paired differences from the baselines, each with its interval."""
    differences = {name: _plain(found.minus(one).interval(), "difference") for name, one in trivial.items()}
    return {**_plain(found.interval(), "auroc"), "differences": differences}


def _plain(one: Interval, called: str) -> dict[str, float]:
    return {called: one.value, "low": one.low, "high": one.high}


def _check_out(out: Path) -> None:
    """Raise ArtefactError where somebody else's files would be overwritten."""
    if out.exists() and not out.is_dir():
        raise ArtefactError(f"--out {out}: is a file; give the name of a new folder")
    read_summary(out)
    if (out / _SCORES).exists() and not (out / _MANIFEST).exists():
        raise ArtefactError(f"--out {out}: already holds another {_SCORES}; give the name of a new folder")


def _write_scores(path: Path, sets: Sequence[CheckerSet], scores: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    lines = []
    for one in sets:
        for i, judged in enumerate(one.judged):
            said = {"set": one.name, "question": judged.statement.question, "claim": judged.statement.claim}
            by_checker = {name: round(values[i], 4) for name, values in scores[one.name].items()}
            lines.append(
                json.dumps(
                    {**said, "right": judged.right, "group": judged.group, "scores": by_checker}, ensure_ascii=False
                )
            )
    text = "\n".join(lines) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)
