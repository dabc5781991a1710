"""The runs that a calibration consists of: real recipes with few steps, problems and cells; nothing of them is kept.

Each shows what the others cannot: `wide` what larger matrices gain; `tiny` both probe families; `chain` a Mistral and
many hidden states. Together they take about a minute on two cores, half of it imports. The first one runs beside the
start of the other workers and is slower for it, so it is the one that matters least.
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


#: Trained for so few steps nothing is solved, so all is kept; nor does any training stop early. What looks at the
#: validation problems take is left small, since the rate of a training is that of its steps.
_ALL: dict[str, Any] = {
    "lm.training.stop_at_accuracy": None,
    "lm.training.evaluate_problems": 64,
    "extract.keep": "all",
    "probe.untrained": False,
}
_TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "wide": (
        "tiny-specialized",
        {
            "lm.width": 512,
            "lm.ffn": 2048,
            "lm.heads": 8,
            "lm.layers": 2,
            "lm.training.problems": 384,
            "lm.training.batch_tokens": 1_408,
            "extract.n_train": 250,
            "extract.n_eval": 250,
            "extract.shard_problems": 250,
            "extract.layers": [0, 2],
            "extract.positions": [4, 8, 14, 18],
            "probe.block_positions": 2,
            "probe.resamples": 0,
            "probe.mlp.epochs": 10,
        },
    ),
    "tiny": (
        "tiny-specialized",
        {
            "lm.training.problems": 2_048,
            "extract.n_train": 2_000,
            "extract.n_eval": 1_000,
            "extract.positions": [4, 10, 14, 18],
            "probe.block_positions": 2,
            # So that there are blocks with ridge alone, or its share of a block could not be told from that of mlp.
            "probe.untrained": True,
        },
    ),
    "chain": (
        "tiny-cot",
        {
            "lm.training.problems": 768,
            "extract.n_train": 500,
            "extract.n_eval": 500,
            "extract.shard_problems": 500,
            "probe.families": ["ridge"],
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
