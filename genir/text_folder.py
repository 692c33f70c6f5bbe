"""A folder of text, Markdown and HTML files -> documents, whole or in passages.

Nothing is left out silently: what cannot be used is counted, and `tell` hears of it. Markdown stays as it is written,
so that a citation is found again in its file; HTML becomes its visible text, a line for each block.

Known gaps: files must be UTF-8 (a charset that an HTML file declares is not heeded); PDF and office files are not read;
hidden files, and what lies in hidden folders, do not count as part of a folder.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from genir.errors import DataError
from genir.inspection import word_spans
from genir.records import Document
from genir.words import sentences

TEXT_SUFFIXES = (".txt", ".md", ".html", ".htm")
Tell = Callable[[str], None]

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
_BLOCK_TAGS = """address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5
    h6 header hr li main nav ol p pre section table td th tr ul"""
_BLOCKS = frozenset(_BLOCK_TAGS.split())


def read_text_folder(folder: Path, words: int | None, tell: Tell) -> list[Document]:
    """Every readable text file under a folder, by path; with `words`, cut into passages of about so many words.

    A doc_id is the file's path from the folder, with white space and % written as in a URL, and behind it "#n" for the
    n-th passage of several. Titles are the first Markdown heading, the HTML title, or the file's name.
    """
    if words is not None and words < 1:
        raise DataError(f"cannot cut passages of {words} words: give a number of at least 1")
    documents: list[Document] = []
    left_out: dict[str, list[str]] = {}
    others: Counter[str] = Counter()
    for path in _files(folder, left_out):
        name = path.relative_to(folder).as_posix()
        if not _is_text(name):
            left_out.setdefault("file names are not valid UTF-8", []).append(ascii(name))
            continue
        if path.suffix.lower() not in TEXT_SUFFIXES:
            others[path.suffix.lower() or "without suffix"] += 1
            continue
        try:
            title, text = _title_and_text(path)
        except UnicodeDecodeError:
            left_out.setdefault("files are not valid UTF-8", []).append(name)
        except OSError:
            left_out.setdefault("files cannot be read", []).append(name)
        else:
            documents += _documents(re.sub(r"[\s%]", lambda match: quote(match[0]), name), title, text, words)
            if not text:
                left_out.setdefault("files hold no text", []).append(name)
    for fault, names in left_out.items():
        tell(f"left out: {len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        tell(f"left out: {others.total()} files of other kinds ({kinds})")
    return documents


def _files(folder: Path, left_out: dict[str, list[str]]) -> list[Path]:
    """The files under a folder that are not hidden, by path; folders that cannot be walked are noted in `left_out`."""

    def unreadable(error: OSError) -> None:
        left_out.setdefault("folders cannot be read", []).append(str(error.filename))

    found: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if Path(root, name).is_symlink():  # which may lead back here: not followed
                left_out.setdefault("folders are links", []).append(str(Path(root, name).relative_to(folder)))
        found += [Path(root, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _is_text(name: str) -> bool:
    """Whether a file's name is text, and not bytes of another encoding, which Python hands over as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _title_and_text(path: Path) -> tuple[str, str]:
    raw = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() in (".html", ".htm"):
        page = _Page()
        page.feed(raw)
        page.close()
        return page.title() or path.stem, page.text()
    heading = _HEADING.search(_FENCED.sub("", raw)) if path.suffix.lower() == ".md" else None
    return heading.group(1) if heading else path.stem, raw.strip()


class _Page(HTMLParser):
    """The visible text of an HTML page and its title."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._title: list[str] = []
        self._inside = ""  # the open script, style or title: its content is no text of the page
        self._titled = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        if tag in ("script", "style", "title") and not self._inside:
            self._inside = tag
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        if tag == self._inside:
            self._inside, self._titled = "", self._titled or tag == "title"
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep text where it belongs; a second title, of a drawing, belongs nowhere."""
        if not self._inside:
            self._parts.append(re.sub(r"\s+", " ", data))
        elif self._inside == "title" and not self._titled:
            self._title.append(data)

    def title(self) -> str:
        """The page's title on one line; empty where there is none."""
        return " ".join("".join(self._title).split())

    def text(self) -> str:
        """The lines that are not empty."""
        lines = (" ".join(line.split()) for line in "".join(self._parts).split("\n"))
        return "\n".join(line for line in lines if line)


def _documents(doc_id: str, title: str, text: str, words: int | None) -> Iterator[Document]:
    passages = [text] if words is None else _passages(text, words)
    if len(passages) > 1:
        for number, passage in enumerate(passages, start=1):
            yield Document(f"{doc_id}#{number}", passage, f"{title} § {number}")
    elif text:
        yield Document(doc_id, text, title)


def _passages(text: str, words: int) -> list[str]:
    """Consecutive stretches of about `words` words, cut between sentences; a much longer sentence is cut itself."""
    cuts, count, position = [0], 0, 0
    for sentence in sentences(text):
        start = text.index(sentence, position)
        position = start + len(sentence)
        spans = word_spans(sentence)
        if count and count + len(spans) / 2 > words:  # nearer to the target without this sentence than with it
            cuts.append(start)
            count = 0
        while len(spans) > 1.5 * words:
            cuts.append(start + spans[words][0])
            spans = spans[words:]
        count += len(spans)
    return [text[begin:end].strip() for begin, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
