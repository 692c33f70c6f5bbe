"""The small reader of the demo: a linear selector of sentences and a LLaMA of a million parameters that copies."""
