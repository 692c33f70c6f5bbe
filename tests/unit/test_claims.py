"""Answers split into claims, each with the characters that it rests on."""

import pytest

from genir.records import Document
from rag.claims import Draft, draft, split_claims
from rag.reading import Reading

HELIUM = Document("he", "Helium is a noble gas. The symbol of helium is He.", "Helium")
NEON = Document("ne", "Neon glows red. The symbol of neon is Ne.", "Neon")
PASSAGES = [HELIUM, NEON]


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("Oslo", ["Oslo"]),
        ("It is Oslo. It lies at a fjord!", ["It is Oslo.", "It lies at a fjord!"]),
        ("东京是首都。大阪很大。", ["东京是首都。", "大阪很大。"]),
        ("Two gases:\n- helium\n- neon.\n\n2. argon", ["Two gases:", "helium", "neon.", "argon"]),
        ("Dr. Smith said so.\n ... ", ["Dr. Smith said so."]),
        (" + ", ["+"]),
        ("", []),
        (" \n", []),
    ],
)
def test_claims_are_lines_items_and_sentences(text: str, claims: list[str]) -> None:
    assert [text[start:end] for start, end in split_claims(text)] == claims


def test_each_claim_has_its_own_sentence_to_the_character() -> None:
    made = draft(Reading("Helium is a noble gas. Neon glows red."), "Which gases?", PASSAGES)
    assert made.text == "Helium is a noble gas. Neon glows red."
    assert [(claim.text, claim.start, claim.end) for claim in made.claims] == [
        ("Helium is a noble gas.", 0, 22),
        ("Neon glows red.", 23, 38),
    ]
    assert [[(one.passage, one.doc_id, one.text) for one in claim.citations] for claim in made.claims] == [
        [(0, "he", "Helium is a noble gas.")],
        [(1, "ne", "Neon glows red.")],
    ]
    for claim in made.claims:
        for citation in claim.citations:
            assert PASSAGES[citation.passage].text[citation.start : citation.end] == citation.text
    assert made.support == 1.0


def test_markers_name_the_passage_whatever_the_words() -> None:
    made = draft(Reading("The symbol of helium is He [2]. It glows [2][1]."), "?", PASSAGES)
    assert made.text == "The symbol of helium is He. It glows."
    first, second = made.claims
    assert [one.text for one in first.citations] == ["The symbol of neon is Ne."]
    assert [one.passage for one in second.citations] == [1, 0]
    assert all(one.written for claim in made.claims for one in claim.citations)
    assert made.dropped == 0


def test_a_named_passage_that_holds_no_word_of_the_claim_is_cited_whole() -> None:
    [claim] = draft(Reading("Unobtainium [2]"), "?", PASSAGES).claims
    assert [(one.passage, one.start, one.end) for one in claim.citations] == [(1, 0, len(NEON.text))]


def test_passage_nine_of_two_is_dropped_and_the_claim_attributed() -> None:
    made = draft(Reading("Neon glows red [9][0]."), "?", PASSAGES)
    assert (made.text, made.dropped) == ("Neon glows red.", 2)
    assert [(one.doc_id, one.written) for one in made.claims[0].citations] == [("ne", False)]
    assert made.claims[0].out_of_range == 2


def test_markers_of_no_passage_belong_to_their_claims() -> None:
    made = draft(Reading("Neon glows red [2]. Helium is a noble gas [7][2]."), "?", PASSAGES)
    assert [claim.out_of_range for claim in made.claims] == [0, 1]
    assert [[one.passage for one in claim.citations] for claim in made.claims] == [[1], [1]]


def test_a_reader_that_names_its_passage_has_cited_what_stands_there() -> None:
    [claim] = draft(Reading("Neon glows red", passage=1), "?", PASSAGES).claims
    assert [(one.passage, one.written) for one in claim.citations] == [(1, True)]
    [claim] = draft(Reading("Neon glows red", passage=0), "?", PASSAGES).claims
    assert [(one.passage, one.written) for one in claim.citations] == [(1, False)]  # it stands elsewhere


def test_a_passage_that_was_not_shown_cannot_be_cited() -> None:
    made = draft(Reading("Neon glows red [2].", shown=1), "?", PASSAGES)
    assert (made.dropped, made.claims[0].citations) == (1, ())


def test_a_quotation_is_cited_as_it_was_quoted_and_keeps_its_brackets() -> None:
    wiki = Document("w", "Helium[2] is a gas. It is light.[3] Neon is not.")
    [first, second] = draft(Reading("Helium[2] is a gas. It is light.", passage=0, span=(0, 32)), "?", [wiki]).claims
    assert (first.text, first.citations[0].text) == ("Helium[2] is a gas.", "Helium[2] is a gas.")
    assert (second.citations[0].start, second.citations[0].text) == (20, "It is light.")


def test_a_copy_of_a_part_of_the_quoted_sentence_cites_the_sentence() -> None:
    made = draft(Reading("Helium", passage=0, span=(23, 50)), "Which gas has the symbol He?", PASSAGES)
    assert [one.text for one in made.claims[0].citations] == ["The symbol of helium is He."]
    assert made.support == 1.0


def test_a_claim_over_two_sentences_cites_both() -> None:
    [claim] = draft(Reading("Argon melts at minus 189 degrees and radon decays within four days"), "?", GASES).claims
    assert [one.passage for one in claim.citations] == [1, 0]


GASES = [
    Document("rn", "Radon decays within four days."),
    Document("ar", "Argon melts at minus 189 degrees Celsius."),
    Document("xe", "Xenon is rare, and it decays never."),
]


def test_one_stray_word_adds_no_citation() -> None:
    [claim] = draft(Reading("Argon melts at minus 189 degrees never"), "?", GASES).claims
    assert [one.passage for one in claim.citations] == [1]


def test_nothing_supports_it_nothing_is_cited() -> None:
    made = draft(Reading("Unobtainium"), "?", PASSAGES)
    assert (made.claims[0].citations, made.support) == ((), 0.0)
    assert draft(Reading("Oslo [1]"), "?", []).claims[0].citations == ()


def test_markers_alone_are_no_answer() -> None:
    assert draft(Reading("[1][3]"), "?", PASSAGES) == Draft("", dropped=1)
    assert draft(Reading("  "), "?", PASSAGES) == Draft("")
