"""The embedded data set: short articles of true facts with questions, made by code from tables (see README.md)."""

from experiments.atlas.build import Atlas, ReaderSplit, build_atlas, write_atlas
from experiments.atlas.prose import Sentence
from experiments.atlas.questions import Fact, Question

__all__ = ["Atlas", "Fact", "Question", "ReaderSplit", "Sentence", "build_atlas", "write_atlas"]
