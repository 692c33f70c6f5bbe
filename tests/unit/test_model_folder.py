"""What a model is made of: what training reads, and nothing else."""

from pathlib import Path

from experiments.training.material import GeneratorConfig
from experiments.training.model_folder import inputs_of
from experiments.training.teaching import TeacherConfig
from genir.formats import load_dataset
from tests.quality_towns import write_towns


def test_of_the_judgements_a_model_is_made_of_train_and_dev_alone(tmp_path: Path) -> None:
    data, docids = write_towns(tmp_path), tmp_path / "docids"
    docids.mkdir()

    def inputs() -> dict[str, str]:
        return inputs_of(load_dataset(data), data, docids, "encoder", GeneratorConfig(), TeacherConfig())

    before = inputs()
    assert {name for name in before if name.startswith("qrels/")} == {"qrels/train", "qrels/dev"}
    for split in ("test", "spring"):
        (data / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq9\td1\t1\n", encoding="utf-8")
    assert inputs() == before
    (data / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq9\td1\t1\n", encoding="utf-8")
    assert inputs() != before
