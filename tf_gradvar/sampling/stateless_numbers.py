"""The random numbers of TensorFlow's stateless operations, in NumPy.

With them a stream that NumPy draws is the one that tf.data draws from the same seed. Two
published algorithms are all that it takes: the counter-based generator Philox4x32-10 (Salmon et
al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), and four rounds of the block cipher Simon
(Beaulieu et al. 2013) that walks along its cycle until it is back below the size, a permutation
with random access.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# The key by which TensorFlow turns a seed of two numbers into a key and a counter.
_SEED_KEY = (0x3EC8F720, 0x02461E29)
_LOW = np.uint64(0xFFFFFFFF)
_SMALLEST_BLOCK = 16
_CIPHER_CONSTANT = 0xFFFFFFFC ^ 1

Words = NDArray[np.uint64]


def philox(counters: Any, key: tuple[int, int]) -> Words:
    """Return the four words of 32 bits of each counter, uint64 [..., 4].

    Args:
        counters: Four words of 32 bits each, [..., 4].
        key: Two words of 32 bits.
    """
    a, b, c, d = np.moveaxis(np.asarray(counters, np.uint64), -1, 0)
    for r in range(_ROUNDS):
        k0, k1 = (np.uint64((k + r * w) & 0xFFFFFFFF) for k, w in zip(key, _WEYL, strict=True))
        first, second = np.uint64(_MULTIPLIERS[0]) * a, np.uint64(_MULTIPLIERS[1]) * c
        a, b, c, d = (
            (second >> np.uint64(32)) ^ b ^ k0,
            second & _LOW,
            (first >> np.uint64(32)) ^ d ^ k1,
            first & _LOW,
        )
    return np.stack([a, b, c, d], axis=-1)


def words(seed: tuple[int, int], count: int) -> Words:
    """Return the first words of 32 bits of a seed's stream, uint64 [at least count].

    Args:
        seed: Two integers of at most 64 bits.
        count: How many are needed; they come in fours.
    """
    halves = [part >> shift & 0xFFFFFFFF for part in seed for shift in (0, 32)]
    mixed = [int(word) for word in philox(halves, _SEED_KEY)]
    counters = np.zeros((-(-count // 4), 4), np.uint64)
    counters[:, 0] = np.arange(len(counters))
    counters[:, 2:] = mixed[2:]
    return philox(counters, (mixed[0], mixed[1])).reshape(-1)


def uniform(seed: tuple[int, int], count: int) -> NDArray[np.float64]:
    """Return `tf.random.stateless_uniform([count], seed, dtype=tf.float64)`.

    A number in [0, 1) has the 52 bits behind the point of two words.

    Example:
        >>> uniform((5, 3), 3).round(6)
        array([0.225902, 0.29601 , 0.395702])
    """
    pairs = words(seed, 2 * count)[: 2 * count].reshape(-1, 2)
    bits = ((pairs[:, 0] & np.uint64(0xFFFFF)) << np.uint64(32)) | pairs[:, 1]
    return bits.astype(np.float64) * 2.0**-52


def permutation(seed: tuple[int, int], count: int) -> NDArray[np.int64]:
    """Return `tf.random.experimental.stateless_shuffle(tf.range(count), seed)`.

    Example:
        >>> permutation((5, 3), 7)
        array([1, 2, 5, 6, 3, 4, 0])
    """
    drawn = words(seed, count)
    found = np.arange(count)
    for i in range(count - 1):
        j = i + int(drawn[i]) % (count - i)
        found[[i, j]] = found[[j, i]]
    return found


def index_permutation(key: tuple[int, int, int], size: int) -> NDArray[np.int64]:
    """Return `tf.raw_ops.RandomIndexShuffle` of all indices below a size, int64 [size].

    Args:
        key: Three integers, of which the lower 32 bits count.
        size: The length of the permutation.

    Cost: about twenty sweeps over at most 4 `size` numbers, and over 65 536 at least.
    """
    if size == 1:
        return np.zeros(1, np.int64)
    bits = math.ceil(math.log2(size - 1))
    bits = max(bits + bits % 2, _SMALLEST_BLOCK)
    table = _encrypted(np.arange(2**bits, dtype=np.uint64), key, bits // 2).astype(np.int64)
    # What is outside goes on along its cycle, twice as far at each turn.
    while (table[:size] >= size).any():
        outside = table >= size
        table[outside] = table[table[outside]]
    return table[np.arange(size) % 2**bits]


def _encrypted(values: Words, key: tuple[int, int, int], width: int) -> Words:
    """Return numbers of two words of `width` bits each after four rounds of Simon."""
    mask = 2**width - 1
    keys = [part & 0xFFFFFFFF & mask for part in key]
    turned = (keys[2] >> 3 | keys[2] << width - 3) ^ (keys[2] >> 4 | keys[2] << width - 4)
    keys.append((_CIPHER_CONSTANT ^ keys[0] ^ turned) & mask)
    left, right = values >> np.uint64(width), values & np.uint64(mask)
    for i in (0, 2):
        left = left ^ _mixed(right, width) ^ np.uint64(keys[i])
        right = right ^ _mixed(left, width) ^ np.uint64(keys[i + 1])
    return (left << np.uint64(width)) | right


def _mixed(word: Words, width: int) -> Words:
    """Return Simon's round function of a word."""
    return (_rotated(word, 1, width) & _rotated(word, 8, width)) ^ _rotated(word, 2, width)


def _rotated(word: Words, count: int, width: int) -> Words:
    """Return words of `width` bits, rotated to the left."""
    turned = (word << np.uint64(count)) | (word >> np.uint64(width - count))
    return turned & np.uint64(2**width - 1)
