"""Our training loop beside Hugging Face's Trainer: the same model, loss and examples, examples a second, in the same run.

The baseline is the Trainer out of the box (see `experiments.bench.training_baseline`); the rungs above it give it our loop's measures one
by one; the last ones freeze the lower part of the encoder. The encoder is real, the identifiers are random: only times, memory and
the agreement of the first loss mean anything. Sides take turns in rounds, each with a fresh model; medians count.

`speedup` is ours, all weights learning, over the baseline, with the set-up (tokenising) as if there were one epoch only.
`speedup_frozen` is that with frozen layers, the pass that fills their cache included, and `speedup_frozen_later` what every later
epoch has of it.
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from experiments.atlas import build_atlas
from experiments.bench.decoding_cost import matrix_product_rate, operations
from experiments.bench.training_baseline import Timed, TrainerMeasures
from experiments.bench.training_memory import peak_memory
from experiments.bench.training_sides import Case, Side, time_side
from experiments.drawing import write_drawing
from experiments.tables import plain, show
from experiments.training.model_config import ModelConfig
from genir.devices import attention_kernel, autocast, pick_device, runs_in_bfloat16
from genir.errors import ConfigError, MissingExtraError
from genir.formats import CORPUS, load_dataset
from genir.manifest import machine, provenance, sha256_of, write_json
from genir.objectives import TrainingBatch
from genir.token_rows import TokenRows, bucketed_batches
from genir.training import Example

BASELINE, OURS, FROZEN = "trainer", "ours", "ours_frozen"


@dataclass(frozen=True)
class BenchTraining:
    """How much is measured."""

    examples: int = 1024  # a side and round
    rounds: int = 3
    frozen_layers: int = 3
    memory: bool = True
    seed: int = 0


def sides(frozen_layers: int) -> dict[str, Side]:
    """Every side by name, from the baseline upwards."""
    once = TrainerMeasures(tokenised_once=True)
    still = replace(once, without_dropout=True)
    grouped = replace(still, grouped_by_length=True)
    return {
        BASELINE: Side("Trainer", TrainerMeasures()),
        "trainer_tokenised": Side("+ tokenised once", once),
        "trainer_no_dropout": Side("+ no dropout, so flash attention", still),
        "trainer_grouped": Side("+ grouped by length", grouped),
        "trainer_bfloat16": Side("+ bfloat16 autocast", replace(grouped, bfloat16=True)),
        "ours_float32": Side("genir, float32"),
        OURS: Side("genir", precision="auto"),
        "ours_frozen_embeddings": Side("genir, embeddings frozen", precision="auto", frozen_layers=0),
        FROZEN: Side(f"genir, {frozen_layers} layers frozen", precision="auto", frozen_layers=frozen_layers),
    }


def run(
    data: Path | None = None,
    bench: BenchTraining | None = None,
    config: ModelConfig | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Time all sides on the examples of a data folder (atlas where None is given), print them, and write figures, manifest and plot.

    `config` says which model, objective, examples and batches. Raises ConfigError where the data give fewer examples than a batch.
    """
    bench = bench or BenchTraining()
    config = config or ModelConfig()
    case = Case.of(build_atlas().dataset if data is None else load_dataset(data), config)
    examples = case.examples[: bench.examples]
    batch = config.training.batch_size
    if len(examples) < batch:
        raise ConfigError(f"{len(examples)} examples are less than one batch of {batch}: give more, or a smaller batch")
    ladder = sides(bench.frozen_layers)
    timed = _rounds(case, ladder, examples, bench.rounds)
    figures = _figures(timed, len(examples))
    figures["labels"] = {name: side.label for name, side in ladder.items()}
    figures["first_loss"] = _first_loss(case, ladder, examples[:batch])
    figures |= _cost(case, examples, figures["examples_per_second"][OURS])
    if bench.memory:
        figures["peak_gb"] = {
            name: {place: peak / 1e9 for place, peak in peak_memory(case, ladder[name]).items()}
            for name in (BASELINE, OURS)  # frozen layers add their cache, which has its bound
        }
    inputs = {} if data is None else {"corpus": sha256_of(data / CORPUS)}
    settings = {
        **asdict(bench),
        "model": asdict(config),
        "data": "atlas" if data is None else data.name,
        "documents": len(case.identifiers),
        "examples_in_all": len(case.examples),
        "examples": len(examples),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": machine(),
    }
    figures = cast(dict[str, Any], plain(figures | {"settings": settings}))
    _print(figures)
    if out is not None:
        write_json(out, figures)
        write_json(out.with_suffix(".manifest.json"), provenance("bench train", settings, inputs, bench.seed))
        try:
            write_drawing(out.with_suffix(".svg"), partial(_draw, figures))
        except MissingExtraError as error:
            Console(stderr=True).print(f"no drawing: {error}")
    return figures


def _rounds(case: Case, ladder: Mapping[str, Side], examples: Sequence[Example], rounds: int) -> dict[str, list[Timed]]:
    """Each side's rounds, the sides in turns; a short round first, which imports and sets up what is new."""
    console = Console(stderr=True)
    timed: dict[str, list[Timed]] = {name: [] for name in ladder}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for name, side in ladder.items():
                console.print(f"round {number} of {rounds}: {side.label}")
                if number == 0:
                    time_side(case, side, examples[: 2 * case.config.training.batch_size], Path(folder))
                else:
                    timed[name].append(time_side(case, side, examples, Path(folder)))
    return timed


def _first_loss(case: Case, ladder: Mapping[str, Side], batch: Sequence[Example]) -> dict[str, float]:
    """The loss of the first step on one batch, float32, by the Trainer without dropout and by our loop."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = time_side(case, ladder["trainer_no_dropout"], batch, Path(folder)).losses[0]
        ours = time_side(case, ladder["ours_float32"], batch, Path(folder)).losses[0]
    return {"trainer": theirs, "ours": ours}


def _figures(timed: Mapping[str, Sequence[Timed]], count: int) -> dict[str, Any]:
    rates = {
        name: count / statistics.median(one.setup_seconds + one.step_seconds for one in rounds)
        for name, rounds in timed.items()
    }
    later = {name: count / statistics.median(one.step_seconds for one in rounds) for name, rounds in timed.items()}
    return {
        "speedup": rates[OURS] / rates[BASELINE],
        "speedup_float32": rates["ours_float32"] / rates[BASELINE],
        "speedup_frozen": rates[FROZEN] / rates[BASELINE],
        "speedup_frozen_later": later[FROZEN] / later[BASELINE],
        "examples_per_second": rates,
        "examples_per_second_later_epochs": later,
        "seconds": {
            name: {
                "setup": [one.setup_seconds for one in rounds],
                "steps": [one.step_seconds for one in rounds],
            }
            for name, rounds in timed.items()
        },
    }


def _cost(case: Case, examples: Sequence[Example], rate: float) -> dict[str, Any]:
    """Operations that an example costs our loop, and the share of the processor's rate that it reaches."""
    config = case.config.training
    model, objective = case.build(examples)
    device = pick_device(str(model.device))
    rows = TokenRows.pack(model.tokenize([one.text for one in examples]))
    batches = bucketed_batches(rows.lengths, config.batch_size, config.seed, 0)[:8]

    def steps() -> None:
        for batch in batches:
            chosen = [examples[i] for i in batch]
            targets = torch.tensor([one.target for one in chosen], device=device)
            weights = torch.tensor([one.weight for one in chosen], device=device)
            with autocast(device), attention_kernel(device, "auto", 1):
                input_ids, mask = model.pad([rows[i] for i in batch])
                numbers = torch.tensor(batch, device=device)
                loss = objective.loss(TrainingBatch(input_ids, mask, targets, weights, numbers))
            loss.backward()  # type: ignore[no-untyped-call]

    needed = operations(steps) / sum(map(len, batches))
    dtype = torch.bfloat16 if runs_in_bfloat16(device, "auto") else torch.float32
    peak = matrix_product_rate(dtype, device)
    return {"gflop_per_example": needed / 1e9, "peak_gflops": peak / 1e9, "share_of_peak": needed * rate / peak}


def _print(figures: Mapping[str, Any]) -> None:
    settings, rates = figures["settings"], figures["examples_per_second"]
    rows = [
        {
            "loop": figures["labels"][name],
            "first epoch": rate,
            "later epochs": figures["examples_per_second_later_epochs"][name],
            "times the Trainer": rate / rates[BASELINE],
        }
        for name, rate in rates.items()
    ]
    title = f"training on {settings['data']}, {settings['examples']} examples, examples/s"
    show(rows, list(rows[0]), title=title)
    loss = figures["first_loss"]
    print(f"loss of the first step in float32: Trainer {loss['trainer']:.4f}, genir {loss['ours']:.4f}")
    print(
        f"{figures['gflop_per_example']:.2f} Gflop an example, {figures['share_of_peak']:.2f} of the "
        f"{figures['peak_gflops']:.0f} Gflop/s of a large product"
    )
    for name, peak in figures.get("peak_gb", {}).items():
        print(f"most memory, {figures['labels'][name]}: " + ", ".join(f"{gb:.2f} GB {at}" for at, gb in peak.items()))


def _draw(figures: Mapping[str, Any], figure: Any) -> None:
    """Examples a second of every side, as bars."""
    figure.set_size_inches(7, 3.2)
    axes = figure.subplots()
    rates = figures["examples_per_second"]
    colours = ["C0" if name.startswith("ours") else "C7" for name in rates]
    bars = axes.barh([figures["labels"][name] for name in rates], list(rates.values()), color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("examples a second, set-up included")
