"""Templates and rows -> sentences, questions and articles.

Invariants: a sentence states its value exactly as the table has it, so that an answer can be found by plain search;
an article names its entity before it says "it" or "the river"; everything drawn at random is drawn from a generator
seeded by the row, so that one row's article does not depend on the others (links apart).
"""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.atlas.tables import Kind, Row, Wording
from genir.errors import DataError

MAX_SENTENCES = 8
BY_NOUN = 0.25  # how often a later sentence says "the river" for the name
_INTRODUCTIONS = (
    "This article is about {name}{apposition}.",
    "The subject of this article is {name}{apposition}.",
    "Here are some facts about {name}{apposition}.",
    "What follows is a short account of {name}{apposition}.",
    "The {noun} described here is {name}.",
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an article and the fact in it: about `doc_id`, which a linking sentence borrows from another row.

    `attribute` is empty where the sentence only introduces the entity.
    """

    text: str
    doc_id: str
    attribute: str = ""


def seeded(seed: int, purpose: str, key: str) -> random.Random:
    """A generator of its own for each purpose and key, the same on every machine."""
    return random.Random(f"{seed}/{purpose}/{key}")


def share_of(purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments: for splits that stay when rows are added."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{key}".encode()).digest()[:8], "big") / 2**64


def capitalise(text: str) -> str:
    """The first character in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def indefinite(phrase: str) -> str:
    """ "a" or "an", by the sound that a phrase begins with."""
    word = phrase.lower()
    if re.match(r"8|1[18](?!\d)|hour|honest|heir", word):
        return "an"
    sounds_like_a_consonant = re.match(r"uni[^nm]|u\.|ura|uta|ubi|eu|one\b|once|us[ea]", word)
    return "an" if word[:1] in tuple("aeiou") and not sounds_like_a_consonant else "a"


def fill(template: str, name: str, value: str = "", it: str = "") -> str:
    """A template with its placeholders replaced, "a" or "an" made to fit, spaces and stops tidied, a capital first."""
    for placeholder, text in (("{value}", value), ("{name}", name)):
        article = "n " if indefinite(text) == "an" else " "
        template = re.sub(rf"\b([Aa])n? (?={placeholder})", rf"\g<1>{article}", template)
    text = template.replace("{it}", it or name).replace("{name}", name).replace("{value}", value)
    text = re.sub(r"\b([Tt]he) the\b", r"\1", " ".join(text.split()))
    return capitalise(re.sub(r"([.!?])\.+", r"\1", text))


def state(row: Row, attribute: str, wording: Wording, rng: random.Random, first: bool = True) -> Sentence:
    """One sentence that states a fact; `first` where the entity has not been named yet.

    Raises DataError where every wording would change the value (by a capital at the sentence's start).
    """
    value = row.values[attribute][0]
    for template in rng.sample(wording.attributes[attribute].sentences, len(wording.attributes[attribute].sentences)):
        name = row.mention if first or rng.random() >= BY_NOUN else refer(wording, template) or row.mention
        text = fill(template, name, value, it=row.mention if first else refer(wording, ""))
        if value in text:
            return Sentence(text, row.doc_id, attribute)
    raise DataError(f"{row.where}: no wording of {attribute!r} keeps the value {value!r} as it stands")


def refer(wording: Wording, template: str) -> str:
    """What stands for the name once it has been given: "the river"; empty where the template says "river" itself."""
    return "" if wording.head[:4] in template.lower() else f"the {wording.noun}"


def introduce(row: Row, wording: Wording, rng: random.Random) -> Sentence:
    """The opening sentence, which says what kind of thing the article is about."""
    told = wording.head in row.mention.lower()
    template = rng.choice([each for each in _INTRODUCTIONS if not (told and "{noun}" in each)])
    apposition = "" if told else f", {indefinite(wording.noun)} {wording.noun}"
    template = template.replace("{apposition}", apposition).replace("{noun}", wording.noun)
    return Sentence(fill(template, row.mention), row.doc_id)


def compose(row: Row, kind: Kind, stated: Sequence[str], links: Sequence[Sentence], seed: int) -> tuple[Sentence, ...]:
    """The article of a row: an introduction, its stated attributes in a shuffled order, then what other rows say of it.

    Two to seven facts and at most one link make three to eight sentences; long articles may lack an introduction.
    """
    rng = seeded(seed, "article", row.doc_id)
    order = list(stated)
    rng.shuffle(order)
    sentences: list[Sentence] = []
    if len(order) < 4 or rng.random() < 0.8:
        sentences.append(introduce(row, kind.wording, rng))
    for attribute in order:
        sentences.append(state(row, attribute, kind.wording, rng, first=not sentences))
    if links and len(sentences) < MAX_SENTENCES:
        sentences.append(rng.choice(list(links)))
    return tuple(sentences)
