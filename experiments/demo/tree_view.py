"""A Walk as a drawing (SVG): the identifier from left to right, a column a token, under each written token what else the tree allowed.

The columns appear one after another (`--step` delays each), as the model wrote them. All measures are pixels.
"""

from experiments.demo.markup import element, escaped
from experiments.demo.walk import Option, Step, Walk
from experiments.demo.wording import Wording

_GAP, _ROW = 40, 46  # between two boxes sideways; from one box to the next downwards
_WIDE, _NARROW, _HEIGHT = 128, 50, 38  # a box among others, a box that had no alternative
_LEFT, _TOP = 44, 26
_LONGEST = 19  # characters of a line in a wide box
_MORE, _FOUND = 20, 170  # height of the line below the boxes, width of the title at the end


def tree_html(walk: Walk, wording: Wording) -> str:
    """The heading, what the colours mean, and the drawing."""
    head = element("h3", escaped(f"{wording.tree}: {walk.title}"))
    note = element("p", escaped(wording.tree_help) + " " + _legend(wording), class_="note")
    return element("div", head + note + element("div", tree_svg(walk, wording), class_="scroll"), class_="tree")


def tree_svg(walk: Walk, wording: Wording) -> str:
    """The drawing alone."""
    columns, x, came_from = [], _LEFT, _LEFT - 18
    for depth, step in enumerate(walk.steps):
        columns.append(_column(step, depth, came_from, x, wording))
        came_from = x + _width(step)
        x = came_from + _GAP
    width = x + _FOUND
    height = max(
        (_TOP + _ROW * len(step.options) + _MORE * (step.more > 0) for step in walk.steps), default=_TOP + _ROW
    )
    middle = _TOP + _HEIGHT / 2
    root = f'<circle class="root" cx="{_LEFT - 24}" cy="{middle}" r="6"/>'
    written = " ".join(map(str, walk.docid_tokens))
    label = escaped(f"{walk.title}: {written}")
    return (
        f'<svg class="walk" role="img" aria-label="{label}" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" xmlns="http://www.w3.org/2000/svg">{root}{"".join(columns)}{_found(walk, came_from, x)}</svg>'
    )


def _width(step: Step) -> int:
    return _WIDE if len(step.options) > 1 else _NARROW


def _column(step: Step, depth: int, came_from: int, x: int, wording: Wording) -> str:
    """The options of one step, with lines from the token written before, which ends at `came_from`."""
    begin = (came_from, _TOP + _HEIGHT / 2)
    lines = "".join(_line(begin, (x, _TOP + _ROW * row + _HEIGHT / 2), _kind(one)) for row, one in _rows(step))
    boxes = "".join(_box(x, _TOP + _ROW * row, _width(step), one, wording) for row, one in _rows(step))
    head = more = ""
    if len(step.options) > 1:
        beams = escaped(wording.beams.format(count=step.beams))
        head = f'<text class="small" x="{x}" y="{_TOP - 10}">{beams}</text>'
    if step.more:
        y = _TOP + _ROW * len(step.options) + 8
        more = f'<text class="small" x="{x}" y="{y}">{escaped(wording.more.format(count=step.more))}</text>'
    return f'<g class="step" style="--step:{depth}">{head}{lines}{boxes}{more}</g>'


def _rows(step: Step) -> list[tuple[int, Option]]:
    return list(enumerate(step.options))


def _kind(option: Option) -> str:
    return "written" if option.chosen else "kept" if option.kept else "dropped"


def _line(begin: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    (x, y), (to_x, to_y) = begin, end
    bend = (x + to_x) / 2
    return f'<path class="line {kind}" d="M{x:g} {y:g}C{bend:g} {y:g} {bend:g} {to_y:g} {to_x:g} {to_y:g}"/>'


def _box(x: int, y: int, width: int, option: Option, wording: Wording) -> str:
    """A token, its share as text and as a bar, and the documents behind it; a narrow box has room for the token alone."""
    kind = _kind(option)
    names = ", ".join(option.titles) + (", …" if option.documents > len(option.titles) else "")
    told = (
        f"{option.word} ({option.token}): {option.share:.1%}, {wording.behind.format(count=option.documents)} ({names})"
    )
    told = f"{told}; {getattr(wording, kind)}"
    bar = max(1.0, option.share * (width - 2))
    word = _short(option.word, _LONGEST if width == _WIDE else 5)
    about = ""
    if width == _WIDE:
        about = (
            f'<text class="percent" x="{x + width - 8}" y="{y + 15}">{_percent(option.share)}</text>'
            f'<text class="small" x="{x + 8}" y="{y + 29}">{escaped(_short(names))}</text>'
        )
    return (
        f'<g class="box {kind}"><title>{escaped(told)}</title>'
        f'<rect x="{x}" y="{y}" width="{width}" height="{_HEIGHT}" rx="6"/>'
        f'<rect class="share" x="{x + 1}" y="{y + _HEIGHT - 4}" width="{bar:.1f}" height="3"/>'
        f'<text x="{x + 8}" y="{y + (15 if about else 23)}">{escaped(word)}</text>{about}</g>'
    )


def _found(walk: Walk, came_from: int, x: int) -> str:
    """The document at the end of the path."""
    middle = _TOP + _HEIGHT / 2
    line = _line((came_from, middle), (x, middle), "written")
    title = f'<text class="found" x="{x + 6}" y="{middle + 5:g}">{escaped(_short(walk.title))}</text>'
    return f'<g class="step" style="--step:{len(walk.steps)}">{line}{title}</g>'


def _percent(share: float) -> str:
    """Two digits are enough; a small share is not none."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _short(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _legend(wording: Wording) -> str:
    kinds = ("written", "kept", "dropped")
    return " ".join(element("span", escaped(getattr(wording, kind)), class_=f"key {kind}") for kind in kinds)
