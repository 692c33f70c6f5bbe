"""The Protocols that the floors of the house meet at, each of one to three methods.

Shape letters: B queries, K beams, N = any number of beams, F = the widest fan-out among them, L = identifier length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch

from genir.records import DocIDTokens, Document, Query, Run

# How next-token logits become a beam's score: log-softmax over the whole vocabulary (Hugging Face's way), log-softmax over the
# allowed continuations only, or the plain sum of logits (a ranking score: RIPOR, Zeng et al. 2024).
Scoring = Literal["vocabulary", "allowed", "logits"]


@runtime_checkable
class DocIDMap(Protocol):
    """Both directions between doc_ids and identifiers; several documents under one identifier are legal and explicit."""

    def tokens_of(self, doc_id: str) -> DocIDTokens:
        """The identifier of a document."""
        ...

    def documents_of(self, tokens: DocIDTokens) -> tuple[str, ...]:
        """The documents under an identifier, in corpus order; empty where the identifier was never assigned."""
        ...


@runtime_checkable
class DocIDScheme(Protocol):
    """A way to give every document an identifier. Constructors store parameters; `assign` does the work."""

    @property
    def name(self) -> str:
        """What tables and run files call it."""
        ...

    def assign(self, corpus: Sequence[Document]) -> DocIDMap:
        """Identifiers for the whole corpus."""
        ...


class Constraint(Protocol):
    """A frozen set of identifiers that beams walk along, each beam carrying one int (its node).

    All methods take and return tensors on the constraint's device, for any number of beams at once.
    """

    def start(self, size: int) -> torch.Tensor:
        """Shape (size,), int64: the node in front of every identifier, once for each beam."""
        ...

    def children(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Legal continuations of nodes (N,): tokens (N, F) int64, child nodes (N, F) int64, mask (N, F) bool.

        Tokens ascend within a row; masked-out places hold token 0 and node 0. F is at least 1.
        """
        ...

    def leaf(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, int64: the number of the identifier that ends at each node, or -1."""
        ...

    def continues(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, bool: whether any identifier goes on behind each node (true of some leaves, too)."""
        ...

    def settled(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, bool: whether what remains to be written is certain.

        That is: exactly one identifier lies behind the node, and none ends at it.
        """
        ...


class NextToken(Protocol):
    """The model's half of the search: scores of the next identifier token for every live beam."""

    def __call__(
        self, tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits after the beams' last tokens (N,): (N, V), or (N, F) of the tokens `allowed` (N, F) where these are named.

        `parents` (N,) names, for every live beam, its row in the previous call (None at the first call, which has one row a
        query and ignores `tokens`), so that a cache follows once a step. Rows of one query are adjacent and in order; a
        beam that is missing is never asked for again. What is named in `allowed` need not be distinct. The result is the
        caller's to write into.
        """
        ...


@dataclass(frozen=True, slots=True)
class SplitScores:
    """What a model says of B texts, where the logit of token c behind a prefix is by_token[c] + correction(prefix)[c].

    The first part is the same wherever a token stands, so that what it gives whole identifiers is a sum known beforehand.
    """

    by_token: torch.Tensor  # (B, V), float32
    correction: NextToken
    states: torch.Tensor  # (B, T, D), float32: the encoder's, of T text tokens


class IdentifierModel(Protocol):
    """A model that reads text and writes identifiers.

    It speaks identifier tokens (0 <= token < vocab_size), never vocabulary ids of its own, so that constraints and search
    are the same for every architecture.
    """

    vocab_size: int
    end_token: int | None  # written behind every identifier, or None where identifiers end by themselves
    scoring: Scoring  # how its logits become scores

    def begin(self, texts: Sequence[str]) -> NextToken:
        """Encode B texts once; the result scores one identifier token a call for all live beams."""
        ...

    def score(self, texts: Sequence[str], identifiers: Sequence[DocIDTokens]) -> torch.Tensor:
        """Shape (B, M): every text against every whole identifier (end token included by the model), teacher-forced.

        The exhaustive reference: beam search with nothing pruned must give the same figures.
        """
        ...


class SplitModel(IdentifierModel, Protocol):
    """A model whose logits are a sum of what each token says by itself, and of what its prefix adds."""

    def begin_split(self, texts: Sequence[str]) -> SplitScores:
        """`begin`, with the two parts of the logits apart."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """Everything that answers `search`."""

    @property
    def name(self) -> str:
        """What tables and run files call it."""
        ...

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, best first, ties broken by doc_id; batch first; changes no configuration."""
        ...


@runtime_checkable
class IdentifierWriter(Protocol):
    """A retriever that finds documents by writing their identifiers, and can show them."""

    def written(self, doc_ids: Sequence[str]) -> Mapping[str, tuple[DocIDTokens, str]]:
        """doc_id -> (docid_tokens, the same in words), for those documents that have an identifier."""
        ...


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to generate. `temperature` 0 is greedy; `num_beams` above 1 is beam search, which takes no temperature.

    `logprobs` False leaves `Generation.logprobs` empty and saves a softmax a token; `ignore_eos` writes max_new_tokens always
    (benchmarks need equal lengths); `length_penalty` divides a beam's score by length ** length_penalty.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    repetition_penalty: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
    logprobs: bool = True
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion: its text, token ids, their log-probabilities (nats), and why it ended ("stop" or "length")."""

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: str = "stop"


@runtime_checkable
class Generator(Protocol):
    """Anything that continues prompts."""

    @property
    def name(self) -> str:
        """What tables and run files call it."""
        ...

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """One generation a prompt, in order."""
        ...

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The same text as `generate`, in pieces as they come."""
        ...


@runtime_checkable
class GenerationStreamer(Protocol):
    """A generator whose stream ends with the generation itself, so that its log-probabilities need no second one."""

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The pieces of `stream`, then what `generate` gives."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """A generator that can tell how long a text is for it; its prompts are packed by that, others' by words."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, special ones included."""
        ...

    def context_length(self) -> int | None:
        """Most tokens of a prompt with its answer; None where nothing says so."""
        ...
