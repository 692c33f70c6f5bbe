"""The drawing of a learning curve: from a record of a training, and from what is none."""

import json
from pathlib import Path

import pytest

from experiments.training.learning_curve import draw_curve
from genir.errors import ArtefactError

HISTORY = [{"step": 0, "loss": 0.0, "dev": 0.1}, {"step": 5, "loss": 2.0, "dev": 0.4}]


def test_the_same_record_gives_the_same_drawing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    record = {"history": HISTORY, "best": 0.4, "best_step": 5, "measure": "F1 on dev"}
    (tmp_path / "training.json").write_text(json.dumps(record))
    for name in ("one.svg", "two.svg"):
        draw_curve(tmp_path / "training.json", tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    assert "F1 on dev" in drawn
    assert "kept" in drawn


@pytest.mark.parametrize("text", ["[]", "{}", '{"history": []}', '{"history": [{"step": 1}]}'])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(
        ArtefactError, match=r"training\.json: holds no learning curve; give the training\.json of a finished"
    ):
        draw_curve(tmp_path / "training.json", tmp_path / "one.svg")
    assert not (tmp_path / "one.svg").exists()
