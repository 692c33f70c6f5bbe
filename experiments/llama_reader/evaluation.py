"""What a llama reader is worth: measured as the span reader is (`experiments.span.evaluation`), with the same arms and figures.

    python -m experiments.llama_reader.evaluation --reader FOLDER --data DIR --split test --unanswerable DIR --out FILE

The reader is served by the project's LLaMA engine. Invariant: nothing is chosen on what is measured here.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from experiments.span.evaluation import figures, oracle, retrieved, unanswerable
from genir.errors import ConfigError
from genir.formats import dataset_sha256, load_dataset
from genir.manifest import provenance, sha256_of, write_json
from rag.llama_reader.network import PACKED_FILE, WEIGHTS_FILE
from rag.llama_reader.reader import LlamaReader


def evaluate(
    reader: Annotated[Path, typer.Option("--reader", help="Folder made by `genir train-reader llama`.")],
    data: Annotated[Path, typer.Option("--data", help="Data folder with answers.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    split: Annotated[str, typer.Option("--split", help="Split to measure on.")] = "test",
    second: Annotated[
        Path | None,
        typer.Option(
            "--unanswerable", help="SQuAD 2.0 folder for questions that must be refused.", show_default="none"
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=0, help="Passages that BM25 finds; 0 for no such arm.")] = 5,
    questions: Annotated[int, typer.Option("--questions", min=0, help="At most so many an arm; 0 for all.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Measure a reader and write every figure with its interval."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; give the name of a file, e.g. {out / 'llama.json'}")
    loaded = LlamaReader.load(reader, device)
    weights = next(path for path in (reader / PACKED_FILE, reader / WEIGHTS_FILE) if path.is_file())
    dataset = load_dataset(data, [split])
    inputs = {"reader": sha256_of(weights), "dataset": dataset_sha256(data)}
    arms = {"oracle": oracle(dataset, split)}
    if k:
        arms[f"bm25, {k} passages"] = retrieved(dataset, split, k)
    if second is not None:
        arms[f"{second.name}, own passage"] = unanswerable(second, split)
        inputs[second.name] = dataset_sha256(second)
    if questions:
        arms = {name: asked[:: max(1, len(asked) // questions)][:questions] for name, asked in arms.items()}
    made = figures(loaded, arms)
    config = {"data": data.name, "split": split, "settings": asdict(loaded.settings)}
    write_json(out, {**made, **provenance("llama evaluation", config, inputs)})
    for name in arms:
        row = made[name]["always"]
        typer.echo(f"{name}: EM {row['EM']['mean']:.3f}, F1 {row['F1']['mean']:.3f}")


if __name__ == "__main__":
    typer.run(evaluate)
