"""Messages for the user: what we got, what we expected, what to do."""

import pytest

from genir.errors import ArtefactError, ConfigError, DataError, GenirError, MissingExtraError, unknown_name


def test_a_missing_extra_says_what_to_install() -> None:
    error = MissingExtraError("faiss", "dense", "dense retrieval")
    assert str(error) == "dense retrieval needs faiss, which is not installed: pip install 'genir[dense]'"


@pytest.mark.parametrize("name", ["heirarchical", "Hierarchical", "HIERARCHICAL"])
def test_the_nearest_name_is_suggested_whatever_its_case(name: str) -> None:
    error = unknown_name("scheme", name, {"title", "hierarchical", "atomic"})
    expected = f"unknown scheme {name!r}: did you mean 'hierarchical'? known: atomic, hierarchical, title"
    assert str(error) == expected
    assert isinstance(error, ConfigError)


def test_a_name_like_none_gets_the_list_only() -> None:
    assert str(unknown_name("scheme", "xyz", ["title"])) == "unknown scheme 'xyz': known: title"


@pytest.mark.parametrize("kind", [DataError, ConfigError, ArtefactError, MissingExtraError])
def test_the_command_line_can_catch_them_all(kind: type[Exception]) -> None:
    assert issubclass(kind, GenirError)
