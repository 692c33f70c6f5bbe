"""Checkers of claims: a trained one of ours, closeness of embeddings, and entailment by any Hugging Face model."""
