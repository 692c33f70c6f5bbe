"""Numbers in text, by value: 5,000, "five thousand", "5 thousand", 5千 and 五千 are one number.

English numerals and number words (cardinals, ordinals, years such as "nineteen sixty-nine"), Arabic digits in either
language, Chinese numerals in both scripts. Whether an answer's number stands in its evidence is a question of values,
not of spelling.

Invariants: a number is read once, at its longest; digits behind a Latin letter (H2O, B52) belong to a name; a hyphen is a
minus only where nothing that it could join stands before it (not in 1990-5 or "10 -5"). Known gaps: Roman numerals,
fractions, European thousands (1.234), "a couple", "5m" (metres or millions), an en dash for a minus, "5 below zero", and
the Chinese habit of leaving out the last unit (三万五). A single Chinese numeral is a number only in front of a measure
word or alone, because many names have one (四川, 三星).
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from decimal import Decimal

from rag.sentences import words

_UNITS = {
    word: value
    for value, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen""".split()
    )
}
_TENS = {
    word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
        sixteenth seventeenth eighteenth nineteenth""".split(),
        1,
    )
} | {word[:-1] + "ieth": value for word, value in _TENS.items()}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT_SCALES = {"mn": 10**6, "bn": 10**9, "tn": 10**12}
_SMALL = _UNITS | _TENS | _ORDINALS
_ARTICLES = ("a", "an", "the")
_IDLE = frozenset(("one", "first", "second", "一"))  # "one of them", "at first", "a second", 一个: seldom a count

_HAN_DIGITS = dict(zip("零〇一二三四五六七八九两兩", (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 2), strict=True))
_HAN_TENS = {"十": 10, "百": 100, "千": 1000}
_HAN_SCALES = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
MEASURE_WORDS = (
    "个個名位人年月日号號时時点點分秒岁歲次种種条條只隻座所家间間本部"
    "首幅张張块塊元届屆世代层層米公里吨噸平周週天期章倍成棵艘架辆輛匹頭头"
)

_HAN = "".join((*_HAN_DIGITS, *_HAN_TENS, *_HAN_SCALES))
_HAN_UNITS = "".join((*_HAN_TENS, *_HAN_SCALES))
_ENGLISH = "|".join(
    sorted((*_SMALL, "hundred", *_SCALES, "hundredth", "thousandth", "millionth", "dozen"), key=len)[::-1]
)
# A minus sign in front of digits, with the sign of a currency ("-$5").
MINUS = r"""(?<![^\s(\[“‘"'=<>≤≥≈~:,;，；：（、是为為到至达達约約于於])(?<!\d\s)[-−][$€£¥]?(?=\d)"""
_NUMBER = re.compile(
    rf"(?P<minus>{MINUS}|(?<!\d\s)(?<!\bor\s)\bminus\s+|(?<![\d{_HAN}])[负負](?=\d)|零下)?"
    r"(?:(?P<digits>(?<![A-Za-z\d])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?)"
    rf"(?:(?P<han_scale>[{_HAN_UNITS}]+)|(?P<scale>(?:[\s-]+(?:hundred|{'|'.join(_SCALES)})\b)+)"
    rf"|\s?(?P<short_scale>(?-i:{'|'.join(_SHORT_SCALES)}))\b|(?:st|nd|rd|th|['’]?s)\b)?"
    rf"|(?P<han>[{_HAN}]+)"
    rf"|\b(?P<english>(?:{_ENGLISH})(?:(?:[\s-]+and)?[\s-]+(?:{_ENGLISH}))*)\b)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written, with its value. `start` and `end` are offsets in the text's NFKC form.

    `idle`: a lone "one", "first", "second" or 一, which is seldom meant as a count.
    """

    value: Decimal
    text: str
    start: int
    end: int
    idle: bool = False


def numbers(text: str) -> list[Number]:
    """The numbers of a text, in order of their places."""
    plain = unicodedata.normalize("NFKC", text)
    found: list[Number] = []
    for match in _NUMBER.finditer(plain):
        read = _read(plain, match)
        if match["minus"] and read:
            first, begin = read[0], match.start()
            read[0] = replace(first, value=-first.value, text=plain[begin : first.end], start=begin, idle=False)
        found += read
    return found


def canonical_words(text: str) -> list[str]:
    """The words of a text with every number as its value, without English articles (unless there is nothing else).

    So "five million" and "the 5,000,000" are one; 2.5 and 25 are not, as they are in SQuAD's normal form, nor is a decade ("1990s")
    its first year.
    """
    plain = unicodedata.normalize("NFKC", text)
    found: list[str] = []
    end = 0
    for number in numbers(plain):
        decade = number.value % 10 == 0 and (number.text.endswith(("s", "S")) or plain.startswith("年代", number.end))
        found += [*words(plain[end : number.start]), f"{number.value.normalize():f}{'s' * decade}"]
        end = number.end
    found += words(plain[end:])
    return [word for word in found if word not in _ARTICLES] or found


def _read(text: str, match: re.Match[str]) -> list[Number]:
    """The numbers of one match, without its sign; none where Chinese numerals belong to a name."""
    if match["digits"]:
        start = match.start("digits")
        return [Number(_of_digits(match), text[start : match.end()], start, match.end())]
    if match["english"]:
        return _of_english(match["english"], match.start("english"))
    if _is_han_number(text, match):
        return [_number(match["han"], Decimal(_of_han(match["han"])), match.start("han"))]
    return []


def _number(text: str, value: Decimal, start: int) -> Number:
    return Number(value, text, start, start + len(text), text.casefold() in _IDLE)


def _of_digits(match: re.Match[str]) -> Decimal:
    value = Decimal(match["digits"].replace(",", ""))
    for unit in match["han_scale"] or "":
        value *= (_HAN_TENS | _HAN_SCALES)[unit]
    for scale in re.findall(r"[a-z]+", (match["scale"] or "").casefold()):
        value *= 100 if scale == "hundred" else _SCALES[scale]
    return value * _SHORT_SCALES.get(match["short_scale"] or "", 1)


def _is_han_number(text: str, match: re.Match[str]) -> bool:
    """Whether a run of Chinese numerals is a number, rather than a part of a name (四川, 百度, 万历)."""
    run, start = match["han"], match.start("han")
    if run[0] not in _HAN_DIGITS and run[0] != "十":
        return False
    after = text[match.end() : match.end() + 1]
    alone = not text[:start].strip() and not after.strip()
    return len(run) > 1 or alone or text[start - 1 : start] == "第" or (after != "" and after in MEASURE_WORDS)


def _of_han(run: str) -> int:
    """三千五百 by its units, 二〇〇八 digit by digit."""
    if not any(unit in run for unit in _HAN_UNITS):
        return int("".join(str(_HAN_DIGITS[digit]) for digit in run))
    total = section = digit = 0
    for sign in run:
        if sign in _HAN_DIGITS:
            digit = _HAN_DIGITS[sign]
        elif sign in _HAN_TENS:
            section += (digit or 1) * _HAN_TENS[sign]
            digit = 0
        elif _HAN_SCALES[sign] == 10**4:
            total, section, digit = total + (section + digit) * 10**4, 0, 0
        else:
            total, section, digit = (total + section + digit) * 10**8, 0, 0
    return total + section + digit


def _of_english(run: str, offset: int) -> list[Number]:
    """The numbers of a run of number words: "two hundred and five" is one, "two three" are two, "nineteen sixty" is a year."""
    found: list[Number] = []
    reading: _Reading | None = None
    for match in re.finditer(rf"(?:and[\s-]+)?({_ENGLISH})", run, re.I):
        word, joined = match[1].casefold(), match.start(1) > match.start()
        if reading is not None and reading.take(word, joined):
            reading.end = match.end()
            continue
        if reading is not None:
            found.append(_number(run[reading.start : reading.end], Decimal(reading.value), offset + reading.start))
        reading = _Reading(match.start(1), match.end())
        begun = reading.take(word, joined=False)
        assert begun, f"{word!r} begins no number"
    if reading is not None:
        found.append(_number(run[reading.start : reading.end], Decimal(reading.value), offset + reading.start))
    return found


@dataclass(slots=True)
class _Reading:
    """A number word by word: `total` of the finished thousands and `current` below them; `last` is the kind of the last word."""

    start: int
    end: int
    total: int = 0
    current: int = 0
    scale: int = 10**15  # of the last "thousand", "million": the next must be smaller
    last: str = ""

    @property
    def value(self) -> int:
        return self.total + self.current

    def take(self, word: str, joined: bool) -> bool:
        """Add a word; False where it begins another number. `joined`: by "and", which only hundreds and more allow."""
        if self.last == "end" or (joined and self.last not in ("hundred", "scale")):
            return False
        if word.startswith("hundred"):
            return self._hundred(word)
        if word == "dozen":
            return self._close(max(1, self.current) * 12 if self.last in ("", "unit") else None)
        scale = _SCALES.get(word.removesuffix("th"))
        if scale is not None:
            return self._scale(scale, word)
        return self._small(_SMALL[word], word in _ORDINALS)

    def _small(self, value: int, ordinal: bool) -> bool:
        kind = "unit" if value < 10 else "teen" if value < 20 else "tens"
        if self.last in ("", "hundred", "scale"):
            self.current += value
        elif self.last == "tens" and 0 < value < 10:
            self.current += value
            kind = "both"
        elif 10 <= self.current < 100 and value >= 10 and not self.total:  # the two halves of a year
            self.current = 100 * self.current + value
        else:
            return False
        self.last = "end" if ordinal else kind
        return True

    def _hundred(self, word: str) -> bool:
        if self.last in ("hundred", "scale") or self.current >= 100:
            return False
        self.current = max(1, self.current) * 100
        self.last = "hundred" if word == "hundred" else "end"
        return True

    def _scale(self, scale: int, word: str) -> bool:
        if scale >= self.scale or self.last == "scale":
            return False
        self.total += max(1, self.current) * scale
        self.current, self.scale = 0, scale
        self.last = "scale" if word in _SCALES else "end"
        return True

    def _close(self, value: int | None) -> bool:
        if value is None:
            return False
        self.current, self.last = value, "end"
        return True
