"""Training of `genir.query_writer.QueryWriter` on the (document, question) pairs of a training split: minutes on a CPU.

The encoder does not learn, so each source is read once, and its states are kept in bfloat16: half a gigabyte for 10,000 pairs of
64 tokens. Invariant: the documents that are measured on are none that are learnt from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from genir.devices import pick_device, seed_everything
from genir.embedding import load_encoder
from genir.errors import DataError
from genir.query_writer import QueryWriter, QueryWriterConfig, Read, source_of
from genir.records import Document

Pair = tuple[Document, str]  # a document and a question that it answers
_Example = tuple[str, list[int]]  # what is read, and the tokens of the question
_States = dict[str, tuple[Tensor, Tensor]]  # source -> its token ids (S,) and states (S, width)


@dataclass(frozen=True)
class WriterFacts:
    """What came of a training: pairs, and nats a token on the held-out ones (or on all, where too few) before and after."""

    pairs: int
    loss_before: float
    loss_after: float


def train_writer(
    pairs: Sequence[Pair], config: QueryWriterConfig | None = None, device: str = "auto"
) -> tuple[QueryWriter, WriterFacts]:
    """A writer trained from its encoder's states on. Raises DataError where there are no pairs."""
    if not pairs:
        raise DataError("no question to learn asking from: the training split holds none; take another query generator")
    config = config or QueryWriterConfig()
    pairs = pairs[:: -(-len(pairs) // config.max_pairs)]
    tokenizer, _ = load_encoder(config.encoder)
    rows = tokenizer([question for _, question in pairs], add_special_tokens=False, verbose=False)["input_ids"]
    counts = Counter(token for row in rows for token in row)
    vocabulary = sorted(counts, key=lambda token: (-counts[token], token))[: config.vocabulary]
    examples = [
        (source_of(document, question), row[: config.max_query_tokens - 1])
        for (document, question), row in zip(pairs, rows, strict=True)
    ]
    every = round(1 / config.held_out) if config.held_out else 0
    number = {doc_id: i for i, doc_id in enumerate(dict.fromkeys(document.doc_id for document, _ in pairs))}
    held = [bool(every) and number[document.doc_id] % every == every - 1 for document, _ in pairs]
    learnt = [example for example, out in zip(examples, held, strict=True) if not out]
    measured = [example for example, out in zip(examples, held, strict=True) if out] or learnt
    seed_everything(config.seed)
    writer = QueryWriter(config, vocabulary).to(pick_device(device))
    states = _read_all(writer, [text for text, _ in examples])
    before = _mean_loss(writer, measured, states)
    _learn(writer, learnt, states)
    return writer.eval(), WriterFacts(len(learnt), round(before, 4), round(_mean_loss(writer, measured, states), 4))


def _read_all(writer: QueryWriter, texts: Sequence[str]) -> _States:
    states: _States = {}
    order = sorted(set(texts), key=lambda text: (len(text), text))
    for start in tqdm(range(0, len(order), 64), desc="reading sentences", delay=2, leave=False):
        part = order[start : start + 64]
        for text, ids, said, mask in zip(part, *writer.read(part), strict=True):
            states[text] = ids[mask], said[mask].bfloat16()
    return states


def _together(states: _States, texts: Sequence[str]) -> Read:
    """What was read of these texts, as one batch."""
    ids = [states[text][0] for text in texts]
    mask = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in ids], batch_first=True)
    said = pad_sequence([states[text][1] for text in texts], batch_first=True).float()
    return pad_sequence(ids, batch_first=True, padding_value=-1), said, mask


def _learn(writer: QueryWriter, examples: Sequence[_Example], states: _States) -> None:
    config = writer.config
    optimizer = torch.optim.AdamW(writer.parameters(), lr=config.learning_rate, weight_decay=0.01)
    steps = config.epochs * len(_batches(examples, config.batch_size, 0))
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
    with tqdm(total=steps, desc="learning to ask", unit="step", delay=2, leave=False) as bar:
        for epoch in range(config.epochs):
            for batch in _batches(examples, config.batch_size, config.seed * 1_009 + epoch):
                writer.train()
                read = _together(states, [text for text, _ in batch])
                loss = writer.losses(read, [question for _, question in batch]).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(writer.parameters(), 1.0)
                optimizer.step()
                falling.step()
                bar.update()


@torch.no_grad()
def _mean_loss(writer: QueryWriter, examples: Sequence[_Example], states: _States) -> float:
    writer.eval()
    total, count = 0.0, 0
    for batch in _batches(examples, writer.config.batch_size, 0):
        losses = writer.losses(_together(states, [text for text, _ in batch]), [question for _, question in batch])
        total, count = total + float(losses.sum()), count + len(losses)
    return total / count


def _batches(examples: Sequence[_Example], size: int, seed: int) -> list[list[_Example]]:
    """Batches in random order, of sources of about one length."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(examples), generator=generator).tolist()
    pools = [
        sorted(order[i : i + 16 * size], key=lambda j: len(examples[j][0])) for i in range(0, len(order), 16 * size)
    ]
    batches = [[examples[j] for j in pool[i : i + size]] for pool in pools for i in range(0, len(pool), size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
