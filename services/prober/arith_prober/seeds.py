"""NumPy generators that depend on what they are for, and on nothing else.

Each random choice gets one of its own, named by the cell it belongs to. Scores are therefore the same
whichever worker, block or order computes them; no generator is ever shared or advanced.
"""

from __future__ import annotations

import numpy as np

from arith_model.seeds import derive_seed


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a fresh generator for `purpose`, e.g. ``("control", "A", 0)``."""
    return np.random.default_rng(derive_seed(seed, *purpose))
