"""Rank over symbols in flat arrays: bits with counts, and a wavelet matrix made of them.

A wavelet matrix (Claude, Navarro and Ordóñez 2015, "The wavelet matrix") keeps a sequence of symbols as one bit vector a
binary digit, the highest first; behind each digit the sequence is sorted stably by it. The occurrences of a symbol
before a position are then found in as many steps as symbols have digits, and the distinct symbols of a range by
following both halves of it, as long as they are not empty. All questions are answered for many positions or ranges at
once, a digit at a time.

Bits stand in words of 64, and `counts` holds the ones in front of each word: 12 bytes for 64 bits. Immutable. Arrays may
be memory-mapped; positions run from 0 to the length, both included. Everything is numpy on the CPU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, Any]


def pack_bits(bits: Ints) -> tuple[Ints, Ints]:
    """Words (W,) uint64 of bits (n,), and the ones before each word (W,) int32; there is a word for position n, too."""
    W = len(bits) // 64 + 1
    padded = np.zeros(W * 64, bool)
    padded[: len(bits)] = bits
    words = np.packbits(padded, bitorder="little").view("<u8")
    counts = np.zeros(W, np.int32)
    np.cumsum(np.bitwise_count(words[:-1]), out=counts[1:])
    return words, counts


def ones_before(words: Ints, counts: Ints, positions: Ints) -> Ints:
    """How many bits are set before each of `positions` (int64), same shape."""
    blocks = positions >> 6
    below = (np.uint64(1) << (positions & 63).astype(np.uint64)) - np.uint64(1)
    ones: Ints = np.bitwise_count(words[blocks] & below) + counts[blocks].astype(np.int64)
    return ones


@dataclass(frozen=True, slots=True, eq=False)
class RankedBits:
    """A set of positions that answers how many of it lie before a position."""

    words: Ints  # (W,) uint64
    counts: Ints  # (W,) int32

    @classmethod
    def build(cls, bits: Ints) -> "RankedBits":
        """The positions where `bits` (n,) is true."""
        return cls(*pack_bits(bits))

    def before(self, positions: Ints) -> Ints:
        """How many of the set lie before each of `positions`."""
        return ones_before(self.words, self.counts, positions)

    def __getitem__(self, positions: Ints) -> Ints:
        words: Ints = self.words[positions >> 6] >> (positions & 63).astype(np.uint64)
        return (words & np.uint64(1)).astype(bool)


@dataclass(frozen=True, slots=True, eq=False)
class WaveletMatrix:
    """A sequence of n symbols below `sigma` that answers rank for any of them. Make one with `build`.

    words  (digits, W) uint64   the bits of each digit, highest first
    counts (digits, W) int32    ones before each word, within its digit
    zeros  (digits,)   int64    zeros of each digit
    first  (sigma,)    int64    where each symbol's occurrences begin behind the last digit
    """

    words: Ints
    counts: Ints
    zeros: Ints
    first: Ints

    @classmethod
    def build(cls, symbols: Ints, sigma: int) -> "WaveletMatrix":
        """From symbols (n,), each in 0 .. sigma - 1. O(n log sigma)."""
        digits = max((sigma - 1).bit_length(), 1)
        packed, zeros = [], []
        order, alphabet = symbols, np.arange(sigma)
        for digit in reversed(range(digits)):
            bits = (order >> digit & 1).astype(bool)
            packed.append(pack_bits(bits))
            zeros.append(len(bits) - int(bits.sum()))
            order = np.concatenate([order[~bits], order[bits]])
            high = (alphabet >> digit & 1).astype(bool)
            alphabet = np.concatenate([alphabet[~high], alphabet[high]])
        first = np.empty(sigma, np.int64)
        sizes = np.bincount(symbols, minlength=sigma)[alphabet]
        first[alphabet] = np.cumsum(sizes) - sizes
        words, counts = (np.stack(arrays) for arrays in zip(*packed, strict=True))
        return cls(words, counts, np.array(zeros), first)

    def rank(self, symbols: Ints, positions: Ints) -> Ints:
        """How often each of `symbols` occurs before its position; both (E,), or positions (2, E)."""
        digits = len(self.zeros)
        for digit in range(digits):
            ones = ones_before(self.words[digit], self.counts[digit], positions)
            high = (symbols >> (digits - 1 - digit) & 1).astype(bool)
            positions = np.where(high, self.zeros[digit] + ones, positions - ones)
        return positions - self.first[symbols]

    def distinct(self, ranges: Ints) -> tuple[Ints, Ints, Ints]:
        """The symbols of each of N ranges, given as (2, N): first positions, and those behind the last.

        Owners (E,) ascending, their symbols (E,) ascending within an owner, and the symbols' ranks (2, E) before both
        ends of the owner's range.
        """
        digits = len(self.zeros)
        keys = np.flatnonzero(ranges[1] > ranges[0])  # owner and the symbol's digits so far, as one number
        ranges = ranges[:, keys]
        for digit in range(digits):
            ones = ones_before(self.words[digit], self.counts[digit], ranges)
            both = np.stack([ranges - ones, ones + self.zeros[digit]], 2).reshape(2, -1)  # of each range: zeros, ones
            kept = np.flatnonzero(both[1] > both[0])
            ranges = both[:, kept]
            keys = keys[kept >> 1] * 2 + (kept & 1)
        symbols = keys & ((1 << digits) - 1)
        return keys >> digits, symbols, ranges - self.first[symbols]
