"""Five passages of two articles with six questions: what the trainings of readers are tested on."""

from genir.records import Document

CORPUS = (
    Document("a1", "Oslo is the capital of Norway. The king lies in Oslo.", "Norway § 1"),
    Document("a2", "The coast of Norway lies in the west.", "Norway § 2"),
    Document("a3", "The old bridge by the river was built in 1850.", "Norway § 3"),
    Document("b1", "The Nile lies in Egypt.", "Egypt § 1"),
    Document("b2", "Cairo lies near the Nile.", "Egypt § 2"),
)
QUESTIONS = (
    ("q1", "What is the capital of Norway?", ("Oslo",), "a1", "train"),
    ("q2", "Where is the coast?", ("west",), "a2", "train"),
    ("q3", "When was the old bridge built?", ("1850",), "a3", "train"),
    ("q4", "Where is the Nile?", ("Egypt",), "b1", "train"),
    ("q5", "What lies near the Nile?", ("Cairo",), "b2", "dev"),
    ("q6", "What was built in 1850?", ("bridge", "The old bridge"), "a3", "test"),
)
