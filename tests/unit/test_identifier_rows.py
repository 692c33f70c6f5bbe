"""Identifiers as rows of one tensor."""

import torch

from genir.identifier_rows import IGNORED, pad_identifiers, sums_of_tokens


def test_identifiers_are_filled_up() -> None:
    assert pad_identifiers([(1,), (1, 2)], 9).tolist() == [[1, 9, IGNORED], [1, 2, 9]]
    assert pad_identifiers([(1,), (1, 2)], None).tolist() == [[1, IGNORED], [1, 2]]


def test_sums_by_hand() -> None:
    by_token = torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    sums = sums_of_tokens(by_token, torch.tensor([[0, 1, 1], [2, IGNORED, IGNORED]]))
    assert sums.tolist() == [[21.0, 100.0], [42.0, 200.0]]
