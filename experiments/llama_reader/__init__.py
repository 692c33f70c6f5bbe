"""The reader `llama`: its training and its evaluation."""
