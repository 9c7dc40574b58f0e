"""An order of many puzzles that is computed index by index, where a sorted list of them would fill the memory.

A Feistel network of six rounds permutes the numbers of an even number of bits, whatever its round function is (Luby and
Rackoff 1988). What leaves the range is permuted again until it is back in it (cycle walking, Black and Rogaway 2002).
"""

import numpy as np
from numpy.typing import NDArray

from genraven.puzzles.generate import Draws

ROUNDS = 6
Words = NDArray[np.uint64]


def mixed(words: Words) -> Words:
    """(...) uint64: each bit depends on all bits of ``words`` (the last step of SplitMix64, Steele et al. 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class KeyedPermutation:
    """A permutation of 0 .. size - 1 that its draws determine, in memory that does not grow with ``size``.

    Args:
        draws: of its keys.
        size: 1 or more.
    """

    def __init__(self, draws: Draws, size: int) -> None:
        self.size = size
        half = max(1, -(-(size - 1).bit_length() // 2))
        self._half, self._mask = np.uint64(half), np.uint64((1 << half) - 1)
        self._keys = draws.words(ROUNDS)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) int64 numbers at ``indices`` (n,), as a list of all of them would have them."""
        found = self._permuted(indices.astype(np.uint64))
        while (outside := found >= self.size).any():
            found[outside] = self._permuted(found[outside])
        return found.astype(np.int64)

    def _permuted(self, words: Words) -> Words:
        left, right = words >> self._half, words & self._mask
        for key in self._keys:
            left, right = right, left ^ (mixed(right + key) & self._mask)
        return (left << self._half) | right


class KeyedChoices:
    """A draw on 0 .. limit - 1 for each place, computed when it is asked for.

    Args:
        draws: of its key.
        limit: at most some thousand, so that all are as likely but for 2^-50.
    """

    def __init__(self, draws: Draws, limit: int) -> None:
        self.limit = limit
        self._key = draws.words(1)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) int64 draws of ``indices`` (n,)."""
        words = mixed(mixed(indices.astype(np.uint64)) + self._key)
        return ((words >> np.uint64(11)) * 2.0**-53 * self.limit).astype(np.int64)
