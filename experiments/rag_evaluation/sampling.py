"""Other replies of the generators to the same questions, from the same passages: how consistent is each arm with itself?

Measured by them: SelfCheckGPT's unigram inconsistency, semantic entropy by text and by the checker, and the mean log-probability of the
greedy generation, which is generated once more for it (`rag.measures.consistency`). Samples and values are kept below `work`, in a folder
a list of answers, and reused where they are current.

Readers that are no generators cannot be sampled: they are named (`unsampled`), and refused where there is no other (`check_samples`).
Known gap: where the greedy generation is not the same twice (batches in reduced precision), its log-probability is that of the second.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from experiments.rag_evaluation.bench import Arm, Bench
from experiments.rag_evaluation.models import load_model
from experiments.rag_evaluation.reading import generated, measuring_code
from genir.errors import ConfigError
from genir.manifest import MANIFEST, is_current, write_json, write_manifest
from genir.protocols import Generation
from genir.records import Answer
from rag.markers import take_markers
from rag.measures.per_question import PerQuery, consistency, log_probabilities
from rag.measures.support import passages_of
from rag.mitigations.revision import question_of
from rag.mitigations.signals import sampled
from rag.reading import GeneratorReader
from retrievers.index_files import read_json

STAGE = "sampled answers"
_SAMPLES, _VALUES = "samples.json", "values.json"


def check_samples(bench: Bench) -> None:
    """Raise ConfigError where samples are asked for and no reader can be sampled."""
    silent = unsampled(bench)
    if bench.config.samples and len(silent) == len(bench.readers):
        raise ConfigError(
            f"--samples {bench.config.samples}: {', '.join(silent)} cannot be sampled; give a language model, or leave --samples out"
        )


def unsampled(bench: Bench) -> list[str]:
    """The labels of readers that cannot be sampled."""
    return [bench.labels[name] for name, one in bench.readers.items() if not isinstance(one, GeneratorReader)]


def consistency_of(bench: Bench, arm: Arm) -> PerQuery:
    """The measures of consistency of an arm's answers, made or kept; none without samples, or of a reader that cannot be sampled.

    They apply to questions that the generator was asked: those for which nothing was found have none.
    """
    config, reader = bench.config, bench.readers[arm.generator]
    if not config.samples or not isinstance(reader, GeneratorReader):
        return {}
    answers = [one for one in arm.answered.answers if one.passages or arm.retriever == "none"]
    about = {
        "samples": [config.samples, config.temperature],
        "reader": bench.fingerprints[arm.generator],
        "answers": [asdict(one) for one in answers],
        "measured_by": measuring_code(),
    }
    digest = hashlib.sha256(json.dumps([about, dict(bench.store.inputs)], sort_keys=True).encode()).hexdigest()
    folder, made_of = bench.store.work / "samples" / digest[:16], {"samples": digest}
    if not is_current(folder, STAGE, made_of, bench.store.inputs):
        drawn = _drawn(bench, reader, answers)
        values = consistency(answers, drawn, bench.store.checker) | _likelihood(bench, reader, answers)
        (folder / MANIFEST).unlink(missing_ok=True)  # from here on the folder is unfinished
        write_json(folder / _SAMPLES, {query_id: [one.text for one in said] for query_id, said in drawn.items()})
        write_json(folder / _VALUES, values)
        write_manifest(folder, STAGE, made_of, bench.store.inputs)
    found: PerQuery = read_json(folder / _VALUES)
    return found


def _drawn(bench: Bench, reader: GeneratorReader, answers: Sequence[Answer]) -> dict[str, list[Generation]]:
    """query_id -> samples, without markers."""
    load_model(reader)
    found = sampled(reader, answers, bench.documents, bench.config.samples, bench.config.temperature)
    return {
        answer.query_id: [Generation(take_markers(reading.text)[0]) for reading in readings]
        for answer, readings in zip(answers, found, strict=True)
    }


def _likelihood(bench: Bench, reader: GeneratorReader, answers: Sequence[Answer]) -> PerQuery:
    """The mean log-probabilities of the generations behind the answers."""
    if not answers:
        return {}
    passages = [passages_of(answer, bench.documents) for answer in answers]
    done = generated(reader, [question_of(answer) for answer in answers], passages)
    return log_probabilities(answers, {answer.query_id: one for answer, one in zip(answers, done, strict=True)})
