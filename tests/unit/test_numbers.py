from decimal import Decimal

import pytest

from rag.measures.numbers import canonical_words, numbers


def values(text: str) -> list[Decimal]:
    return [number.value for number in numbers(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5,000 or 5000", [5000, 5000]),
        ("five thousand", [5000]),
        ("5 thousand, 2.5 million", [5000, 2500000]),
        ("two hundred and five", [205]),
        ("one hundred thousand", [100000]),
        ("three million two hundred thousand and twelve", [3200012]),
        ("twenty-one guns", [21]),
        ("the twenty-first century", [21]),
        ("in nineteen sixty-nine", [1969]),
        ("nineteen hundred", [1900]),
        ("twenty twenty", [2020]),
        ("three and four", [3, 4]),
        ("two, three", [2, 3]),
        ("the 1980s and the 19th century", [1980, 19]),
        ("1914–18", [1914, 18]),
        ("a dozen eggs, two dozen", [12, 24]),
        ("5-million-dollar", [5000000]),
        ("H2O, B52 and MP3", []),
        ("someone, tent, often", []),
        ("３５ 人", [35]),  # full width
        ("五千", [5000]),
        ("三千五百人", [3500]),
        ("二〇〇八年", [2008]),
        ("十一月二十日", [11, 20]),
        ("25万人", [250000]),
        ("3千万", [30000000]),
        ("1.3亿", [130000000]),
        ("三亿五千万", [350000000]),
        ("一万亿", [10**12]),
        ("兩個人", [2]),
        ("四川的百度和三星", []),  # names
        ("第三", [3]),
        ("1.2bn, 1.2 bn and 3mn", [1200000000, 1200000000, 3000000]),
        ("55 MN", [55]),  # Minnesota
        ("-5", [-5]),
        ("it was −5 °C (-23 °F)", [-5, -23]),  # the Unicode minus
        ("a loss of -$5 million", [-5000000]),
        ("minus five, minus 5", [-5, -5]),
        ("零下二十度，气温是-5度，负3度", [-20, -5, -3]),
        ("-0", [0]),
        # No sign: a year and month, a range, a hyphenated word, subtraction, a tolerance, a bullet, a defeat.
        ("1990-5, 2011-05-03", [1990, 5, 2011, 5, 3]),
        ("1914 -18, 3月-5月", [1914, 18, 3, 5]),
        ("H-5, COVID-19", [5, 19]),
        ("10 minus 5, plus or minus 5", [10, 5, 5]),
        ("- 5 eggs", [5]),
        ("胜2负5", [2, 5]),
        ("", []),
    ],
)
def test_numbers_by_value(text: str, expected: list[int]) -> None:
    assert values(text) == [Decimal(value) for value in expected]


def test_a_number_knows_its_place_and_whether_it_is_idle() -> None:
    [number, idle] = numbers("All five thousand of one kind")
    assert (number.text, number.start, number.end, number.idle) == ("five thousand", 4, 17, False)
    assert (idle.text, idle.idle) == ("one", True)
    [negative] = numbers("It was -5 thousand.")
    assert (negative.text, negative.start, negative.end) == ("-5 thousand", 7, 18)
    assert [number.idle for number in numbers("minus one")] == [False]
    assert [number.idle for number in numbers("一个 twenty-one")] == [True, False]


def test_canonical_words_hold_numbers_by_value() -> None:
    assert canonical_words("The Five Million dollars") == canonical_words("5,000,000 dollars") == ["5000000", "dollars"]
    assert canonical_words("2.5") != canonical_words("25")
    assert canonical_words("-5") != canonical_words("5")
    assert canonical_words("约五千人") == ["约", "5000", "人"]
    assert canonical_words("A") == ["a"]
    assert canonical_words("...") == []


def test_a_decade_is_not_its_first_year() -> None:
    assert canonical_words("the 1990s") == canonical_words("1990's") == ["1990s"]
    assert canonical_words("1990年代")[0] == "1990s"
    assert canonical_words("1990") == ["1990"]
    assert canonical_words("1889's") == ["1889"]
