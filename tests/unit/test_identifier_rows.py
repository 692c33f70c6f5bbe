"""Identifiers as rows of one tensor."""

import torch

from genir.identifier_rows import IGNORED, TokenSums, pad_identifiers


def test_identifiers_are_filled_up() -> None:
    assert pad_identifiers([(1,), (1, 2)], 9).tolist() == [[1, 9, IGNORED], [1, 2, 9]]
    assert pad_identifiers([(1,), (1, 2)], None).tolist() == [[1, IGNORED], [1, 2]]


def test_sums_by_hand() -> None:
    by_token = torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    sums = TokenSums.of(torch.tensor([[0, 1, 1], [2, IGNORED, IGNORED]]))(by_token)
    assert sums.tolist() == [[21.0, 100.0], [42.0, 200.0]]


def test_sums_carry_gradients() -> None:
    by_token = torch.zeros(2, 3, requires_grad=True)
    TokenSums.of(torch.tensor([[0, 1, 1]]))(by_token).sum().backward()  # type: ignore[no-untyped-call]
    assert by_token.grad is not None
    assert by_token.grad.tolist() == [[1, 2, 0]] * 2
