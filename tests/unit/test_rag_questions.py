"""What is asked, and what is tuned on: unanswerable questions by their split."""

import json
from dataclasses import replace
from pathlib import Path

from experiments.rag_evaluation.questions import DEV_SHARE, Questions, choose_questions
from experiments.rag_evaluation.settings import GroundingConfig
from genir.formats import load_dataset
from genir.records import Query
from tests.bridges import bridges, write_bridges


def chosen(folder: Path, config: GroundingConfig | None = None) -> Questions:
    return choose_questions(folder, load_dataset(folder), config or GroundingConfig())


def ids(queries: tuple[Query, ...]) -> list[str]:
    return [query.query_id for query in queries]


def test_unanswerable_questions_of_dev_are_tuned_on_and_not_asked(tmp_path: Path) -> None:
    folder = write_bridges(tmp_path / "bridges")
    path = folder / "queries.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if record["_id"] in ("u0", "u1"):
            record |= {"split": "dev" if record["_id"] == "u0" else "test", "context_id": "d3"}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    found = chosen(folder)
    assert (ids(found.dev), ids(found.unanswerable)) == (["q4", "q5", "u0"], ["u1"])
    assert found.relevant.relevant("u0") == found.relevant.relevant("u1") == ("d3",)
    on_dev = chosen(folder, GroundingConfig(split="dev"))
    assert (ids(on_dev.dev), ids(on_dev.unanswerable)) == ([], ["u0"])


def test_of_unanswerable_questions_without_a_split_every_fifth_is_devs(tmp_path: Path) -> None:
    whole = bridges()
    more = {f"u{i}": Query(f"u{i}", f"Who sold bridge {i}?") for i in range(2 * DEV_SHARE)}
    folder = write_bridges(tmp_path / "bridges", replace(whole, queries={**whole.queries, **more}))
    found = chosen(folder)
    assert ids(found.dev) == ["q4", "q5", "u4", "u9"]
    assert len(found.unanswerable) == 2 * DEV_SHARE - 2
    without = replace(whole, qrels={"test": whole.qrels["test"]}, queries={**whole.queries, **more})
    found = chosen(write_bridges(tmp_path / "no-dev", without))
    assert (found.dev, len(found.unanswerable)) == ((), 2 * DEV_SHARE)
