"""Which passages are about what a question names."""

import pytest

from rag.span.subjects import off_subject


@pytest.mark.parametrize(
    ("question", "titles", "expected"),
    [
        ("What is the capital of France?", ["Benin", "France", "Paris"], [True, False, True]),
        ("What is France's capital?", ["France", "Benin"], [False, True]),
        ("What is the symbol of gold?", ["Silver", "Gold"], [True, False]),
        ("Where did Super Bowl 50 take place?", ["Super_Bowl_50", "Super Bowl"], [False, False]),
        ("When did Mercury get its name?", ["Mercury (planet)", "Mercury (element)", "Venus"], [False, False, True]),
        ("What is the capital of Frances?", ["Benin", "France"], [False, False]),  # whole words alone
        ("Which river flows through Cairo?", ["", "The Nile"], [False, False]),  # none is about what is asked
        ("", ["Oslo"], [False]),
        ("Anything", [], []),
    ],
)
def test_passages_about_other_things(question: str, titles: list[str], expected: list[bool]) -> None:
    assert off_subject(question, titles) == expected
