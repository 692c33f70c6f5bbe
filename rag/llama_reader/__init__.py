"""The reader `llama`: a LLaMA of some 30 million parameters that starts from a pretrained encoder and copies its answers
out of passages; it writes none of its own, and without passages it abstains."""
