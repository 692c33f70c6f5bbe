"""What the engine did: seconds busy a stage, tokens, cache. Plain values for benchmarks and reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """The paged cache. `bytes` is of all stages; `waste` is the mean share of allocated slots that held nothing."""

    blocks: int
    block_size: int
    bytes: int
    free: int
    shared_tokens: int
    waste: float


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Since the start or the last reset; tuples have one entry a stage, times are in seconds."""

    wall: float
    prefill_busy: tuple[float, ...]
    decode_busy: tuple[float, ...]
    micro_batches: int
    generated_tokens: int
    prefill_tokens: int
    preemptions: int
    weights_bytes_read: tuple[int, ...]
    cache: CacheStatistics

    @property
    def busy(self) -> tuple[float, ...]:
        """Seconds computing."""
        return tuple(a + b for a, b in zip(self.prefill_busy, self.decode_busy, strict=True))

    @property
    def utilisation(self) -> tuple[float, ...]:
        """Share of the time each stage computed."""
        return tuple(busy / self.wall for busy in self.busy)
