"""Names and settings that users type."""

from pathlib import Path

import pytest

from docids.residual import ResidualScheme
from experiments.registry import SCHEMES, make_scheme, model_loaders, parse_settings, scheme_classes
from genir.errors import ConfigError
from genir.protocols import DocIDScheme


def test_settings_are_toml_values_and_bare_words_are_strings() -> None:
    pairs = [
        "levels=4",
        "rate=.5",
        "distinct=false",
        'tokenizer="t5-small"',
        "tokenizer2=t5-small",
        "kinds=[1, 2]",
        "a=b=c",
        "x=",
    ]
    assert parse_settings(pairs) == {
        **{"levels": 4, "rate": ".5", "distinct": False, "tokenizer": "t5-small", "tokenizer2": "t5-small"},
        **{"kinds": [1, 2], "a": "b=c", "x": ""},
    }
    assert parse_settings([]) == {}


@pytest.mark.parametrize("pair", ["levels", "=4", ""])
def test_a_setting_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match=r"expected KEY=VALUE, e\.g\. levels=4"):
        parse_settings([pair])


def test_every_name_stands_for_something() -> None:
    assert set(SCHEMES) == set(scheme_classes())
    assert set(model_loaders()) == {"causal", "code_decoder", "seq2seq"}
    for name in SCHEMES:
        made = make_scheme(name, {}, "an encoder", None)
        assert isinstance(made, DocIDScheme)
        assert made.name == name


def test_schemes_that_embed_get_the_encoder_and_its_cache(tmp_path: Path) -> None:
    made = make_scheme("residual", {"levels": 3}, "an encoder", tmp_path)
    assert isinstance(made, ResidualScheme)
    assert (made.levels, made.encoder.name, made.encoder.cache_dir) == (3, "an encoder", tmp_path)


def test_the_command_line_names_the_default_encoder_of_the_library() -> None:
    from experiments.commands import options as cli_options
    from genir import embedding

    assert cli_options.DEFAULT_ENCODER == embedding.DEFAULT_ENCODER
