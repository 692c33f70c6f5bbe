"""Evidence -> answer: prompts, generators, readers, attribution and scores. Retrievers come in by their Protocol."""
