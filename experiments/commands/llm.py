"""`genir generate`, `genir plan`, `genir serve-llm`: the LLaMA engine from the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.commands.options import Device, Json

if TYPE_CHECKING:
    from genir.protocols import Generator, SamplingParams
    from rag.llama.engine import EngineOptions, LlamaEngine

ModelFolder = Annotated[
    str,
    typer.Option(
        "--model",
        help="Hugging Face folder of a LLaMA model (config, shards, tokenizer), or its hub name.",
        show_default=False,
    ),
]
_STEP_TIMEOUT = 30.0
Stages = Annotated[int, typer.Option("--stages", min=1, help="Pipeline stages, a process each.")]
DType = Annotated[str, typer.Option("--dtype", help="auto (the checkpoint's), float32, bfloat16 or float16.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Hold the weights in 8 bits.")]
Attention = Annotated[
    str, typer.Option("--attention", help="auto, compiled (a CPU), sdpa, eager, or flash (a GPU and flash-attn).")
]

CacheMemory = Annotated[
    str | None,
    typer.Option(
        "--cache-memory", help="KV cache of one stage, e.g. 4GB.", show_default="whole contexts, at most 1 GiB"
    ),
]
MicroBatches = Annotated[
    int | None,
    typer.Option(
        "--micro-batches",
        min=1,
        help="Groups of requests that circulate; 2 a stage keep every stage busy.",
        show_default="2 a stage, fewer while they would be small",
    ),
]
Front = Annotated[
    str,
    typer.Option(
        "--front",
        metavar="HOST:PORT",
        help="Await stages that torchrun starts (python -m rag.llama.pipeline), instead of starting them here.",
        show_default="none",
    ),
]
StepTimeout = Annotated[
    float,
    typer.Option("--step-timeout", min=1.0, metavar="S", help="A stage that computes one step for longer hangs."),
]


def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Hugging Face folder or hub name of a LLaMA model; for another backend, what it takes.",
            show_default=False,
        ),
    ],
    stages: Stages = 1,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Most tokens to write.")] = 128,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 takes the best token each time.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Draw from the k best tokens; 0 from all.")] = 0,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0.0, max=1.0, help="Draw from the best tokens that hold this share.")
    ] = 1.0,
    repetition_penalty: Annotated[
        float,
        typer.Option("--repetition-penalty", min=0.01, help="Above 1, tokens that were there become less likely."),
    ] = 1.0,
    num_beams: Annotated[int, typer.Option("--num-beams", min=1, help="Above 1, beam search.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same text.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this string; may be repeated.", show_default="none")
    ] = None,
    dtype: DType = "auto",
    int8: Int8 = False,
    attention: Attention = "auto",
    device: Device = "auto",
    cache_memory: CacheMemory = None,
    micro_batches: MicroBatches = None,
    front: Front = "",
    step_timeout: StepTimeout = _STEP_TIMEOUT,
    backend: Annotated[
        str,
        typer.Option("--backend", help="llama (this engine), hf, vllm, or openai (--model is then the server's URL)."),
    ] = "llama",
    as_json: Json = False,
) -> None:
    """Continue a prompt with a LLaMA model over any number of pipeline stages; the text streams to stdout."""
    from experiments.registry import make_generator
    from genir.errors import ConfigError
    from genir.protocols import SamplingParams
    from rag.llama.text import check_unicode

    params = SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=tuple(stop or ()),
        seed=seed,
        repetition_penalty=repetition_penalty,
        num_beams=num_beams,
    )
    check_unicode(prompt, "the prompt")
    if backend != "llama":
        ours = stages > 1 or int8 or attention != "auto" or front or cache_memory or micro_batches
        if ours or step_timeout != _STEP_TIMEOUT:
            names = "--stages, --int8, --attention, --cache-memory, --micro-batches, --front and --step-timeout"
            raise ConfigError(f"--backend {backend}: leave out {names}, they are the backend llama's")
        _write(make_generator(backend, model, device, dtype), prompt, params, as_json)
        return
    options = _options(stages, dtype, int8, attention, device, front, cache_memory, micro_batches, step_timeout)
    with _engine(model, options) as engine:
        _write(engine, prompt, params, as_json)


def _write(generator: "Generator", prompt: str, params: "SamplingParams", as_json: bool) -> None:
    """The text as it comes, or one JSON document with everything."""
    from experiments.tables import show_facts

    if as_json:
        [generation] = generator.generate([prompt], params)
        facts: dict[str, Any] = {"prompt": prompt, **asdict(generation), "generator": generator.name}
        if hasattr(generator, "statistics"):
            facts["statistics"] = generator.statistics()
        show_facts(facts, as_json=True)
        return
    for piece in generator.stream(prompt, params):
        print(piece, end="", flush=True)
    print()


def plan(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="A folder with a config.json, or a name whose shape is known, e.g. meta-llama/Llama-2-7b-hf or llama-3-70b.",
            show_default=False,
        ),
    ],
    memory: Annotated[
        str, typer.Option("--memory", help="Memory of one stage, e.g. 24GB (10^9) or 24GiB (2^30).", show_default=False)
    ],
    stages: Stages = 1,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens of one request.", show_default="the model's context")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Requests at once.", show_default="as many as fit")
    ] = None,
    micro_batches: Annotated[
        int | None,
        typer.Option("--micro-batches", min=1, help="Groups in flight.", show_default="2 a stage; 1 for one stage"),
    ] = None,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, help="Tokens that a request writes.")] = 256,
    dtype: DType = "auto",
    int8: Int8 = False,
    reserve: Annotated[
        float, typer.Option("--reserve", min=0.0, max=0.9, help="Share of the memory kept for activations and runtime.")
    ] = 0.1,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth", help="Memory bandwidth of a stage, e.g. 936GB/s.", show_default="measured by a copy here"
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """What a model needs and can reach over N stages, without its weights: memory, requests that fit, idle share, tokens/s bound."""
    from experiments.generation.llm_plan import Wish, make_plan, parse_bytes, print_plan
    from experiments.tables import show_facts

    wish = Wish(
        stages=stages,
        memory=parse_bytes(memory, "--memory"),
        context=context,
        batch=batch,
        micro_batches=micro_batches,
        new_tokens=new_tokens,
        dtype=dtype,
        int8=int8,
        reserve=reserve,
        bandwidth=None if bandwidth is None else parse_bytes(bandwidth, "--bandwidth"),
        device=device,
    )
    found = make_plan(model, wish)
    if as_json:
        show_facts(found, as_json=True)
    else:
        print_plan(found)


def serve_llm(
    model: ModelFolder,
    stages: Stages = 1,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen at; 0 takes a free one.")] = 8000,
    name: Annotated[str, typer.Option("--name", help="Name that clients see.", show_default="the folder's")] = "",
    max_running: Annotated[int, typer.Option("--max-running", min=1, help="Most requests that run together.")] = 64,
    cache_memory: CacheMemory = None,
    micro_batches: MicroBatches = None,
    dtype: DType = "auto",
    int8: Int8 = False,
    attention: Attention = "auto",
    device: Device = "auto",
    front: Front = "",
    step_timeout: StepTimeout = _STEP_TIMEOUT,
) -> None:
    """Serve a LLaMA model with OpenAI's API: /v1/completions, /v1/chat/completions, /v1/models, /health. Ctrl-C ends it."""
    from experiments.generation.llm_plan import gigabytes
    from rag.serving.server import open_port, serve, url_of

    options = _options(
        stages, dtype, int8, attention, device, front, cache_memory, micro_batches, step_timeout, max_running
    )

    def ready() -> None:
        cache = engine.statistics().cache
        room = f"cache {gigabytes(cache.bytes)} for {cache.blocks * cache.block_size:,} tokens"
        typer.echo(f"{engine.name} at {url_of(door)}, {stages} stages, {room}; Ctrl-C ends it", err=True)

    with open_port(host, port) as door:
        engine = _engine(model, options, name)
        serve(engine, door, ready)


def _options(
    stages: int,
    dtype: str,
    int8: bool,
    attention: str,
    device: str,
    front: str,
    cache_memory: str | None,
    micro_batches: int | None,
    step_timeout: float,
    max_running: int = 64,
) -> "EngineOptions":
    """The engine's options from the commands'."""
    from experiments.generation.llm_plan import parse_bytes
    from genir.devices import pick_device
    from rag.llama.engine import EngineOptions

    return EngineOptions(
        stages=stages,
        dtype=dtype,
        int8=int8,
        device=pick_device(device).type,
        attention=attention,
        micro_batches=micro_batches,
        max_running=max_running,
        cache_bytes=None if cache_memory is None else int(parse_bytes(cache_memory, "--cache-memory")),
        front=front,
        step_timeout=step_timeout,
    )


def _engine(model: str, options: "EngineOptions", name: str = "") -> "LlamaEngine":
    """The engine, nothing started."""
    from experiments.registry import llama_folder
    from rag.llama.engine import LlamaEngine

    return LlamaEngine(llama_folder(model), options, name or Path(model).name)
