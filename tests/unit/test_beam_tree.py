"""BeamTree and its attention against a plain cache with a row for every beam, on random trees."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genir.models.beam_tree import BeamTree, TreeLayer

D = 4


class RowPerBeam:
    """Keys and values (N, G, S, D) and what is seen of them (N, S): a row for every beam, reordered at each step."""

    def __init__(self, keys: Tensor, values: Tensor, seen: Tensor) -> None:
        self.keys, self.values, self.seen = keys, values, seen

    def write(self, keys: Tensor, values: Tensor, parents: Tensor | None) -> None:
        if parents is not None:
            self.keys, self.values, self.seen = self.keys[parents], self.values[parents], self.seen[parents]
        self.keys, self.values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.seen = torch.nn.functional.pad(self.seen, (0, 1), value=True)

    def attend(self, query: Tensor, bias: Tensor | None = None) -> Tensor:
        """One position of every beam, query (N, H, 1, D): (N, 1, H, D). With a bias (1, H, 1, S) of the scores."""
        keys, values = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (self.keys, self.values))
        scores = query @ keys.transpose(2, 3) * D**-0.5
        scores = scores if bias is None else scores + bias
        weights = scores.masked_fill(~self.seen[:, None, None], -torch.inf).softmax(-1)
        attended: Tensor = (weights @ values).transpose(1, 2)
        return attended


@st.composite
def searches(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """A number of texts, and the parents of every step's beams: each text has 0 to 4 beams, and one text has some."""
    num_texts = draw(st.integers(1, 5))
    texts, steps = list(range(num_texts)), []
    for _ in range(draw(st.integers(1, 12))):
        parents: list[int] = []
        for text in sorted(set(texts)):
            rows = [row for row, owner in enumerate(texts) if owner == text]
            parents += draw(st.lists(st.sampled_from(rows), max_size=4))
        if not parents:
            break
        steps.append(parents)
        texts = [texts[row] for row in parents]
    return num_texts, steps


def prompts(num_texts: int, width: int, generator: torch.Generator) -> Tensor:
    """A mask (Q, T) with padding on the left: one token or more in each row."""
    padding = torch.randint(0, width, (num_texts, 1), generator=generator)
    return (torch.arange(width) >= padding).long()


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("position_bias", [False, True])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(search=searches(), width=st.integers(0, 5), seed=st.integers(0, 999))
def test_attention_to_a_tree_is_that_of_a_row_for_every_beam(
    heads: int, key_heads: int, position_bias: bool, search: tuple[int, list[list[int]]], width: int, seed: int
) -> None:
    from genir.models.beam_attention import beam_attention

    (num_texts, steps), generator = search, torch.Generator().manual_seed(seed)

    def rows(count: int, num_heads: int, length: int = 1) -> Tensor:
        return torch.randn(count, num_heads, length, D, generator=generator)

    def check(parents: Tensor | None) -> None:
        beams = num_texts if parents is None else len(parents)
        query, keys, values = rows(beams, heads), rows(beams, key_heads), rows(beams, key_heads)
        plain.write(keys, values, parents)
        bias = torch.randn(1, heads, 1, tree.length, generator=generator) if position_bias else None
        module: Any = SimpleNamespace(num_key_value_groups=heads // key_heads)
        slots = layer.update(keys, values)
        found, _ = beam_attention(module, query, *slots, tree.mask, position_bias=bias, beams=tree)
        assert torch.allclose(found, plain.attend(query, bias), atol=1e-5)

    prompt, held = prompts(num_texts, max(width, 1), generator), rows(2 * num_texts, key_heads, width).chunk(2)
    if width:
        tree = BeamTree(num_texts, prompt.device, prompt)
        layer, plain = TreeLayer(tree, (held[0], held[1])), RowPerBeam(held[0], held[1], prompt.bool())
    else:
        tree = BeamTree(num_texts, prompt.device)
        layer, plain = TreeLayer(tree), RowPerBeam(held[0], held[1], prompt[:, :0].bool())
        check(None)
    before = held[0].clone()
    for parents in steps:
        remaining = tree.follow(torch.tensor(parents))
        if remaining is not None:
            layer.keep(remaining)
        check(torch.tensor(parents))
    assert torch.equal(held[0], before)  # a prompt is copied, not written to


@settings(max_examples=40, deadline=None, derandomize=True)
@given(search=searches(), seed=st.integers(0, 999))
def test_texts_are_read_by_their_own_beams(search: tuple[int, list[list[int]]], seed: int) -> None:
    """Cross-attention: the keys of each text (Q, G, T, D), of which a part is padding."""
    from genir.models.beam_attention import beam_attention

    (num_texts, steps), generator = search, torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, num_texts, 2, 5, D, generator=generator)
    seen, owner = prompts(num_texts, 5, generator).bool(), torch.arange(num_texts)
    tree, kept = BeamTree(num_texts, owner.device), torch.arange(num_texts)
    for step in steps:
        parents = torch.tensor(step)
        remaining, owner = tree.follow(parents), owner[parents]
        kept = kept if remaining is None else kept[remaining]
        query = torch.randn(len(owner), 4, 1, D, generator=generator)
        expected = RowPerBeam(keys[owner], values[owner], seen[owner]).attend(query)
        mask = seen[kept][:, None, None]
        found, _ = beam_attention(None, query, keys[kept], values[kept], mask, beams=tree)
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_prompt_of_one_token_is_how_every_search_begins() -> None:
    begun, prompted = BeamTree(3, torch.device("cpu")), BeamTree(3, torch.device("cpu"), torch.ones(3, 1))
    for tree in (begun, prompted):
        tree.follow(torch.tensor([0, 0, 2]))
    assert torch.equal(begun.mask, prompted.mask)
    assert begun.steps.tolist() == prompted.steps.tolist() == [0, 1, 1]
    assert begun.length == prompted.length == 2


def test_steps_name_the_place_of_every_slot_in_its_sequence() -> None:
    tree = BeamTree(2, torch.device("cpu"), torch.tensor([[0, 1, 1], [1, 1, 1]]))
    assert tree.follow(torch.tensor([0, 0, 1])) is None
    assert tree.follow(torch.tensor([1, 2, 2, 2])) is None
    assert tree.steps.tolist() == [0, 1, 2, 3, 3, 4, 4, 4]
    assert tree.mask.int().tolist() == [
        [[[0, 1, 1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]],  # the last two: no beam
        [[[1, 1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0, 0, 1]]],
    ]


def test_texts_are_dropped_when_half_have_ended() -> None:
    tree = BeamTree(4, torch.device("cpu"), torch.ones(4, 2))
    layer = TreeLayer(tree, (torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, D),) * 2)
    assert tree.follow(torch.tensor([0, 1, 3])) is None
    remaining = tree.follow(torch.tensor([1, 2, 2]))
    assert remaining is not None
    assert remaining.tolist() == [1, 3]
    layer.keep(remaining)
    keys, _ = layer.update(torch.zeros(3, 1, 1, D), torch.zeros(3, 1, 1, D))
    assert keys[:, 0, 0, 0].tolist() == [1.0, 3.0]
    assert (tree.num_texts, tree.texts.tolist(), tree.places.tolist()) == (2, [0, 1, 1], [0, 0, 1])
