"""Mitigations by name: what `--mitigations` accepts. An explicit dict, nothing registered by being imported.

Steps are built in the order in which they will run, and what is chosen on dev answers is chosen on those that the steps before have
revised: `copy,abstain` has another threshold than `abstain` alone. Not every order makes sense: what reads anew forgets what was done
before, and would answer again what abstention withdrew. `in_order` puts them into the one of MITIGATIONS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.rag_evaluation.models import load_model
from genir.errors import ConfigError, DataError, unknown_name
from genir.records import Answer, Document, Query
from rag.abstention import DELTA, Loss, Target, tune_threshold
from rag.contrast import ALPHA, ContrastiveReader
from rag.gate import ALWAYS, tune_gate
from rag.generators.hf import HFGenerator
from rag.llama.engine import LlamaEngine
from rag.mitigations.abstaining import Abstention
from rag.mitigations.chain_of_verification import ChainOfVerification
from rag.mitigations.copying import SIMILARITY, ConstrainedCopying
from rag.mitigations.cost import Meter
from rag.mitigations.editing import Edit
from rag.mitigations.rereading import CopyingReader, Reread
from rag.mitigations.signals import (
    SAMPLES,
    TEMPERATURE,
    ConfidenceSignal,
    ConsistencySignal,
    Signal,
    SupportSignal,
)
from rag.mitigations.step import Mitigation, apply
from rag.mitigations.tools import Tools
from rag.mitigations.verify_and_edit import VerifyAndEdit
from rag.reading import GeneratorReader, Reader

UNTUNED = (
    0.5  # Verify-and-Edit's threshold where there are no dev answers: the paper's "less than half of the samples agree"
)


@dataclass(frozen=True)
class Kit:
    """What steps are made of. `meter` counts what they do.

    `dev_answers` answer the questions `dev`, by the same reader and retriever as the answers that are to be revised; those of them without
    an accepted answer should be refused. `target` and `wanted`, `delta`, `loss`: what abstention is tuned for (`rag.abstention`); `signal`:
    what abstention and Verify-and-Edit decide by; `samples` and `temperature` of consistency.
    """

    tools: Tools
    documents: Mapping[str, Document]
    dev: tuple[Query, ...] = ()
    dev_answers: tuple[Answer, ...] = ()
    signal: str = "confidence"
    target: Target = "coverage"
    wanted: float = 0.8
    delta: float = DELTA
    loss: Loss = "hallucination"
    samples: int = SAMPLES
    temperature: float = TEMPERATURE
    alpha: float = ALPHA
    similarity: float = SIMILARITY
    meter: Meter = field(default_factory=Meter)

    @property
    def counted(self) -> Tools:
        """The tools, counted by the meter."""
        tools, meter = self.tools, self.meter
        return replace(
            tools,
            reader=meter.reader(tools.reader),
            retriever=meter.retriever(tools.retriever) if tools.retriever else None,
            checker=meter.checker(tools.checker),
            generator=meter.generator(tools.generator) if tools.generator else None,
        )


def parse_mitigations(text: str) -> tuple[str, ...]:
    """Names separated by commas; "none" or nothing for no step. Raises ConfigError for an unknown name, or one given twice."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names == ("none",):
        return ()
    for name in names:
        if name not in MITIGATIONS:
            raise unknown_name("mitigation", name, MITIGATIONS)
        if names.count(name) > 1:
            raise ConfigError(f"--mitigations {text}: {name!r} is given more than once; a step runs once")
    return names


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """The names in the order in which they make sense one behind another, whatever order they were given in.

    What reads anew (contrast, copy-decode, then verify-and-edit for the unsure ones) comes first, then checks and edits of what was read,
    and abstention last, so that nothing answers again what was withdrawn.
    """
    return tuple(name for name in MITIGATIONS if name in names)


def make_steps(names: Sequence[str], kit: Kit) -> list[Mitigation]:
    """The steps of `names`, in order.

    Raises ConfigError for an unknown name or a step that the reader cannot take, DataError where a step must be tuned and there are no dev
    answers.
    """
    steps: list[Mitigation] = []
    for number, name in enumerate(names):
        if name not in MITIGATIONS:
            raise unknown_name("mitigation", name, MITIGATIONS)
        steps.append(MITIGATIONS[name](kit))
        if kit.dev_answers and any(later in TUNED for later in names[number + 1 :]):
            kit = replace(kit, dev_answers=tuple(apply(steps[-1:], kit.dev_answers, kit.documents)))
    return steps


def make_signal(name: str, kit: Kit) -> Signal:
    """A signal by name. Raises ConfigError for an unknown one, and for consistency where the reader is no generator's."""
    if name == "confidence":
        return ConfidenceSignal()
    if name == "support":
        return SupportSignal(kit.counted.checker)
    if name == "consistency":
        reader = kit.counted.reader
        if not isinstance(reader, GeneratorReader):
            raise ConfigError(
                f"signal consistency: reader {reader.name!r} cannot be sampled; use confidence or support"
            )
        return ConsistencySignal(reader, kit.samples, kit.temperature)
    raise unknown_name("signal", name, SIGNALS)


def _abstain(kit: Kit) -> Mitigation:
    if not kit.dev_answers:
        raise DataError(
            "abstain: no dev answers to choose the threshold on; give a data set with a dev split, or leave abstain out"
        )
    signal = make_signal(kit.signal, kit)
    values = signal.of(kit.dev_answers, kit.documents)
    threshold = tune_threshold(
        kit.dev_answers, kit.dev, values, signal.name, kit.target, kit.wanted, kit.delta, kit.loss
    )
    return Abstention(threshold, signal)


def _verify(kit: Kit) -> Mitigation:
    return ChainOfVerification(kit.counted)


def _edit(kit: Kit) -> Mitigation:
    return Edit(kit.counted)


def _verify_and_edit(kit: Kit) -> Mitigation:
    signal = make_signal(kit.signal, kit)
    step = VerifyAndEdit(kit.counted, UNTUNED, signal)
    if not kit.dev_answers:
        return step
    edited = replace(step, threshold=ALWAYS).revise(kit.dev_answers, kit.documents)
    values = signal.of(kit.dev_answers, kit.documents)
    return replace(step, threshold=tune_gate(kit.dev_answers, edited, values, kit.dev, signal.name).threshold)


def _copy(kit: Kit) -> Mitigation:
    return ConstrainedCopying(kit.similarity, kit.counted.checker, kit.counted.retriever)


def _contrast(kit: Kit) -> Mitigation:
    inside = hugging_face(kit.tools.reader, "contrast")
    load_model(inside)
    reader = ContrastiveReader(inside, kit.alpha)
    return Reread(kit.meter.reader(reader), "contrast", kit.counted.checker, kit.counted.retriever)


def _copy_decode(kit: Kit) -> Mitigation:
    inside = hugging_face(kit.tools.reader, "copy-decode")
    load_model(inside)
    reader = CopyingReader(inside)
    return Reread(kit.meter.reader(reader), "copy-decode", kit.counted.checker, kit.counted.retriever)


def hugging_face(reader: Reader, name: str) -> GeneratorReader:
    """The reader over a Hugging Face model, not loaded; our engine's folder is one. Raises ConfigError where the step `name` cannot be
    taken with this reader.
    """
    generator = reader.generator if isinstance(reader, GeneratorReader) else None
    if isinstance(reader, GeneratorReader) and isinstance(generator, LlamaEngine):
        device, dtype = generator.options.device, generator.options.dtype
        return replace(
            reader,
            generator=HFGenerator(
                str(Path(generator.folder)), device, dtype, label=generator.name, chat=generator.chat
            ),
        )
    if not isinstance(reader, GeneratorReader) or not isinstance(generator, HFGenerator):
        raise ConfigError(
            f"mitigation {name}: changes how a language model writes, and {reader.name!r} is none that can be reached into; use a "
            "Hugging Face model (hf) or llama"
        )
    return reader


MITIGATIONS: dict[str, Callable[[Kit], Mitigation]] = {  # in the order of `in_order`
    "contrast": _contrast,
    "copy-decode": _copy_decode,
    "verify-and-edit": _verify_and_edit,
    "verify": _verify,
    "edit": _edit,
    "copy": _copy,
    "abstain": _abstain,
}
REREADING = frozenset({"contrast", "copy-decode"})  # every question is read again; they change how a model writes
SEARCHING = frozenset({"verify-and-edit", "verify", "edit"})  # what searches again
TUNED = frozenset({"abstain", "verify-and-edit"})  # what looks at dev answers
SIGNALS = ("confidence", "support", "consistency")
