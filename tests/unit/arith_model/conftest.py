"""A small untrained LM and what it is built from."""

from __future__ import annotations

import pytest

from arith_shared.specs import Spec, parse_spec


@pytest.fixture(scope="session")
def spec() -> Spec:
    """Equation 1 with numbers 0 to 12, so that some numbers have two digits."""
    return parse_spec(
        {
            "task": {"max_number": 12, "names": 5},
            "lm": {
                "layers": 2, "heads": 2, "width": 32, "ffn": 48,
                "init_std": 0.1, "position_std": 0.3, "embedding_std": 0.5,
            },
            "seed": 4,
        }
    )  # fmt: skip
