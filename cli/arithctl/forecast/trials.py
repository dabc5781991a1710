"""The runs that a calibration consists of: real recipes with few steps, problems and cells; nothing of them is kept.

Each shows what the others cannot: `states` what hidden states cost, and the fixed part of a training; `probes` the
steps of a training, and both families at the size of tiny-specialized; `chain` a Mistral; `wide` what larger
matrices gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arith_shared.specs import Spec
from arithctl import recipes


@dataclass(frozen=True, slots=True)
class Trial:
    """A run that is timed."""

    name: str
    spec: Spec


#: Trained for so few steps nothing is solved, so all is kept; nor does any training stop early.
_ALL: dict[str, Any] = {"lm.training.stop_at_accuracy": None, "extract.keep": "all"}
_CHEAP_PROBES = {"probe.families": ["ridge"], "probe.resamples": 0}
_TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "states": (
        "tiny-specialized",
        {"lm.training.problems": 1_280, "extract.n_train": 1_000, "extract.n_eval": 1_000, **_CHEAP_PROBES},
    ),
    "probes": (
        "tiny-specialized",
        {
            "lm.training.problems": 10_240,
            "extract.layers": [2],
            "extract.positions": [0, 2, 3, 4, 8, 10, 14, 18],
            "probe.block_positions": 2,
        },
    ),
    "chain": (
        "tiny-cot",
        {
            "lm.training.problems": 2_560,
            "extract.n_train": 500,
            "extract.n_eval": 500,
            "extract.shard_problems": 500,
            **_CHEAP_PROBES,
        },
    ),
    "wide": (
        "tiny-specialized",
        {
            "lm.width": 512,
            "lm.ffn": 2048,
            "lm.heads": 8,
            "lm.layers": 2,
            "lm.training.problems": 512,
            "lm.training.batch_tokens": 1_408,
            "lm.training.evaluate_problems": 64,
            "extract.n_train": 250,
            "extract.n_eval": 250,
            "extract.shard_problems": 250,
            "extract.layers": [2],
            "extract.positions": [0, 2, 4, 8],
            "probe.block_positions": 1,
            "probe.resamples": 0,
            "probe.mlp.epochs": 10,
        },
    ),
}


def all_trials(instead: Mapping[str, Any] | None = None) -> list[Trial]:
    """Every trial, in the order in which they are run; seeds differ, so that none finds another's artifacts.

    `instead` replaces fields of all of them: smaller sizes show that a calibration works, and measure nothing.
    """
    return [
        Trial(
            name,
            recipes.load(recipe).resolve(
                [*(_ALL | fields | dict(instead or {})).items()], seed=1_000 + number
            ),
        )
        for number, (name, (recipe, fields)) in enumerate(_TRIALS.items())
    ]
