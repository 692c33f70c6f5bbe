"""Generators: one file a backend, one Protocol for all (`genir.protocols.Generator`)."""
