"""Tables and wording of the atlas: what is refused, where the message points; the grammar of single sentences."""

from pathlib import Path

import pytest

from experiments.atlas.prose import capitalise, fill, indefinite
from experiments.atlas.tables import doc_id_of, load_tables
from genir.errors import DataError

MOONS = (
    "name\tarticle_name\tparent\tyear\n"
    "Phobos (moon)\tthe moon Phobos\tMars|the planet Mars\t1877\n"
    "Titan\t\tSaturn\t1655\n"
)
WORDING = """noun = "moon"

[attributes.parent]
label = "parent body"
sentences = ["{name} goes round {value}."]
questions = ["What does {name} orbit?"]

[attributes.year]
label = "year of discovery"
sentences = ["{it} was first seen in {value}."]
questions = ["When was {name} found?"]
reverse = ["Which moon was found in {value}?"]
"""


def write(folder: Path, facts: str | bytes = MOONS, wording: str = WORDING) -> Path:
    """A folder of tables with one kind, `moon`."""
    for name, text in (("facts/moon.tsv", facts), ("wording/moon.toml", wording)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_a_row_as_read(tmp_path: Path) -> None:
    (kind,) = load_tables(write(tmp_path))
    phobos, titan = kind.rows
    assert (phobos.doc_id, phobos.base_name, phobos.mention) == ("moon/phobos", "Phobos", "the moon Phobos")
    assert phobos.values == {"parent": ("Mars", "the planet Mars"), "year": ("1877",)}
    assert titan.mention == "Titan"
    assert phobos.where.endswith("moon.tsv:2")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tSaturn\t1655", "\tSaturn", r"moon\.tsv:3: expected 4 tab-separated fields, got 3"),
        ("Titan\t", "Phobos (moon)\t", r"moon\.tsv:3: duplicate name 'phobos \(moon\)', first at .*moon\.tsv:2"),
        ("Titan\t\t", "Titan\tthe moon Phobos\t", r"moon\.tsv:3: duplicate name in a sentence 'the moon Phobos'"),
        ("Titan\t", "Phobos\t", r"moon\.tsv:3: duplicate doc_id 'moon/phobos'"),
        ("Titan\t", "\t", r"moon\.tsv:3: the name is empty"),
        ("Saturn", "Saturn||Zeus", r"moon\.tsv:3: parent: empty or badly spaced value in 'Saturn\|\|Zeus'"),
        ("Saturn", " Saturn", r"moon\.tsv:3: parent: empty or badly spaced value"),
        ("Saturn", "", r"moon\.tsv:3: Titan: 1 filled attributes, expected at least 2"),
        ("\tyear\n", "\tyears\n", r"moon\.tsv:1: attribute 'years' has no \[attributes\.years\] in .*moon\.toml"),
        ("\tyear\n", "\tparent\n", r"moon\.tsv:1: expected distinct columns beginning with 'name'"),
    ],
)
def test_bad_facts_name_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MOONS
    with pytest.raises(DataError, match=message):
        load_tables(write(tmp_path, facts=MOONS.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{name} goes round {value}.",
            "{name} goes round.",
            r"moon\.toml:5: sentence without \{value\}: '\{name\} goes",
        ),
        ("{it} was first", "It was first", r"moon\.toml:10: sentence without \{name\} or \{it\}"),
        ("When was {name} found?", "When was it found?", r"moon\.toml:11: question without \{name\}"),
        ("When was {name} found?", "Was {name} found in {value}?", r"moon\.toml:11: question must not hold \{value\}"),
        ("found in {value}?", "found?", r"moon\.toml:12: reverse question without \{value\}"),
        ("found in {value}?", "found in {value} by {who}?", r"moon\.toml:12: reverse question must not hold \{who\}"),
        ("When was {name} found?", "What does {name} orbit?", r"moon\.toml:11: question already used for 'parent'"),
        ('label = "year of discovery"\n', "", r"moon\.toml:8: 'label' is missing"),
        (
            "reverse =",
            'refers_to = ["year"]\nreverse =',
            r"moon\.toml:8: refers_to 'year', which is no kind of the atlas",
        ),
        ("reverse =", "backwards =", r"moon\.toml:8: unknown key 'backwards'; known: label, questions"),
        ('["{it} was first seen in {value}."]', "[]", r"moon\.toml:8: needs at least one sentence and one question"),
        (
            "[attributes.year]",
            "[attributes.size]",
            r"attribute 'year' has no \[attributes\.size\]|attribute 'year' has no",
        ),
        ('noun = "moon"', 'noun = "moon', r"moon\.toml: not valid TOML: .*line 1"),
    ],
)
def test_bad_wording_names_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WORDING
    with pytest.raises(DataError, match=message):
        load_tables(write(tmp_path, wording=WORDING.replace(old, new)))


def test_a_wording_without_column_is_refused(tmp_path: Path) -> None:
    more = (
        WORDING
        + '\n[attributes.size]\nlabel = "size"\nsentences = ["{name}: {value}."]\nquestions = ["How big is {name}?"]\n'
    )
    with pytest.raises(DataError, match=r"moon\.toml:14: no column 'size' in .*moon\.tsv"):
        load_tables(write(tmp_path, wording=more))


def test_files_must_come_in_pairs(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "wording" / "river.toml").write_text(WORDING)
    with pytest.raises(DataError, match=r"river\.toml: has no facts/river\.tsv beside it"):
        load_tables(tmp_path)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of tables"):
        load_tables(tmp_path)
    for folder in ("facts", "wording"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=r"facts: no \.tsv file"):
        load_tables(tmp_path)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"moon\.tsv:3: not UTF-8"):
        load_tables(write(tmp_path, facts=MOONS.encode().replace(b"Titan", b"Tit\xffn")))


def test_doc_ids_are_plain() -> None:
    assert doc_id_of("country", "Côte d'Ivoire") == "country/cote-divoire"
    assert doc_id_of("moon", "Phobos (moon)") == "moon/phobos"
    assert doc_id_of("book", "Othello (opera)") == "book/othello-opera"
    assert doc_id_of("language", "C++") == "language/c-plus-plus"
    assert doc_id_of("city", "Łódź") == "city/lodz"


@pytest.mark.parametrize(
    ("template", "name", "value", "expected"),
    [
        ("{name} holds {value}.", "the Netherlands", "tulips", "The Netherlands holds tulips."),
        ("Its seat is {value}.", "", "Washington, D.C.", "Its seat is Washington, D.C."),
        ("Its painter made {value}.", "", "Whaam!", "Its painter made Whaam!"),
        ("The home of the {name} is {value}.", "the Uffizi", "Florence", "The home of the Uffizi is Florence."),
        ("{name} is a {value}.", "neon", "element", "Neon is an element."),
        ("{name} is an {value}.", "neon", "unit", "Neon is a unit."),
        ("{name}  means {value} .", "Ara", "altar", "Ara means altar ."),
        ("Is {name} {value}?", "iPod", "new", "Is iPod new?"),
    ],
)
def test_grammar(template: str, name: str, value: str, expected: str) -> None:
    assert fill(template, name, value) == expected


def test_articles_by_sound() -> None:
    an = ("eagle", "hour", "8-bit word", "11th moon", "unnamed moon", "ice giant", "urn")
    a = (
        "river",
        "unit",
        "European",
        "one-party state",
        "university",
        "useful thing",
        "110-metre tower",
        "uranium mine",
    )
    assert {indefinite(word) for word in an} == {"an"}
    assert {indefinite(word) for word in a} == {"a"}


def test_capitalise_leaves_the_rest_alone() -> None:
    assert capitalise("the moon Io") == "The moon Io"
    assert capitalise("") == ""
