"""Chance that can be repeated: the same seed and number give the same draws, on any machine. Pure."""

from __future__ import annotations

from typing import Final

_MASK: Final = (1 << 64) - 1


def mixed(seed: int, number: int) -> int:
    """64 bits for `number` under `seed`: SplitMix64 (Steele, Lea, Flood 2014), which needs no state between
    two books, so that book 1,000,001 does not have to wait for the million before."""
    z = (seed * 0xD1342543DE82EF95 + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Draws:
    """Draws for one book, taken from bits of its own; about 10 small ones before it has to mix anew."""

    __slots__ = ("_bits", "_number", "_seed")

    def __init__(self, seed: int, number: int) -> None:
        self._seed = seed
        self._number = number
        self._bits = mixed(seed, number)

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1; `limit` at most 2**32."""
        if self._bits < 1 << 40:  # too few left to be even
            self._number ^= 1 << 60
            self._seed ^= self._bits
            self._bits = mixed(self._seed, self._number) | 1 << 64
        self._bits, drawn = divmod(self._bits, limit)
        return drawn
