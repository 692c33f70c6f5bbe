"""Training the llama reader: which prompts it learns from, and the loss.

One example is a question with the sentences chosen for it, followed by [ANSWER], the answer's tokens as the evidence
spells them, and [SEP]; or, where no sentence read holds the answer, by [NONE]. Some questions have a wrong passage of
the same article beside the right one, some are asked once more of a wrong passage alone, as in the span reader's
training. Cloze questions (`rag.llama_reader.cloze`) are questions like any other. The loss is the negative
log-likelihood of what follows the prompt, summed over its tokens, averaged over the examples.

The loop is `genir.training.train`. Invariant: what is learnt from depends on the seed alone.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, DataError
from genir.objectives import TrainingBatch
from genir.records import Document, Query
from genir.token_rows import TokenRows
from genir.training import Example, TrainingConfig
from rag.llama_reader.evidence import EvidenceMaker
from rag.llama_reader.network import ANSWERS, NONE, NetworkShape
from rag.llama_reader.reader import LlamaReaderSettings
from rag.span.data import answer_places
from rag.span.negatives import WrongPassages
from rag.span.storage import Storage

_STEP = 16  # lengths are multiples of it, as are the positions with a loss: every new shape costs a set-up
_LOSSES = 64


@dataclass(frozen=True)
class LlamaTraining(TrainingConfig):
    """`genir.training.TrainingConfig` with defaults for this reader; `batch_size` counts examples."""

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 3e-4  # of the layers that come from the encoder
    fresh_learning_rate: float = 1e-3  # of those that copy
    warmup: float = 0.05
    evaluate_every: int = 250
    checkpoint_every: int = 250


@dataclass(frozen=True)
class LlamaReaderConfig:
    """Everything that `genir train-reader llama` may set. Unknown keys are refused."""

    start: str = DEFAULT_ENCODER  # an encoder's name or folder, or the folder of a llama reader, which then learns on
    shape: NetworkShape = field(default_factory=NetworkShape)  # of a reader that starts from an encoder
    max_evidence_tokens: int = 80
    max_question_tokens: int = 40
    max_answer_tokens: int = 24  # longer answers are not learnt from, nor ever given
    echo: bool = False  # the evidence is read twice: surer, and half as fast
    learn_embeddings: bool = False  # else the encoder's table of tokens, which is the output layer too, is kept still
    beside: float = 0.125  # share of the questions that have a wrong passage beside the right one
    alone: float = 0.125  # share of the questions that are asked once more of a wrong passage alone
    hardest: int = 8  # a wrong passage is drawn among so many that share most with the question
    max_questions: int = 0  # learn from so many training questions, drawn at random; 0 for all
    max_cloze: int = 20_000  # cloze questions at most, over all corpora given
    dev_questions: int = 200  # at most so many are read at each evaluation
    training: LlamaTraining = field(default_factory=LlamaTraining)
    storage: Storage = "float32"  # of the weights in the folder; int8 packs them for shipping
    device: str = "auto"

    def __post_init__(self) -> None:
        least_one = (self.hardest, self.dev_questions, self.max_evidence_tokens, self.max_question_tokens)
        if not (0 <= self.beside <= 1 and 0 <= self.alone <= 1) or min(*least_one, self.max_answer_tokens) < 1:
            raise ConfigError(
                f"impossible settings: {self}; expected beside and alone in 0..1, lengths, hardest and dev_questions >= 1"
            )
        if self.settings.longest > self.shape.max_position_embeddings:
            raise ConfigError(
                f"prompts of up to {self.settings.longest} tokens exceed shape.max_position_embeddings = "
                f"{self.shape.max_position_embeddings}; raise it, or lower max_evidence_tokens"
            )

    @property
    def settings(self) -> LlamaReaderSettings:
        """How the reader is to read."""
        return LlamaReaderSettings(
            self.max_evidence_tokens, self.max_question_tokens, self.max_answer_tokens, self.echo
        )


@dataclass(frozen=True)
class TrainingSet:
    """Prompts with what is to follow them: `rows` in tokens, `prompts` the length of each prompt; what was left out, by reason."""

    rows: TokenRows
    prompts: Sequence[int]
    kinds: Sequence[str]
    left_out: Mapping[str, int]

    def examples(self) -> list[Example]:
        """One a row, for `genir.training.train`: its number as the text and as the target."""
        return [Example(str(number), number, kind) for number, kind in enumerate(self.kinds)]


def make_training_set(
    maker: EvidenceMaker,
    asked: Sequence[tuple[Query, Document]],
    wrong: WrongPassages,
    config: LlamaReaderConfig,
    cloze: Sequence[tuple[Query, Document]] = (),
) -> TrainingSet:
    """Rows of (question, its passage), and of cloze questions. Raises DataError where no question can be learnt from."""
    rng = random.Random(config.training.seed)
    left_out: Counter[str] = Counter()
    rows: list[list[int]] = []
    prompts: list[int] = []
    kinds: list[str] = []
    tokens = (maker.tokenizer.convert_tokens_to_ids(ANSWERS), maker.tokenizer.convert_tokens_to_ids(NONE))

    def add(query: Query, passages: Sequence[Document], right: int | None, kind: str) -> None:
        question = maker.question(query.text)
        read = maker.evidence(question, passages)
        if read is None:
            return
        answer = [tokens[1]]
        if right is not None:
            places = answer_places(passages[right].text, query.text, query.answers)
            spans = sorted(span for place in places if (span := read.span(right, *place)) is not None)
            if not places or (spans and spans[0][1] - spans[0][0] >= config.max_answer_tokens):
                left_out["without their answer in the passage" if not places else "with too long an answer"] += 1
                return
            if spans:
                answer = [tokens[0], *read.ids[spans[0][0] : spans[0][1] + 1].tolist()]
        prompt = maker.prompt(question, read)
        rows.append([*prompt, *answer, maker.tokenizer.sep_token_id])
        prompts.append(len(prompt))
        kinds.append(kind if answer[0] == tokens[0] else "unanswerable")

    for kind, pairs in (("passage", asked), ("cloze", cloze)):
        for query, passage in pairs:
            drawn = (rng.random() < config.beside, rng.random() < config.alone)
            real = kind == "passage"
            others = wrong.draw(query, passage, rng, sum(drawn)) if any(drawn) and real else []
            among = [passage, *(others[:1] if drawn[0] else ())]
            rng.shuffle(among)
            add(query, among, among.index(passage), kind)
            if drawn[1] and len(others) == sum(drawn):
                add(query, others[-1:], None, kind)
    if not any(kind != "unanswerable" for kind in kinds):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there is none"
        raise DataError(f"no training question whose answer its passage holds ({reasons}): nothing to train on")
    return TrainingSet(TokenRows.pack(rows), prompts, kinds, dict(left_out))


class Learner(nn.Module):
    """A LLaMA as `genir.training.train` wants one: its texts are the numbers of rows, tokenised already."""

    def __init__(self, model: Any, rows: TokenRows, pad: int, learn_embeddings: bool = False) -> None:
        super().__init__()
        self.model = model
        # Every step would move all of the table, by the softmax over it, and most of its tokens are never seen.
        model.model.embed_tokens.weight.requires_grad_(learn_embeddings)
        self._rows, self._pad = rows, pad
        fresh = len(model.model.layers) - 2
        self.pretrained = ("model.model.embed", *(f"model.model.layers.{number}." for number in range(fresh)))

    def tokenize(self, texts: Sequence[str]) -> TokenRows:
        """The tokens of rows, by number."""
        return TokenRows.pack([self._rows[int(text)] for text in texts])

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, each (B, T), padded right, on the model's device."""
        T = -(-max(map(len, rows)) // _STEP) * _STEP
        ids = torch.tensor([[*row, *[self._pad] * (T - len(row))] for row in rows])
        mask = torch.arange(T) < torch.tensor([len(row) for row in rows])[:, None]
        device = self.model.device
        return ids.to(device), mask.long().to(device)


class AnswerObjective:
    """The loss of the module's docstring, a genir.objectives.Objective."""

    def __init__(self, model: Any, data: TrainingSet) -> None:
        self.model = model
        self._prompts = torch.tensor(data.prompts)

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The weighted mean over the examples batch.targets (B,), whose rows are batch.input_ids (B, T)."""
        input_ids = batch.input_ids
        # Padding stands behind what counts, and attention is causal: no mask is needed.
        hidden = self.model.model(input_ids=input_ids, use_cache=False).last_hidden_state[:, :-1]
        prompts = self._prompts[batch.targets.cpu()].to(input_ids.device)
        places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
        counts = (places >= prompts[:, None]) & batch.attention_mask[:, 1:].bool()
        chosen = counts.flatten().nonzero()[:, 0]
        share = batch.weights[:, None].expand(counts.shape).flatten()[chosen]
        padding = -len(chosen) % _LOSSES
        chosen = torch.cat([chosen, chosen.new_zeros(padding)])
        share = torch.cat([share, share.new_zeros(padding)])
        logits = self.model.lm_head(hidden.flatten(0, 1)[chosen]).float()
        losses = nn.functional.cross_entropy(logits, input_ids[:, 1:].flatten()[chosen], reduction="none")
        return (losses * share).sum() / batch.weights.sum()
