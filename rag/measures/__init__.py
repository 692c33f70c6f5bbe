"""What an answer is worth: measures of correctness, support, kinds of hallucination, confidence and selective answering."""
