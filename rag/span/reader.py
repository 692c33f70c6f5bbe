"""The reader `span`: copies its answer out of the passages, says how probable it is, and abstains below a threshold.

All spans of all passages of a question compete in one distribution with "no answer" (`rag.span.model`), flattened by the temperature that
calibration found on dev questions (Guo et al. 2017, arXiv:1706.04599). The answer is the text with the greatest probability, summed over
the places where it stands (in normal form, as exact match compares it), and is quoted from the most probable of them, so that every
answer has its characters. The confidence is that sum. Passages that are not about what the question names, where another is, lose odds
(`rag.span.subjects`). What other passages answer nearly as probably is named (`rag.span.candidates`).

It can only copy: an instruction in a question or passage is text like any other, and closed-book it always abstains.

Known gaps: no answers that must be counted or inferred, no lists; one answer a question; English, as its encoder is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from genir.devices import Precision, autocast, pick_device
from genir.errors import ArtefactError, ConfigError
from genir.manifest import write_json
from genir.models.pretrained import load_saved_tokenizer
from genir.records import Document
from rag.prompt import UNKNOWN
from rag.reader_settings import read_reader_settings
from rag.reading import Reading
from rag.scoring import normalise
from rag.span.candidates import Candidate, rivals_of
from rag.span.data import Window, WindowMaker
from rag.span.model import NEVER, SpanModel, boundaries, log_odds, span_scores
from rag.span.storage import Storage, load_state, save_state
from rag.span.subjects import off_subject

SETTINGS_FILE = "span_reader.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """What travels with the weights. Lengths are in tokens; scores are divided by `temperature`.

    `min_confidence`: the reader abstains where its answer's probability lies below. `places`: most probable spans of each window that
    compete for the answer. `off_subject`: what passages about other things than the question names lose in log odds.
    """

    max_length: int = 384
    stride: int = 128
    max_question_tokens: int = 64
    max_answer_tokens: int = 32
    temperature: float = 1.0
    min_confidence: float = 0.0
    places: int = 20
    off_subject: float = 6.0

    def __post_init__(self) -> None:
        least_one = (self.max_question_tokens, self.max_answer_tokens, self.places)
        # Some 32 tokens for a heading and separators, and a window must move on by at least a token.
        room = self.max_length - self.max_question_tokens - 32
        if min(*least_one) < 1 or not 0 <= self.stride < room or self.temperature <= 0 or self.min_confidence > 1:
            raise ConfigError(
                f"impossible settings: {self}; expected temperature > 0, min_confidence <= 1, stride in 0..max_length - "
                "max_question_tokens - 33, and every other number >= 1"
            )
        if self.off_subject < 0:
            raise ConfigError(f"off_subject is {self.off_subject}: expected 0 (no loss) or more")


@dataclass(frozen=True, slots=True)
class Place:
    """A span of one window: characters start..end, and its score divided by the temperature, less what its passage loses."""

    start: int
    end: int
    score: float


class SpanReader:
    """A trained reader. `genir train-reader span` makes one; `save` and `load` keep it as a folder."""

    name = "span"

    def __init__(
        self,
        model: SpanModel,
        settings: SpanSettings | None = None,
        batch_size: int = 32,
        precision: Precision = "auto",
    ) -> None:
        self.model = model
        self.settings = settings or SpanSettings()
        self.batch_size = batch_size
        self.precision = precision

    @property
    def maker(self) -> WindowMaker:
        """Cuts windows as the model was trained to read them."""
        settings = self.settings
        return WindowMaker(self.model.tokenizer, settings.max_length, settings.stride, settings.max_question_tokens)

    def with_settings(self, **changes: float) -> "SpanReader":
        """The same weights under other settings, e.g. min_confidence=0 to have every question answered."""
        return SpanReader(self.model, replace(self.settings, **changes), self.batch_size, self.precision)  # type: ignore[arg-type]

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question; an abstention, too, holds the confidence of the answer that was not given."""
        readings = []
        for candidates in self.candidates(questions, passages):
            best = candidates[0] if candidates else None
            if best is None or best.probability < self.settings.min_confidence:
                confidence = best.probability if best else 0.0
                readings.append(Reading(UNKNOWN, abstained=True, confidence=confidence, probability=confidence))
            else:
                readings.append(
                    Reading(
                        best.text,
                        confidence=best.probability,
                        passage=best.passage,
                        span=(best.start, best.end),
                        probability=best.probability,
                        rivals=rivals_of(candidates),
                    )
                )
        return readings

    def candidates(
        self, questions: Sequence[str], passages: Sequence[Sequence[Document]], most: int = 5
    ) -> list[list[Candidate]]:
        """At most `most` different answers a question, the most probable first; none where no passage has text.

        What their probabilities lack to 1 is that of no answer, and of less probable ones.
        """
        pairs = [
            (row, number)
            for row, (_, found) in enumerate(zip(questions, passages, strict=True))
            for number in range(len(found))
        ]
        made = self.maker.windows([(questions[row], passages[row][number]) for row, number in pairs])
        off = [
            one
            for question, found in zip(questions, passages, strict=True)
            for one in off_subject(question, [passage.title for passage in found])
        ]
        owners: list[tuple[int, int]] = []
        windows: list[Window] = []
        lost: list[float] = []
        for pair, cut, other in zip(pairs, made, off, strict=True):
            owners += [pair] * len(cut)
            windows += cut
            lost += [self.settings.off_subject * other] * len(cut)
        totals, places = self._places(windows, torch.tensor(lost))
        by_question: list[list[int]] = [[] for _ in questions]
        for index, (row, _) in enumerate(owners):
            by_question[row].append(index)
        return [
            _candidates(
                totals[mine], [(owners[i][1], places[i]) for i in mine], [found.text for found in passages[row]], most
            )
            for row, mine in enumerate(by_question)
        ]

    @torch.inference_mode()
    def _places(self, windows: Sequence[Window], lost: torch.Tensor) -> tuple[np.ndarray, list[list[Place]]]:
        """For each window the log of the odds that it answers, (W,) float64, and its most probable spans; `lost` (W,) of the log odds."""
        totals = np.zeros(len(windows))
        places: list[list[Place]] = [[] for _ in windows]
        for rows, scores in self.scores(windows):
            scaled = scores / self.settings.temperature - lost[rows].to(scores.device)[:, None, None]
            totals[rows] = log_odds(scaled).double().cpu().numpy()
            flat = scaled.flatten(1)
            top = flat.topk(min(self.settings.places, flat.shape[1]), dim=1)
            width = scores.shape[2]
            for row, values, indices in zip(rows, top.values.tolist(), top.indices.tolist(), strict=True):
                window = windows[row]
                for score, index in zip(values, indices, strict=True):
                    begin, length = divmod(index, width)
                    if score > NEVER / 2 / self.settings.temperature:  # below it, no span
                        places[row].append(Place(*window.characters(begin, begin + length), score))
        return totals, places

    @torch.inference_mode()
    def scores(self, windows: Sequence[Window]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """(indices of W windows, their spans' scores (W, T, L) at temperature 1), windows of about one length together."""
        self.model.eval()
        order = sorted(range(len(windows)), key=lambda i: len(windows[i].ids))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            input_ids, mask = self.model.pad([windows[i].ids for i in rows])
            with autocast(self.model.device, self.precision):
                begins, ends = self.model(input_ids, mask)
            legal = boundaries([windows[i] for i in rows], input_ids.shape[1], begins.device)
            yield rows, span_scores(begins, ends, *legal, self.settings.max_answer_tokens)

    def save(self, folder: Path, storage: Storage = "int8") -> None:
        """Write config.json, the tokenizer, the weights and the settings into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.encoder.config.save_pretrained(folder)
        self.model.tokenizer.save_pretrained(folder)
        save_state(folder / WEIGHTS_FILE, self.model.state_dict(), storage)
        write_json(folder / SETTINGS_FILE, asdict(self.settings))

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", precision: Precision = "auto") -> "SpanReader":
        """The reader of a folder. Raises ArtefactError where it is missing, broken, or not a span reader's."""
        settings = read_settings(folder)
        model = load_model(folder)
        return cls(model.to(pick_device(device)).eval(), settings, precision=precision)


def read_settings(folder: Path) -> SpanSettings:
    """The settings of a saved reader. Raises ArtefactError where there are none."""
    return read_reader_settings(folder / SETTINGS_FILE, SpanSettings, "genir train-reader span")


def load_model(folder: Path) -> SpanModel:
    """The network of a saved reader, in float32. Raises ArtefactError where a file is missing or broken."""
    from transformers import AutoConfig, AutoModel

    state = load_state(folder / WEIGHTS_FILE)
    try:
        config = AutoConfig.from_pretrained(folder)
        tokenizer = load_saved_tokenizer(folder, config.vocab_size)
        model = SpanModel(tokenizer, AutoModel.from_config(config, attn_implementation="sdpa"))
        model.load_state_dict(state)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{folder}: a span reader that cannot be loaded: {reason}; train it again") from None
    return model


def _candidates(
    totals: np.ndarray, places: Sequence[tuple[int, list[Place]]], texts: Sequence[str], most: int
) -> list[Candidate]:
    """The answers of one question, from its windows' log odds (W,), and from the passage and the best spans of each."""
    if not len(totals):
        return []
    normaliser = float(np.logaddexp.reduce(np.append(totals, 0.0)))
    # A span that two overlapping windows hold has its probability in both.
    spans: dict[tuple[int, int, int], float] = {}
    for passage, found in places:
        for place in found:
            key = (passage, place.start, place.end)
            spans[key] = spans.get(key, 0.0) + float(np.exp(place.score - normaliser))
    merged: dict[str, Candidate] = {}
    for (passage, start, end), probability in sorted(spans.items(), key=lambda item: (-item[1], item[0])):
        text = texts[passage][start:end]
        same = normalise(text) or text
        known = merged.get(same)
        merged[same] = (
            replace(known, probability=known.probability + probability)
            if known
            else Candidate(text, passage, start, end, probability)
        )
    best = sorted(merged.values(), key=lambda one: (-one.probability, one.passage, one.start, one.end))[:most]
    return [replace(one, probability=min(1.0, one.probability)) for one in best]
