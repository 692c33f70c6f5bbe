"""What a search's beams have written, as a tree: a cache of which nothing is copied that did not move.

All beams of a query grow from one tree of written tokens. `BeamTree` keeps that tree: each step gives every query one
new slot a beam, a key and a value are written into their slot once and stay there, and a beam sees the slots of its own
ancestors through a mask. Following a beam to its children therefore rewrites a mask, never the cache; and whatever all
beams of a query share exists once a query: its prompt, which is the tree's trunk, and the keys and values of its text in
cross-attention. Hugging Face's models reorder the whole cache at each step and keep a row of the text for every beam.

Known gaps: slots of other beams are masked, not skipped, so that after n steps a beam's attention goes over n * K slots,
of which n are its own: noticeable with 50 beams and a dozen tokens. A slot that no beam descends from any more is not
freed, and a query whose beams have all ended leaves its rows behind until half of them are empty.

Shape letters: Q texts, N live beams, K the most beams of a text, T prompt tokens, S slots of a text, H heads, G heads
with keys of their own, D width of a head.
"""

import torch
from torch import Tensor

from genir.beam_selection import places_in

_STEPS_IN_RESERVE = 8  # a slot is read in every step, and moved in every eighth


class BeamTree:
    """Who descends from whom, for the live beams of Q texts.

    texts (N,) and places (N,)   the text of each beam, and its place among that text's beams
    steps (S,)                   the step at which each slot was written; tokens of a prompt count as steps
    mask (Q, 1, K, S)            the slots that every beam sees; places without a beam see the first

    With `prompt` (Q, T), which is 1 at its tokens and 0 at padding, the first T slots are the prompts', and the first
    beams stand at their ends; without, they write the first slot themselves.
    """

    def __init__(self, num_texts: int, device: torch.device, prompt: Tensor | None = None) -> None:
        self.num_texts = num_texts
        self.texts = torch.arange(num_texts, device=device)
        self.places = torch.zeros_like(self.texts)
        self.width = 1
        first = torch.ones(num_texts, 1, device=device) if prompt is None else prompt
        self._sees = first.bool()  # (N, S)
        self.length = first.shape[1]  # tokens written, this step's included
        self.steps = torch.arange(self.length, device=device)
        self.mask = self._mask()
        self._bias: Tensor | None = None
        self.newest: Tensor | None = None  # the keys that a layer handed out last: self-attention reads these

    def follow(self, parents: Tensor) -> Tensor | None:
        """Go on with the beams that descend from `parents` (N,), rows of the present beams.

        Returns the texts (Q',) that remain, where more than half have left and the caches should drop them; else None.
        """
        self.texts, sees = self.texts[parents], self._sees[parents]
        remaining, dense = torch.unique_consecutive(self.texts, return_inverse=True)
        kept = None
        if 2 * len(remaining) <= self.num_texts:
            kept, self.texts, self.num_texts = remaining, dense, len(remaining)
        self.places = places_in(self.texts)
        self.width = int(self.places.max()) + 1
        own = self.places[:, None] == torch.arange(self.width, device=parents.device)
        self._sees = torch.cat([sees, own], 1)
        self.steps = torch.cat([self.steps, self.steps.new_full((self.width,), self.length)])
        self.length += 1
        self.mask = self._mask()
        return kept

    def _mask(self) -> Tensor:
        if self.num_texts * self.width == len(self.texts):
            return self._sees.view(self.num_texts, 1, self.width, -1)
        mask = self._sees.new_zeros(self.num_texts, self.width, len(self.steps))
        mask[..., 0] = True
        mask[self.texts, self.places] = self._sees
        return mask[:, None]

    def bias(self, heads: int, dtype: torch.dtype) -> Tensor:
        """`mask` as it is added to scores, for so many heads side by side: (Q, 1, heads * K, S).

        Made once a step, which its shape tells: S grows in every step.
        """
        wanted = (self.num_texts, 1, heads * self.width, len(self.steps))
        if self._bias is None or self._bias.shape != wanted or self._bias.dtype != dtype:
            lowest = (self.mask.to(dtype) - 1) * torch.finfo(dtype).max
            self._bias = lowest.expand(-1, heads, -1, -1).reshape(wanted)
        return self._bias

    def side_by_side(self, rows: Tensor) -> Tensor:
        """Rows (N, H, 1, D), one a beam, as positions (Q, H, K, D) of their texts; zeros where a text has fewer beams."""
        N, H, _, D = rows.shape
        if self.num_texts * self.width == N:
            return rows.view(self.num_texts, self.width, H, D).transpose(1, 2)
        grid = rows.new_zeros(self.num_texts, self.width, H, D)
        grid[self.texts, self.places] = rows[:, :, 0]
        return grid.transpose(1, 2)

    def as_rows(self, grid: Tensor) -> Tensor:
        """Positions (Q, K, H, D) as one row a beam, (N, 1, H, D)."""
        if self.num_texts * self.width == len(self.texts):
            return grid.reshape(len(self.texts), 1, *grid.shape[2:])
        return grid[self.texts, self.places][:, None]


class TreeLayer:
    """One layer's keys and values of a BeamTree; `prompt` holds those of its prompts, each (Q, G, T, D), if it has any."""

    def __init__(self, tree: BeamTree, prompt: tuple[Tensor, Tensor] | None = None) -> None:
        self.tree = tree
        self._keys: Tensor | None
        self._values: Tensor | None
        self._keys, self._values = prompt or (None, None)  # each (Q, G, slots in reserve, D)

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values (N, G, 1, D) of this step's beams; returns all of them so far, (Q, G, S, D)."""
        self._keys, self._values = self._write(self._keys, keys), self._write(self._values, values)
        S = len(self.tree.steps)
        self.tree.newest = self._keys[:, :, :S]
        return self.tree.newest, self._values[:, :, :S]

    def _write(self, store: Tensor | None, rows: Tensor) -> Tensor:
        """`store` with rows (N, G, 1, D) in this step's slots; a longer one where it has no room for them."""
        tree = self.tree
        S = len(tree.steps)
        if store is None or store.shape[2] < S:
            _, G, _, D = rows.shape
            longer = rows.new_empty(tree.num_texts, G, S + (_STEPS_IN_RESERVE - 1) * tree.width, D)
            if store is not None:
                longer[:, :, : store.shape[2]] = store
            store = longer
        store[:, :, S - tree.width : S] = tree.side_by_side(rows)
        return store

    def keep(self, texts: Tensor) -> None:
        """Drop all texts but these."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys[texts], self._values[texts]
