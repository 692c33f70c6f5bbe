"""`genir bench ...`: one thing measured against another in the same run."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Device

bench_app = typer.Typer(help="Measure one thing against another in the same run.", no_args_is_help=True)

JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the figures to this file.", show_default="none"),
]


@bench_app.command("decode")
def decode(
    docs: Annotated[int, typer.Option("--docs", min=1, help="Identifiers in the tree (semantic scheme).")] = 100_000,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Queries a batch.")] = 64,
    beams: Annotated[int, typer.Option("--beams", min=2, help="Beams a query.")] = 10,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed rounds; medians are reported.")] = 5,
    scheme: Annotated[str, typer.Option("--scheme", help="semantic, or title with --data.")] = "semantic",
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set whose titles and queries to use.", show_default="none")
    ] = None,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Constrained beam search beside Hugging Face's generate with prefix_allowed_tokens_fn: same model, same results, queries/s."""
    from experiments.bench.decode import run

    run(docs, batch, beams, json_file, repeats, data=data, scheme=scheme, device=device)


@bench_app.command("constraint")
def constraint(
    docs: Annotated[
        str, typer.Option("--docs", help="Sizes of the tree, with commas between them.")
    ] = "1000,10000,100000,1000000",
    data: Annotated[
        Path | None, typer.Option("--data", help="Also an FM-index over this data set.", show_default="none")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """The constraints alone: building, memory, loading, steps, whole searches, from a thousand to ten million identifiers."""
    from experiments.bench.constraint import run
    from genir.errors import ConfigError

    try:
        sizes = [int(size) for size in docs.split(",")]
    except ValueError:
        raise ConfigError(f"--docs {docs}: expected whole numbers with commas between them, e.g. 1000,100000") from None
    run(sizes, json_file, data=data)


@bench_app.command("train")
def train(
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set to train on.", show_default="atlas, the embedded one")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file, as for `genir train`.", show_default="built-in defaults")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=1, help="Examples a side and round.")] = 1024,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed rounds; medians count.")] = 3,
    frozen_layers: Annotated[
        int, typer.Option("--frozen-layers", min=0, help="Encoder layers that do not learn on the last rung.")
    ] = 3,
    memory: Annotated[
        bool,
        typer.Option("--peak-memory/--no-peak-memory", help="Also measure peak memory, in processes of their own."),
    ] = True,
    json_file: JsonFile = None,
) -> None:
    """Our training loop beside Hugging Face's Trainer: same model, loss and examples; examples/s, what each measure brings, memory."""
    from experiments.bench.train import BenchTraining, run
    from experiments.training.model_config import ModelConfig

    run(data, BenchTraining(examples, rounds, frozen_layers, memory), ModelConfig.read(config), json_file)


@bench_app.command("generate")
def generate(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Section to run: ladder, prompt_length, cache, micro_batches, prefix, int8 or gpu; may be repeated.",
            show_default="all",
        ),
    ] = None,
    layers: Annotated[int, typer.Option("--layers", min=2, help="Decoder layers of the random LLaMA.")] = 8,
    hidden_size: Annotated[int, typer.Option("--hidden-size", min=8, help="Its width.")] = 512,
    intermediate_size: Annotated[int, typer.Option("--intermediate-size", min=8, help="Width within SwiGLU.")] = 1376,
    heads: Annotated[int, typer.Option("--heads", min=1, help="Attention heads.")] = 8,
    kv_heads: Annotated[int, typer.Option("--kv-heads", min=1, help="Key and value heads.")] = 8,
    vocab_size: Annotated[int, typer.Option("--vocab-size", min=512, help="Vocabulary.")] = 32_000,
    dtype: Annotated[
        list[str] | None, typer.Option("--dtype", help="May be repeated.", show_default="float32, bfloat16")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option("--prompt-tokens", min=1, help="Tokens of a prompt.")] = 64,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=2, help="Tokens to write after each.")] = 64,
    micro_batch_size: Annotated[int, typer.Option("--micro-batch-size", min=1, help="Sequences of one group.")] = 8,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Requests at once beside other engines.")] = 16,
    length: Annotated[
        list[int] | None,
        typer.Option("--length", help="Prompt length on the curves; may be repeated.", show_default="64 to 2048"),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed rounds; medians count.")] = 5,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Trained LLaMA whose perplexity int8 is measured by.", show_default="none"),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="Text that it reads there.", show_default="what it writes itself"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set whose prompts share beginnings.", show_default="none")
    ] = None,
    vllm: Annotated[
        str | None, typer.Option("--vllm", metavar="PYTHON", help="Interpreter that has vLLM.", show_default="none")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """The LLaMA engine beside Hugging Face's and vLLM: tokens/s, overlap, cache, utilisation; same weights, prompts and lengths."""
    from dataclasses import replace

    from experiments.bench.generate import BenchSizes, run
    from experiments.generation.model import LlamaShape

    shape = LlamaShape(layers, hidden_size, intermediate_size, heads, kv_heads, vocab_size)
    sizes = BenchSizes(shape=shape)
    ladder = replace(
        sizes.ladder,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        micro_batch_size=micro_batch_size,
        batch=batch,
        repeats=repeats,
    )
    curves = replace(
        sizes.curves,
        lengths=tuple(length or sizes.curves.lengths),
        prompt_tokens=prompt_tokens,
        micro_batch_size=micro_batch_size,
    )
    run(
        replace(
            sizes,
            dtypes=tuple(dtype or sizes.dtypes),
            ladder=ladder,
            curves=curves,
            prefix=replace(sizes.prefix, data=data),
            int8=replace(sizes.int8, model=model, text=text),
        ),
        tuple(only or ()),
        vllm,
        json_file,
    )
