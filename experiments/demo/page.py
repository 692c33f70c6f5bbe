"""The page (Gradio 6; extra "serve"): components and their events. What they show comes from the pure functions of `report_view`.

Every piece of the report is a component of its own, and is sent again only where it changed: a tree that was drawn once stays as it is
while the answer is being written.

Known gap: a question that was asked before the language was changed keeps the words of its warnings of refusal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, fields, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from experiments.demo.conversation import continued
from experiments.demo.desk import Desk
from experiments.demo.examples import Example
from experiments.demo.markup import element, escaped
from experiments.demo.progress import Asked, Progress
from experiments.demo.report_view import Pieces, empty_pieces, pieces_of, refused_pieces
from experiments.demo.wording import ENGLISH, WORDINGS, Wording
from genir.errors import GenirError

if TYPE_CHECKING:
    import gradio

_PIECES = tuple(piece.name for piece in fields(Pieces))
_LANGUAGES = tuple(WORDINGS)
_OPEN = ""  # the value of a switch that names nothing


def create_page(desk: Desk) -> "gradio.Blocks":
    """The page over a desk, to be mounted."""
    import gradio

    page = gradio.Blocks(title=ENGLISH.title, analytics_enabled=False, fill_width=True)
    with page:
        _Layout(desk).build()
    page.queue(max_size=desk.limits.queue, default_concurrency_limit=desk.limits.queue, api_open=False)
    return page


def static_file(name: str) -> str:
    """The page's own style sheet or script."""
    return (files("experiments.demo") / name).read_text(encoding="utf-8")


class _Layout:
    """The components, made by `build`, and what their events do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.holdings = desk.library.holdings

    def build(self) -> None:
        """Make the components and connect them. To be called once, within Blocks."""
        import gradio

        words = ENGLISH
        self.last = gradio.State(None, time_to_live=3600)
        with gradio.Row():
            with gradio.Column(scale=4):
                self.head = gradio.HTML(_head(words))
            with gradio.Column(scale=1, min_width=220):
                self.language = gradio.Radio(_LANGUAGES, value=_LANGUAGES[0], label=words.language, elem_id="language")
        with gradio.Row(equal_height=True):
            self.question = gradio.Textbox(
                label=words.question,
                placeholder=words.placeholder,
                lines=1,
                scale=6,
                elem_id="question",
                autofocus=True,
            )
            self.ask = gradio.Button(words.ask, variant="primary", scale=1, elem_id="ask")
            self.fresh = gradio.Button(words.fresh, scale=1, elem_id="fresh")
        self._switches(words)
        self._report(words)
        self.gallery = gradio.Dataset(
            components=["textbox", "textbox"],
            samples=_rows(self.holdings.examples, words),
            headers=list(words.example_headers),
            label=words.examples,
            layout="table",
            type="index",
            elem_id="examples",
            visible=bool(self.holdings.examples),
        )
        self.foot = gradio.HTML(_foot(words, self.holdings.hint))
        self._connect()

    def _switches(self, words: Wording) -> None:
        import gradio

        library = self.desk.library
        with gradio.Row():
            finders, readers = _choices(library.retriever_names, words), _choices(library.reader_names, words)
            self.retriever = gradio.Dropdown(finders, value=_OPEN, label=words.retriever, elem_id="retriever")
            self.generator = gradio.Dropdown(readers, value=_OPEN, label=words.generator, elem_id="generator")
            most = self.desk.limits.passages
            self.count = gradio.Slider(1, most, value=min(5, most), step=1, label=words.passages_read, elem_id="count")
            self.threshold = gradio.Slider(0, 1, value=0, step=0.05, label=words.threshold, elem_id="threshold")
            self.compare = gradio.Checkbox(True, label=words.compare, elem_id="compare")

    def _report(self, words: Wording) -> None:
        import gradio

        script = static_file("page.js")
        begun = dict(zip(_PIECES, astuple(empty_pieces(words)), strict=True))

        def piece(name: str) -> gradio.HTML:
            return gradio.HTML(begun[name], elem_id=name, js_on_load=script if name == "grounded" else None)

        made = {"conversation": piece("conversation")}
        with gradio.Row():
            with gradio.Column(scale=3):
                self.grounded_head = gradio.HTML(_column_head(words.grounded, words.grounded_help))
                for name in ("caution", "grounded"):
                    made[name] = piece(name)
            with gradio.Column(scale=2):
                self.closed_head = gradio.HTML(_column_head(words.closed_book, words.closed_book_help))
                made["closed_book"] = piece("closed_book")
        for name in ("seconds", "tree", "passages"):
            made[name] = piece(name)
        self.pieces = [made[name] for name in _PIECES]

    def _connect(self) -> None:
        switches = [self.retriever, self.generator, self.count, self.threshold, self.compare, self.language]
        asking: dict[str, Any] = {
            "fn": self._asked(),
            "inputs": [self.last, self.question, *switches],
            "outputs": [self.last, *self.pieces],
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        example = self.gallery.click(
            self._example,
            self.gallery,
            [self.last, self.question],
            show_progress="hidden",
            api_visibility="private",
        )
        running = [self.ask.click(**asking), self.question.submit(**asking), example.then(**asking)]
        # Stopped first, or what is on its way comes after.
        stopped = self.fresh.click(None, cancels=running, api_visibility="private")
        stopped.then(
            self._begin_again,
            self.language,
            [self.last, *self.pieces],
            show_progress="hidden",
            api_visibility="private",
        )
        self.fresh.click(  # in the browser: what a quick visitor types next is not taken away when the server has answered
            None, None, self.question, js="() => ''", show_progress="hidden", api_visibility="private"
        )
        said = [self.head, self.question, self.ask, self.fresh, self.retriever, self.generator, self.count]
        said += [
            self.threshold,
            self.compare,
            self.gallery,
            self.grounded_head,
            self.closed_head,
            self.foot,
            *self.pieces,
        ]
        self.language.change(
            self._speak, [self.language, self.last], said, show_progress="hidden", api_visibility="private"
        )

    def _asked(self) -> Callable[..., Iterator[list[Any]]]:
        """What answers a question: yields the last progress and the pieces that changed."""
        import gradio

        def ask(
            last: Progress | None,
            question: str,
            retriever: str,
            generator: str,
            count: int,
            threshold: float,
            compare: bool,
            language: str,
            request: gradio.Request,
        ) -> Iterator[list[Any]]:
            words, shown = WORDINGS.get(language, ENGLISH), Pieces()
            before = continued(last, self.desk.limits)
            asked = Asked(question, retriever, generator, int(count), float(threshold), compare)
            asked = replace(asked, turns=before.turns, forgotten=before.forgotten)
            client = request.client.host if request.client else ""
            first = True
            try:
                for progress in self.desk.answer(asked, client):
                    pieces = pieces_of(progress, words)
                    yield [progress if progress.finished else gradio.skip(), *_changed(shown, pieces, first)]
                    shown, first = pieces, False
            except GenirError as error:
                yield [gradio.skip(), *astuple(refused_pieces(str(error), before, words))]

        return ask

    def _begin_again(self, language: str) -> list[Any]:
        """No conversation, and the page as it was before the first question."""
        return [None, *astuple(empty_pieces(WORDINGS.get(language, ENGLISH)))]

    def _example(self, number: int) -> list[Any]:
        """The question of an example. It begins a new conversation."""
        return [None, self.holdings.examples[number].question]

    def _speak(self, language: str, last: Progress | None) -> list[Any]:
        """Everything that is said, in another language, what is shown already included."""
        import gradio

        words, library = WORDINGS.get(language, ENGLISH), self.desk.library
        pieces = pieces_of(last, words) if last is not None else empty_pieces(words)
        return [
            _head(words),
            gradio.update(label=words.question, placeholder=words.placeholder),
            words.ask,
            words.fresh,
            gradio.update(label=words.retriever, choices=_choices(library.retriever_names, words)),
            gradio.update(label=words.generator, choices=_choices(library.reader_names, words)),
            gradio.update(label=words.passages_read),
            gradio.update(label=words.threshold),
            gradio.update(label=words.compare),
            gradio.Dataset(
                samples=_rows(self.holdings.examples, words), headers=list(words.example_headers), label=words.examples
            ),
            _column_head(words.grounded, words.grounded_help),
            _column_head(words.closed_book, words.closed_book_help),
            _foot(words, self.holdings.hint),
            *astuple(pieces),
        ]


def _changed(before: Pieces, now: Pieces, everything: bool) -> list[Any]:
    """The pieces, those left out that are as they were."""
    import gradio

    pairs = zip(astuple(before), astuple(now), strict=True)
    return [new if everything or new != old else gradio.skip() for old, new in pairs]


def _choices(names: Sequence[str], words: Wording) -> list[tuple[str, str]]:
    """What a switch offers, as (label, value): to leave it open, then every name."""
    return [(words.automatic, _OPEN), *((name, name) for name in names)]


def _rows(examples: tuple[Example, ...], words: Wording) -> list[list[str]]:
    place = 0 if words is ENGLISH else 1
    return [[example.question, example.shows[place]] for example in examples]


def _head(words: Wording) -> str:
    return element("h1", escaped(words.title)) + element("p", escaped(words.tagline), class_="tagline")


def _column_head(title: str, about: str) -> str:
    return element("h2", escaped(title) + " " + element("small", escaped(about)))


def _foot(words: Wording, hint: str) -> str:
    told = element("p", escaped(hint), class_="note") if hint else ""
    return told + element("p", escaped(words.api), class_="note")
