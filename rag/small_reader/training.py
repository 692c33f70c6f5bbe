"""Trains the small reader from articles and questions: seconds to minutes on two cores, the same weights for the
same seed and machine.

The tokenizer is a byte-level BPE trained on the articles and on invented names, digits apart, so that every text can
be written and copied. The loss falls on answers (see `rag.small_reader.batches`); the output layer runs only where there is
a loss. Known gap: results differ in the last bits between machines, as every float sum does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from genir.devices import Precision, autocast, pick_device, seed_everything
from genir.errors import DataError
from rag.small_reader.batches import Batch, LessonPlan
from rag.small_reader.data import Article, Inventor
from rag.small_reader.evidence import SentenceSelector
from rag.small_reader.reader import READER_TEMPLATE, ReaderSettings, SmallReader
from rag.small_reader.start import start_with_copying

PAD, START, END = 0, 1, 2
_LOSS_MULTIPLE = 256  # positions with a loss are padded to it: the CPU prepares each matrix shape anew


@dataclass(frozen=True, slots=True)
class ReaderConfig:
    """The reader's shape and training. Names are LLaMA's where LLaMA has one."""

    hidden_size: int = 128
    intermediate_size: int = 352
    num_hidden_layers: int = 4
    num_attention_heads: int = 2
    rope_theta: float = 1e6
    max_position_embeddings: int = 1024
    vocab_size: int = 2048
    steps: int = 1000
    tokens_per_step: int = 2400
    learning_rate: float = 3e-3
    final_learning_rate: float = 0.05  # as a share of the highest
    warmup: float = 0.05  # as a share of the steps
    weight_decay: float = 0.05
    clip: float = 1.0
    closed_book: float = 0.1
    precision: Precision = "auto"
    device: str = "cpu"
    seed: int = 0


def train_tokenizer(articles: Sequence[Article], inventor: Inventor, vocab_size: int) -> Any:
    """A `PreTrainedTokenizerFast` that puts <s> in front; texts are the articles, their questions, and invented ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"{article.title}. {article.text}" for article in articles]
    texts += [question for article in articles for question, _ in article.questions]
    texts += [inventor.grounded(i % len(articles), 1).passage for i in range(1000)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", START)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def new_model(config: ReaderConfig, vocab_size: int) -> Any:
    """A `LlamaForCausalLM` with starting weights that can copy."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            rope_theta=config.rope_theta,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
        )
    )
    start_with_copying(model, config.seed)
    return model


def train_reader(
    articles: Sequence[Article],
    config: ReaderConfig | None = None,
    progress: str = "training the reader",
    report: Callable[[int, float], None] | None = None,
) -> SmallReader:
    """A reader trained on `articles` (seen entities only: whatever is in them, it may learn by heart).

    `progress` labels a bar on stderr, empty for none; `report(step, loss)` is called every step. Raises DataError without questions.
    """
    config = config or ReaderConfig()
    if not any(article.questions for article in articles):
        raise DataError(
            f"{len(articles)} articles hold no question with its answer in the text: nothing to train a reader on"
        )
    seed_everything(config.seed)
    device = pick_device(config.device)
    inventor = Inventor([article for article in articles if article.questions], config.seed)
    tokenizer = train_tokenizer(articles, inventor, config.vocab_size)
    model = new_model(config, len(tokenizer)).to(device).train()
    plan = LessonPlan(
        inventor,
        lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]),
        START,
        END,
        PAD,
        tokens_per_step=config.tokens_per_step,
        closed_book=config.closed_book,
    )
    batches = plan.batches(config.seed)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    with tqdm(total=config.steps, desc=progress, unit="step", disable=not progress, leave=False) as bar:
        for done in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(done, config)
            with autocast(device, config.precision):
                loss = answer_loss(model, next(batches), device)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad()
            if report is not None:
                report(done, loss.item())
            bar.update()
    selector = SentenceSelector().fit(articles, config.seed)
    return SmallReader(model.eval(), tokenizer, selector, ReaderSettings(template=READER_TEMPLATE))


def answer_loss(model: Any, batch: Batch, device: torch.device) -> torch.Tensor:
    """Weighted mean cross-entropy over the positions that have a weight."""
    hidden = model.model(
        input_ids=batch.ids.to(device),
        position_ids=batch.positions.to(device),
        attention_mask=batch.mask.to(device),
        use_cache=False,
    ).last_hidden_state
    weights = batch.weights[:, 1:].flatten()
    chosen = weights.nonzero()[:, 0]
    padding = -len(chosen) % _LOSS_MULTIPLE
    weights = torch.cat([weights[chosen], weights.new_zeros(padding)]).to(device)
    chosen = torch.cat([chosen, chosen.new_zeros(padding)])
    targets = batch.ids[:, 1:].flatten()[chosen].to(device)
    logits = model.lm_head(hidden[:, :-1].flatten(0, 1)[chosen.to(device)]).float()
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def _schedule(step: int, config: ReaderConfig) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate`."""
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return (step + 1) / warm
    along = (step - warm) / max(1, config.steps - warm)
    return config.final_learning_rate + (1 - config.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * along))
