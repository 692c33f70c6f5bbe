"""Our LLaMA engine: model, paged KV cache, stages, pipeline, scheduler, sampling. Imported by its modules, each by its name."""
