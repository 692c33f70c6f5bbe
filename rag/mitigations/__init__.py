"""Steps that make answers safer, one behind another; see `rag.mitigations.step`."""
