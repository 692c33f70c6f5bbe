"""The reader `span`: an encoder that marks the answer in the passages, or says that none is there."""
