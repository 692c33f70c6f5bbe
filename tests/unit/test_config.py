"""A configuration is read exactly, or refused with the reason."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from experiments.joint.settings import JointConfig
from experiments.quality.config import QualityConfig
from experiments.training.model_config import ModelConfig
from experiments.training.terms import TermConfig
from genir.config import from_mapping, load_toml
from genir.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    levels: int = 8
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")


@dataclass(frozen=True)
class Outer:
    name: str
    backend: Literal["bm25s", "rank-bm25"] = "bm25s"
    sizes: tuple[int, ...] = (1, 2)
    limit: int | None = None
    quick: bool = False
    inner: Inner = field(default_factory=Inner)
    several: tuple[Inner, ...] = ()


def test_nested_tables_become_nested_dataclasses() -> None:
    values = {"name": "x", "sizes": [3], "limit": None, "inner": {"levels": 2, "rate": 1}, "several": [{"levels": 3}]}
    found = from_mapping(Outer, values, "a.toml")
    assert found == Outer("x", sizes=(3,), inner=Inner(2, 1.0), several=(Inner(3),))
    assert isinstance(found.inner.rate, float)


@dataclass(frozen=True)
class Tuned:
    inner: Inner = field(default_factory=lambda: Inner(levels=3, rate=0.7))
    outer: Outer = field(default_factory=lambda: Outer("y", sizes=(5,), inner=Inner(levels=4, rate=0.9)))
    maybe: Inner | None = Inner(levels=5)
    none: Inner | None = None


def test_a_nested_table_lies_over_the_default_of_its_field() -> None:
    values = {
        "inner": {"levels": 2},
        "outer": {"quick": True, "inner": {"rate": 0.5}},
        "maybe": {"rate": 0.2},
        "none": {"rate": 0.3},
    }
    assert from_mapping(Tuned, values, "a.toml") == Tuned(
        Inner(2, 0.7), Outer("y", sizes=(5,), quick=True, inner=Inner(4, 0.5)), Inner(5, 0.2), Inner(8, 0.3)
    )
    assert from_mapping(Tuned, {"inner": {}, "outer": {}}, "a.toml") == Tuned()


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (TermConfig, {"training": {"epochs": 1}}),
        (TermConfig, {"examples": {"title_weight": 0.5}}),
        (ModelConfig, {"search": {"batch_size": 8}}),
        (JointConfig, {"causal": {"llama": {"num_hidden_layers": 3}}}),
        (JointConfig, {"causal": {"max_text_tokens": 40}}),
        (JointConfig, {"examples": {"title_weight": 0.5}}),
        (QualityConfig, {"terms": {"training": {"epochs": 1}}}),
    ],
)
def test_a_partial_table_changes_nothing_but_what_it_names(cls: type, values: dict[str, object]) -> None:
    """As when `[training] epochs = 1` threw away a stage's own learning rate."""

    def laid_over(plain: dict[str, object], change: dict[str, object]) -> dict[str, object]:
        return plain | {
            key: laid_over(plain[key], value) if isinstance(value, dict) else value  # type: ignore[arg-type]
            for key, value in change.items()
        }

    assert asdict(from_mapping(cls, values, "a.toml")) == laid_over(asdict(cls()), values)


def test_what_is_left_out_keeps_its_default() -> None:
    assert from_mapping(Outer, {"name": "x"}, "a.toml") == Outer("x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": "x"}, "a.toml: unknown key 'nmae': did you mean 'name'? known: backend, inner, limit, name"),
        ({"name": "x", "inner": {"levls": 2}}, "a.toml inner: unknown key 'levls': did you mean 'levels'?"),
        ({}, "a.toml: the key 'name' is missing"),
        ({"name": 3}, "a.toml name: expected str, got 3"),
        ({"name": "x", "limit": "many"}, "a.toml limit: expected int, got 'many'"),
        ({"name": "x", "limit": True}, "a.toml limit: expected int, got True"),
        ({"name": "x", "quick": 1}, "a.toml quick: expected bool, got 1"),
        ({"name": "x", "sizes": 3}, "a.toml sizes: expected a list, got 3"),
        ({"name": "x", "sizes": [1, "two"]}, "a.toml sizes: expected int, got 'two'"),
        ({"name": "x", "inner": 3}, "a.toml inner: expected a table, got 3"),
        ({"name": "x", "inner": {"rate": float("nan")}}, "a.toml inner rate: expected a finite number, got nan"),
        ({"name": "x", "inner": {"rate": "fast"}}, "a.toml inner rate: expected float, got 'fast'"),
        ({"name": "x", "backend": "bm25"}, "a.toml backend: unknown value 'bm25': did you mean"),
        ({"name": "x", "inner": {"levels": 0}}, "a.toml inner: levels must be at least 1, got 0"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, values, "a.toml")
    assert message in str(caught.value)


def test_toml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "é"\n[inner]\nlevels = 2\n', encoding="utf-8")
    assert load_toml(path) == {"name": "é", "inner": {"levels": 2}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.toml: no such configuration file"),
        (b"name = \n", r"a\.toml: not valid TOML: .*line 1"),
        (b"name = '\xe9'", r"a\.toml: not valid TOML: .*utf-8"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_toml(tmp_path / "a.toml")
