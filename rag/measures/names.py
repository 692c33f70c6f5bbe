"""Named entities by their looks: capitalised runs in English, content runs in Chinese. No model, no list of entities.

English: words with a capital, joined over "of", "de", "van" and their like, without the words that any sentence may
begin with. Chinese, Japanese: runs of characters between function words and numbers, and every Latin word among them: a
Chinese name looks like any other run, so that each run counts as one.

Known gaps: a common noun that begins an English sentence counts as a name; text all in capitals, or all in small
letters, has none; an adjective ("French") is not the name of its country; in Chinese a paraphrase looks like a new
name, and traditional and simplified characters are not one.
"""

import re
import unicodedata
from collections.abc import Iterable

from genir.words import ENGLISH_STOPWORDS, UNSPACED
from rag.measures.numbers import MEASURE_WORDS, numbers
from rag.sentences import split_sentences, words

_OPENERS = ENGLISH_STOPWORDS | frozenset(
    """i he she we you him her them us me my his its our your who what when where which why how whose whom there here
    that those these this some any all both each every either neither many much few several most more other another
    such same so then thus hence also however although though because since while after before during until once
    upon under over from besides along with without within near regarding about according among between despite like
    unlike although yes no not never only just even still yet today now later soon recently currently finally
    originally initially eventually first second next last one two three four five six seven eight nine ten do does
    did is are was were has have had can could may might must shall should will would please answer note unknown
    sorry name""".split()
)
_JOINING = frozenset("of de la le du des van von der den da di del della dos bin ibn al el y".split())
_TITLES = frozenset(
    "mr mrs ms dr sir dame lord lady prof professor president king queen prince princess saint st pope".split()
)
_WORD = re.compile(rf"[^\W_{UNSPACED}]+(?:[-'’.&][^\W_{UNSPACED}]+)*")
_POSSESSIVE = re.compile(r"['’]s?$")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")
# Single characters that seldom stand inside a name, and the commonest words of questions.
_FUNCTION = re.compile(
    "什么时候|什麼時候|什么|什麼|哪里|哪裡|哪儿|哪兒|哪个|哪個|哪些|哪一|多少|为什么|為什麼|怎么|怎麼|如何|因为|因為|所以|"
    "[的是在于於和與与了为為被从從而但这這他她它们們谁誰哪吗嗎呢]"
)


def names(text: str) -> list[str]:
    """The names of a text, in order, each once; as they are written, after NFKC."""
    plain = unicodedata.normalize("NFKC", text)
    found: dict[str, None] = {}
    for start, end in split_sentences(plain):
        sentence = plain[start:end]
        found.update(dict.fromkeys((_unspaced_names if is_unspaced(sentence) else _capitalised)(sentence)))
    return list(found)


def name_words(text: str) -> set[str]:
    """The words of all names of a text; of Chinese and Japanese names, the pairs of neighbouring characters."""
    found: set[str] = set()
    for name in names(text):
        found |= pairs(name) if _UNSPACED_RUN.match(name) else {word for word in words(name) if word not in _JOINING}
    return found


def stands_in(name: str, evidence: str) -> bool:
    """Whether a name stands in the evidence: its words as one run, titles ("Dr") aside; case, accents' forms and width
    do not matter.

    A Chinese run stands there where each of its characters belongs to a pair of neighbours that the evidence has, so
    that 爱因斯坦出生 stands in a text that says both words apart.
    """
    if _UNSPACED_RUN.match(name):
        held = pairs(evidence)
        shared = [pair in held for pair in _neighbours(name)]
        return all(before or after for before, after in zip([False, *shared], [*shared, False], strict=True))
    said = words(_POSSESSIVE.sub("", name))
    while len(said) > 1 and said[0] in _TITLES:
        said = said[1:]
    return _run_in(said, words(evidence))


def is_unspaced(text: str) -> bool:
    """Whether a text has a Han or Kana character."""
    return _UNSPACED_RUN.search(text) is not None


def pairs(text: str) -> set[str]:
    """Pairs of neighbouring Han or Kana characters."""
    plain = unicodedata.normalize("NFKC", text)
    return {pair for run in _UNSPACED_RUN.findall(plain) for pair in _neighbours(run)}


def _neighbours(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]


def _run_in(phrase: list[str], text: list[str]) -> bool:
    """Whether `phrase` is a run of `text`; True for an empty one, which says nothing."""
    joined = "\0".join(("", *text, ""))
    return not phrase or "\0".join(("", *phrase, "")) in joined


def _capitalised(sentence: str) -> Iterable[str]:
    """Capitalised runs of a sentence without unspaced characters."""
    matches = list(_WORD.finditer(sentence))
    if len(matches) > 3 and sentence.isupper():
        return  # a heading in capitals tells no name from another word
    name: list[re.Match[str]] = []
    waiting: list[re.Match[str]] = []  # joining words behind a name, kept where another capital follows
    for match in matches:
        word, before = match.group(), sentence[(name + waiting)[-1].end() : match.start()] if name else ""
        adjacent = not name or (
            re.fullmatch(r"\.?\s+", before) is not None and not _POSSESSIVE.search(name[-1].group())
        )
        if name and not adjacent:
            yield _span(sentence, name)
            name, waiting = [], []
        if _is_capitalised(word):
            name, waiting = [*name, *waiting, match], []
        elif name and word.casefold() in _JOINING | {"the"} and (word.casefold() != "the" or waiting):
            waiting.append(match)
        elif name:
            yield _span(sentence, name)
            name, waiting = [], []
    if name:
        yield _span(sentence, name)


def _is_capitalised(word: str) -> bool:
    return any(letter.isupper() for letter in word) and word.casefold() not in _OPENERS


def _span(sentence: str, name: list[re.Match[str]]) -> str:
    return sentence[name[0].start() : name[-1].end()]


def _unspaced_names(sentence: str) -> Iterable[str]:
    """Runs of at least two characters between function words, numbers and punctuation; Latin words in between are names, too."""
    bare = sentence
    for number in reversed(numbers(sentence)):
        if _WORD.match(bare, number.end):
            continue  # 67P and 5G are names
        bare = f"{bare[: number.start]} {bare[number.end :].lstrip(MEASURE_WORDS)}"
    for run in re.finditer(rf"{_UNSPACED_RUN.pattern}|{_WORD.pattern}", bare):
        if _UNSPACED_RUN.match(run.group()):
            yield from (piece for piece in _FUNCTION.split(run.group()) if len(piece) > 1)
        else:
            yield run.group()
