"""vLLM beside the benchmark, run by another interpreter: `PYTHON vllm_worker.py FOLDER DTYPE CONTEXT`, JSON lines in and out.

Imports nothing of this project, since that interpreter has none of it. vLLM prints to stdout, too; what is meant for the benchmark
goes through a copy of the descriptor, and stdout itself is turned to stderr.
"""

import json
import os
import sys


def main() -> None:
    """Load the model, say ready, then answer requests until stdin ends."""
    folder, dtype, context = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=folder,
        dtype=dtype,
        max_model_len=int(context),
        enforce_eager=True,
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        params = SamplingParams(temperature=0, max_tokens=asked["new_tokens"], ignore_eos=True, detokenize=False)
        outputs = engine.generate([{"prompt_token_ids": prompt} for prompt in asked["prompts"]], params, use_tqdm=False)
        print(
            json.dumps({"tokens": [list(output.outputs[0].token_ids) for output in outputs]}), file=replies, flush=True
        )


if __name__ == "__main__":
    main()
