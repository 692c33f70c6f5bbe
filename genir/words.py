"""Text -> index terms, and text -> sentences, for scripts with and without spaces between words.

Used by the lexical retrievers and by the pseudo-queries, so that both mean the same by a word. No language is
detected: Han, Hiragana and Katakana become characters and pairs of characters, every other script becomes words.

Known gaps: Thai, Lao, Khmer and Burmese also write without spaces, and stay whole runs here; Hangul is split at spaces
only, so Korean particles stay on their nouns; the abbreviations that do not end a sentence are English ones.
"""

import re
import unicodedata
from functools import cache

# Ideographs with their iteration and zero marks and extensions, Hiragana, Katakana (without the middle dot).
UNSPACED = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
)

_STOP = """a an and are as at be but by for if in into is it no not of on or such that the their then there these they
    this to was will with"""
ENGLISH_STOPWORDS = frozenset(_STOP.split())  # Lucene's EnglishAnalyzer.ENGLISH_STOP_WORDS_SET

_SHORT = """mr mrs ms dr prof st sr jr gen col lt sgt capt rev hon gov sen rep pres vs etc inc ltd co corp al e.g i.e cf
    approx dept est jan feb apr jun jul aug sep sept oct nov dec mt"""
_ABBREVIATIONS = frozenset(_SHORT.split())
_BEFORE_NUMBERS = frozenset(("no", "vol", "fig", "p", "pp", "ed", "op", "c", "ca"))  # words elsewhere: "He said no."
_BOUNDARY = re.compile(
    r"[。！？｡]+[」』”’）〉》]*"  # full-width stops end a sentence whatever follows
    r"|[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]*[.+#@€£$¥]?[^\W_])"  # others only in front of white space and a letter or digit
    r"|\n\s*\n"
)
_GAP = re.compile(r"\s+([\"'“‘(\[]*)([.+#@€£$¥]?)")
_MIXED_CASE = re.compile(r"[^\W\d_]+[A-Z]")  # macOS, iPhone, mRNA: a name, wherever it stands
_INITIALS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")


@cache
def _terms() -> re.Pattern[str]:
    # \w leaves out combining marks, which would cut Hindi or Tamil words at every vowel sign, and `re` has no \p{M}.
    # The marks of symbols and the variation selectors, which make emoji of digits, are not wanted.
    wanted = [code for code in range(0x300, 0x12000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    marks = "".join(chr(code) for code in wanted if not (0x20D0 <= code <= 0x20FF or 0xFE00 <= code <= 0xFE0F))
    letter = rf"[^\W_{UNSPACED}]"
    return re.compile(rf"([{UNSPACED}]+)|{letter}+(?:[{marks}]+{letter}*)*")


def terms(text: str) -> list[str]:
    """Index terms in reading order, after NFKC and case folding; empty for text without letters and digits (emoji).

    A run of Han or Kana yields every character and every pair of neighbours: 北京大 -> 北 北京 京 京大 大.
    """
    found: list[str] = []
    for match in _terms().finditer(unicodedata.normalize("NFKC", text).casefold()):
        run = match.group()
        if match.group(1) is None:
            found.append(run)
        else:
            for i in range(len(run)):
                found.append(run[i])
                if i + 1 < len(run):
                    found.append(run[i : i + 2])
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped, in order; together they hold all of its words.

    Full-width stops (。！？) and blank lines always end a sentence; . ! ? only in front of white space and a capital
    letter, a digit or a script without case, and a full stop not behind an initial or a common abbreviation. A small
    letter begins a sentence where a sign stands before it (".no", "#tag"), in a name like "macOS", and, behind a full
    stop, within double quotation marks ('. "cub" is').
    """
    pieces: list[str] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if _ends_sentence(text, start, match):
            pieces.append(text[start : match.end()])
            start = match.end()
    pieces.append(text[start:])
    return [stripped for piece in pieces if (stripped := piece.strip())]


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    stop = match.group()
    if stop[0] in "。！？｡\n":
        return True
    gap = _GAP.match(text, match.end())
    following = text[gap.end()] if gap else ""
    if gap and following.islower():
        quoted = stop == "." and any(mark in gap[1] for mark in '"“')
        if not (quoted or gap[2] or _MIXED_CASE.match(text, gap.end())):
            return False
    if stop != ".":
        return True
    before = text[start : match.start()].rsplit(maxsplit=1)
    word = before[-1].lstrip("\"'“‘([") if before else ""
    if (len(word) == 1 and word.isupper() and word != "I") or _INITIALS.fullmatch(word):
        return False
    known = word.casefold()
    return known not in _ABBREVIATIONS and not (known in _BEFORE_NUMBERS and following.isdigit())
