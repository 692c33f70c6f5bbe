"""One model that writes the identifier of its evidence, is given that passage, and answers."""
