"""Seeds that depend on what they are for, and on nothing else.

Each random choice gets a generator of its own, named by the cell it belongs to. Scores are therefore the
same whichever worker, block or order computes them; no generator is ever shared or advanced.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return 63 bits that follow from `seed` and `purpose` alone, e.g. ``("mlp", layer, position, "A")``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a fresh NumPy generator for `purpose`."""
    return np.random.default_rng(derive_seed(seed, *purpose))
