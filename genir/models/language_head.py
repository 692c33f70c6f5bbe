"""What a causal language model does between its decoder's last states and its logits."""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def has_plain_head(network: Any) -> bool:
    """Whether a network's logits are its output embedding times its decoder's last states, and nothing more.

    Some networks scale the states before, or scale or cap the logits afterwards. Two forward passes of one token, in
    which known numbers stand for the product, show both.
    """
    head = network.get_output_embeddings()
    if type(head) is not nn.Linear:
        return False
    read: list[Tensor] = []

    def answer(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        read.append(inputs[0])
        return _known_numbers(output)

    token = torch.zeros(1, 1, dtype=torch.int64, device=head.weight.device)
    options = {"input_ids": token, "attention_mask": torch.ones_like(token), "use_cache": False}
    training = network.training
    network.eval()
    hook = head.register_forward_hook(answer)
    try:
        logits = network(**options).logits
        states = network.get_decoder()(**options).last_hidden_state
    finally:
        hook.remove()
        network.train(training)
    return torch.equal(logits, _known_numbers(logits)) and torch.equal(read[0], states)


def _known_numbers(like: Tensor) -> Tensor:
    """Whole numbers from -100 to 100, exact in every precision."""
    numbers = torch.arange(like.numel(), device=like.device) % 201 - 100
    return numbers.to(like.dtype).view_as(like)
