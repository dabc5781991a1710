"""What is run under faults: the engine with work that takes milliseconds, or the services' own work in small."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arith_shared.specs import Spec
from arith_shared.testing import small_spec
from harness.deployment import spec_of_seed
from harness.handlers import SERVICES, handlers


@dataclass(frozen=True, slots=True)
class Part:
    """A kind of run, and how roughly it is handled."""

    name: str
    #: Module of its workers, and what they call.
    module: str
    handlers: Mapping[str, str]
    spec: Callable[[int], Spec]
    #: Runs that are kept going at once.
    runs: int
    #: Seconds between two faults, at least and at most.
    pause_s: tuple[float, float]
    #: Seconds without progress after which the next fault comes all the same. A worker takes seconds to start, with
    #: torch many, and on a busy machine faults alone would keep it from ever doing anything.
    patience_s: float
    #: Seconds; long against what the import of torch keeps a heartbeat waiting.
    lease_s: float
    #: Whether units do what the harness's faults file says.
    is_fake: bool

    def pause(self, rng: random.Random) -> float:
        """Seconds until the next fault."""
        return rng.uniform(*self.pause_s)


def real_spec(seed: int) -> Spec:
    """A spec of twelve units with all stages real: it trains for a second and solves nothing, so all is kept."""
    training = {"problems": 16_000, "epochs": 1, "batch_tokens": 1_408, "precision": "float32"}
    training |= {"evaluate_every": 100, "evaluate_problems": 100, "checkpoint_every_s": 0.5}
    return small_spec(
        lm={"heads": 2, "width": 16, "ffn": 32, "training": training},
        extract={"keep": "all", "n_train": 100, "n_eval": 60, "shard_problems": 40},
        probe={"families": ["ridge"], "resamples": 20, "block_positions": 10, "untrained": False},
    ).model_copy(update={"seed": seed})


FAKE = Part("fake", "harness.fake_worker", handlers(), spec_of_seed, 3, (1.0, 4.0), 20.0, 3.0, True)
REAL = Part("real", "harness.real_worker", SERVICES, real_spec, 1, (3.0, 8.0), 60.0, 10.0, False)
