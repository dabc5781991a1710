"""Seeds that depend on what they are for, and on nothing else.

Each random choice has a generator of its own, named by its purpose, so no choice depends on how many were
made before it. Purposes are hashed: neighbouring seeds and steps share no random numbers, and all 63 bits
of a seed count, of which PyTorch's generator would read only the lower 32.
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return 63 bits that follow from `seed` and `purpose` alone, e.g. ``("dropout", step)``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
