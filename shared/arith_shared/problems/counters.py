"""A counter-based generator: the n-th word of a stream is a pure function of its key and n.

Words are splitmix64 (Steele, Lea and Flood 2014): a Weyl sequence through a 64-bit finaliser. Streams of
different keys are the same sequence from different places; that two of a million streams meet within ten
thousand words has probability 1e-3, and would only repeat a draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

#: Increment of splitmix64's Weyl sequence: 2**64 divided by the golden ratio, made odd.
_STEP = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def mix(words: Words) -> Words:
    """splitmix64's finaliser: a bijection whose every output bit depends on every input bit."""
    mixed = words ^ (words >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def word(keys: Words, counter: int) -> Words:
    """uint64[key]: word number `counter` of the stream of each key."""
    return mix(keys + np.uint64((_STEP * (counter + 1)) & _MASK))


def advanced(keys: Words, counters: Words) -> Words:
    """uint64[key]: keys of the same streams, each moved on by its counter."""
    return keys + counters * np.uint64(_STEP)


def streams(key: Words, counters: Words) -> Words:
    """uint64[counter]: the key of one stream per counter, below the stream `key`, uint64[1]."""
    return mix(advanced(key, counters + np.uint64(1)))


def stream(seed: int, *counters: int) -> Words:
    """uint64[1]: the key of the stream that a seed and a path of counters name."""
    key = np.array([seed & _MASK], dtype=np.uint64)
    for counter in (0, *counters):
        key = word(key, counter)
    return key
