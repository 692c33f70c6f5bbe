"""What the joint model learns from and minimises: identifier tokens and answer tokens of the same sequences, together.

    loss of a sequence = identifier * mean over its identifier's tokens of CE
                       + answer * weighted mean over its answer's tokens of CE, the first one weighing `first`

CE is the cross-entropy of the next token, over the identifier vocabulary in front of the passage and over the text vocabulary behind it
(one vocabulary where identifiers are made of text). Prompt, passage and the repeated question are read and never predicted; so is an
identifier that a lesson does not teach. CorpusLM (Li et al. 2024, arXiv:2402.01176, section 3) adds the losses of its tasks likewise.

Shape letters: B sequences, T tokens, P predicted tokens, D hidden size.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genir.models.causal_scoring import positions_of
from genir.objectives import TrainingBatch, weighted_mean
from genir.protocols import DocIDMap
from genir.token_rows import TokenRows
from genir.training import Example
from rag.joint.config import JointSettings, LossWeights
from rag.joint.decoding import answer_logits
from rag.joint.lessons import JointLesson
from rag.joint.sequence import Evidence, JointSequence, SequenceWriter
from rag.small_reader.data import mentions

Places = list[tuple[int, int, float]]  # row, column, and share of the sequence's loss of each predicted token


def write_sequences(
    writer: SequenceWriter, lessons: Sequence[JointLesson], docids: DocIDMap
) -> tuple[list[JointSequence], dict[str, int]]:
    """A sequence a lesson, in order; and how many lessons teach their identifier alone because of their answer, by reason."""
    prompts = writer.prompts([lesson.question for lesson in lessons])
    asked = [(lesson.passage, lesson.question) for lesson in lessons if lesson.passage is not None]
    shown = iter(writer.evidence([passage for passage, _ in asked], [question for _, question in asked]))
    answers = iter(writer.answers([lesson.answer or writer.settings.unknown for lesson in lessons]))
    left_out: Counter[str] = Counter()
    sequences = []
    for lesson, prompt, answer in zip(lessons, prompts, answers, strict=True):
        identifier = writer.identifier(docids.tokens_of(lesson.doc_id))
        evidence = None if lesson.passage is None else next(shown)
        if evidence is not None and (reason := _why_not(lesson, evidence, answer, writer.settings)):
            left_out[reason] += 1
            evidence = None
        read, written = (evidence.ids, answer) if evidence is not None else ([], [])
        ids = [*prompt, *identifier, *read, *written]
        lengths = len(prompt), len(identifier), len(read), len(written)
        sequences.append(JointSequence(ids, *lengths, learns_identifier=lesson.learns_identifier))
    writer.check_room(max(len(sequence.ids) for sequence in sequences))
    return sequences, dict(left_out)


def _why_not(lesson: JointLesson, evidence: Evidence, answer: Sequence[int], settings: JointSettings) -> str:
    """Why an answer cannot be learnt, or nothing."""
    if lesson.answer is not None and not mentions(lesson.answer, evidence.text):
        return "beyond max_passage_tokens"
    return "longer than max_new_tokens" if len(answer) > settings.max_new_tokens else ""


def examples_of(lessons: Sequence[JointLesson], sequences: Sequence[JointSequence]) -> list[Example]:
    """One a sequence that teaches anything, for `genir.training.train`: its number as the text and as the target."""
    return [
        Example(str(number), number, lesson.kind, lesson.weight)
        for number, (lesson, sequence) in enumerate(zip(lessons, sequences, strict=True))
        if lesson.weight > 0 and (sequence.answer or sequence.learns_identifier)
    ]


class JointLearner(nn.Module):
    """A joint model as `genir.training.train` wants one: its texts are the numbers of sequences, written already."""

    def __init__(self, writer: SequenceWriter, sequences: Sequence[JointSequence]) -> None:
        super().__init__()
        self.causal = writer.causal
        self.pretrained = tuple(f"causal.{name}" for name in writer.causal.pretrained)
        self._sequences = sequences

    def tokenize(self, texts: Sequence[str]) -> TokenRows:
        """The tokens of sequences, by number."""
        return TokenRows.pack([self._sequences[int(text)].ids for text in texts])

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Left-padded tokens and mask (B, T)."""
        return self.causal.pad(rows)


class JointObjective:
    """The loss of the module's docstring, a genir.objectives.Objective."""

    def __init__(self, writer: SequenceWriter, sequences: Sequence[JointSequence], weights: LossWeights) -> None:
        self.writer, self.sequences, self.weights = writer, sequences, weights

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The weighted mean over the sequences batch.targets (B,), whose tokens are batch.input_ids (B, T), left-padded."""
        chosen = [self.sequences[number] for number in batch.targets.tolist()]
        losses = sequence_losses(self.writer, batch.input_ids, batch.attention_mask, chosen, self.weights)
        return weighted_mean(losses, batch.weights)


def sequence_losses(
    writer: SequenceWriter,
    input_ids: Tensor,
    attention_mask: Tensor,
    chosen: Sequence[JointSequence],
    weights: LossWeights,
) -> Tensor:
    """Shape (B,): the loss of each sequence."""
    causal = writer.causal
    T = input_ids.shape[1]
    states = causal.states(
        causal.network, writer.embed(input_ids), attention_mask, positions_of(attention_mask), keep=T
    )
    losses = torch.zeros(len(chosen), device=input_ids.device)
    identifiers, answers = _predicted(chosen, T, weights)
    shift = 0 if causal.own_embedding is None else writer.text_vocabulary
    parts: tuple[tuple[Places, int, Callable[[Tensor], Tensor]], ...] = (
        (identifiers, shift, partial(causal.project, causal.network)),
        (answers, 0, partial(answer_logits, causal)),
    )
    for places, first_token, logits_of in parts:
        if places:
            rows = torch.tensor([row for row, _, _ in places], device=losses.device)
            columns = torch.tensor([column for _, column, _ in places], device=losses.device)
            shares = torch.tensor([share for _, _, share in places], device=losses.device)
            tokens = input_ids[rows, columns] - first_token
            steps = F.cross_entropy(logits_of(states[rows, columns - 1]).float(), tokens, reduction="none")
            losses = losses.index_add(0, rows, steps * shares)
    return losses


def _predicted(chosen: Sequence[JointSequence], T: int, weights: LossWeights) -> tuple[Places, Places]:
    """Where sequences that are left-padded to T tokens are predicted: in identifiers, and in answers."""
    identifiers: Places = []
    answers: Places = []
    for row, sequence in enumerate(chosen):
        at = T - len(sequence.ids) + sequence.prompt
        if sequence.learns_identifier and weights.identifier:
            share = weights.identifier / sequence.identifier
            identifiers += [(row, at + place, share) for place in range(sequence.identifier)]
        at += sequence.identifier + sequence.evidence
        if sequence.answer and weights.answer:
            share = weights.answer / (weights.first + sequence.answer - 1)
            answers += [
                (row, at + place, share if place else share * weights.first) for place in range(sequence.answer)
            ]
    return identifiers, answers
