"""The parts of a fast search: projection of allowed tokens only, and the twin of a network."""

from typing import Any

import pytest
import torch
from torch import nn

from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.devices import autocast
from genir.errors import DataError
from genir.models.projection import project
from genir.models.search_twin import SearchTwin
from genir.models.seq2seq import Seq2SeqModel
from tests.unit.test_seq2seq import IDENTIFIERS, TEXTS, build


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("allowed", [[[1, 2], [3, 3]], [list(range(12)), list(range(11, -1, -1))]], ids=["few", "many"])
def test_allowed_tokens_are_projected_like_all(allowed: list[list[int]], bias: bool) -> None:
    torch.manual_seed(0)
    head, hidden, tokens = nn.Linear(4, 12, bias=bias), torch.randn(2, 4), torch.tensor(allowed)
    whole = project(hidden, head.weight, None, head.bias)
    assert torch.equal(whole, head(hidden))
    assert torch.allclose(project(hidden, head.weight, tokens, head.bias), whole.gather(1, tokens), atol=1e-6)


def test_few_logits_stay_in_float32_under_autocast() -> None:
    """Rounded to bfloat16, neighbours would tie and the order of the tokens would decide."""
    hidden, weight = torch.tensor([[1.0, 0.001]]), torch.tensor([[8.0, 0.0], [8.0, 1.0], *[[0.0, 0.0]] * 20])
    with autocast(torch.device("cpu"), "bfloat16"):
        few = project(hidden, weight, torch.tensor([[0, 1]]))
    assert few[0, 1] > few[0, 0]


def test_a_token_that_the_model_does_not_have() -> None:
    with pytest.raises(DataError, match="holds token 40, but the model writes tokens 0 to 6 only"):
        project(torch.zeros(1, 2), torch.zeros(7, 2), torch.tensor([[40]]))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_twin_gives_the_same_and_shares_what_is_no_matrix(bfloat16: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3), nn.Linear(3, 5, bias=False)).eval()
    tokens = torch.arange(5)
    twin = SearchTwin().of(network, bfloat16)
    assert twin[0].weight is network[0].weight
    assert twin[1].weight is network[1].weight
    assert twin[2].weight.dtype == twin[3].weight.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
    with torch.inference_mode(), autocast(torch.device("cpu"), "bfloat16" if bfloat16 else "float32"):
        assert torch.allclose(twin(tokens).float(), network(tokens).float(), atol=1e-2 if bfloat16 else 1e-6)
        assert torch.allclose(twin(tokens.view(5, 1)).float()[:, 0], twin(tokens).float())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_twin_follows_its_network(bfloat16: bool) -> None:
    network, twins, one = nn.Sequential(nn.Linear(2, 2)), SearchTwin(), torch.ones(1, 2)

    def same() -> bool:
        with torch.inference_mode(), autocast(torch.device("cpu"), "bfloat16" if bfloat16 else "float32"):
            return torch.allclose(twins.of(network, bfloat16)(one).float(), network(one).float(), atol=1e-2)

    first = twins.of(network, bfloat16)
    assert twins.of(network, bfloat16) is first
    assert twins.of(network, not bfloat16) is not first
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(one).sum().backward()
    optimizer.step()
    assert same()
    network.load_state_dict(nn.Sequential(nn.Linear(2, 2)).state_dict())
    assert same()
    network[0].weight.data.mul_(1.5)  # which torch does not count
    assert same()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_search_sees_what_a_fused_optimiser_did(precision: Any) -> None:
    model = build()
    model.precision = precision
    before = model.begin(TEXTS)(torch.zeros(3), None, None)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model.step_logits(*model.pad(model.tokenize(TEXTS)), torch.zeros(3, 1, dtype=torch.int64)).sum().backward()
    optimizer.step()
    after = model.begin(TEXTS)(torch.zeros(3), None, None)
    fresh = SearchTwin()
    model._twin = fresh
    assert not torch.allclose(after, before, atol=1e-2)
    assert torch.equal(model.begin(TEXTS)(torch.zeros(3), None, None), after)


def ranked(model: Seq2SeqModel, precision: str) -> list[dict[tuple[int, ...], float]]:
    model.precision = precision  # type: ignore[assignment]
    tree = PrefixTree.build([(*identifier, model.end_token) for identifier in IDENTIFIERS])
    found = beam_search(model.begin(TEXTS), tree, len(TEXTS), 20, scoring="allowed")
    return [{hypothesis.tokens: hypothesis.score for hypothesis in row} for row in found]


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_bfloat16_scores_lie_near_those_in_float32(kind: str, own_tokens: bool) -> None:
    model = build(kind, own_tokens)
    for exact, rounded in zip(ranked(model, "float32"), ranked(model, "bfloat16"), strict=True):
        assert rounded == pytest.approx(exact, rel=0.05, abs=0.1)
        assert rounded != exact  # the fast path was taken


@pytest.mark.parametrize("kind", ["mt5", "mbart", "pegasus", "marian", "m2m_100", "blenderbot"])
def test_other_encoder_decoders_search_as_they_score(kind: str) -> None:
    """Their outputs are scaled and biased in ways of their own; some bring their own attention."""
    import transformers

    torch.manual_seed(0)
    names = {"mt5": "MT5", "mbart": "MBart", "pegasus": "Pegasus", "marian": "Marian", "m2m_100": "M2M100"}
    name = names.get(kind, "Blenderbot")
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 64}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    widths = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "init_std": 0.4}
    tokens = {"vocab_size": 15, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2}
    config = getattr(transformers, f"{name}Config")(**tokens, **(shape if kind == "mt5" else shape | layers | widths))
    class_name = f"{name}MTModel" if kind == "marian" else f"{name}ForConditionalGeneration"
    model = build(own_tokens=False)
    network = getattr(transformers, class_name)(config).eval()
    model = Seq2SeqModel(network, model.tokenizer, model.config, None, None).eval()
    with torch.inference_mode():
        input_ids, mask = model.pad(model.tokenize(TEXTS))
        start = torch.full((len(TEXTS), 1), 2)
        whole = network(input_ids=input_ids, attention_mask=mask, decoder_input_ids=start).logits[:, 0]
    assert torch.allclose(model.begin(TEXTS)(start[:, 0], None, None), whole, atol=1e-5)
    tree = PrefixTree.build([(*identifier, 1) for identifier in IDENTIFIERS])
    found = beam_search(model.begin(TEXTS), tree, len(TEXTS), 20, scoring="vocabulary")
    for row, scores in zip(found, model.score(TEXTS, IDENTIFIERS).tolist(), strict=True):
        expected = {(*identifier, 1): score for identifier, score in zip(IDENTIFIERS, scores, strict=True)}
        assert {hypothesis.tokens: hypothesis.score for hypothesis in row} == pytest.approx(expected, abs=1e-4)
