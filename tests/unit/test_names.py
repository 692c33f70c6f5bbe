import pytest

from rag.measures.names import name_words, names, stands_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The tower was built by Gustave Eiffel in Paris.", ["Gustave Eiffel", "Paris"]),
        ("The University of Texas and the Bank of the West", ["University of Texas", "Bank of the West"]),
        ("Paris is the capital. It lies on the Seine.", ["Paris", "Seine"]),
        ("However, he met Mr. Smith", ["Mr. Smith"]),
        ("J. R. R. Tolkien wrote it.", ["J. R. R. Tolkien"]),
        ("Newton's Principia", ["Newton's", "Principia"]),
        ("Rome, Paris and London", ["Rome", "Paris", "London"]),
        ("He said yes. I did not.", []),
        ("LONG LIVE THE KING OF FRANCE", []),
        ("NASA", ["NASA"]),
        ("Paris, Paris", ["Paris"]),
        ("he met eiffel", []),
        ("", []),
        ("爱因斯坦在乌尔姆出生", ["爱因斯坦", "乌尔姆出生"]),
        ("乔布斯于2007年发布iPhone", ["乔布斯", "发布", "iPhone"]),
        ("他用5G网络看67P彗星，600米", ["5G", "网络看", "67P", "彗星"]),
        ("谁是中国的国家主席？", ["中国", "国家主席"]),
    ],
)
def test_names(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("name", "evidence", "there"),
    [
        ("Gustave Eiffel", "the tower by GUSTAVE EIFFEL", True),
        ("Gustave Eiffel", "Eiffel and Gustave", False),
        ("Newton's", "by Isaac Newton", True),
        ("Dr Watson", "Watson and Holmes", True),
        ("Ann", "Annabel", False),
        ("Paris", "", False),
        ("慕尼黑", "他在乌尔姆出生", False),
        ("李世民", "李世石是棋手", False),  # two of its three characters stand there
        ("爱因斯坦出生", "爱因斯坦于1879年出生", True),
        ("上海", "海上", False),
    ],
)
def test_where_a_name_stands(name: str, evidence: str, there: bool) -> None:
    assert stands_in(name, evidence) is there


def test_words_of_names() -> None:
    assert name_words("Who founded the University of Texas?") == {"university", "texas"}
    assert name_words("谁发现了镭元素") == {"发现", "镭元", "元素"}
