"""What a run will cost, before it starts: units, FLOPs, bytes, and minutes on this machine.

FLOPs and bytes are counted from the spec. Time is FLOPs over the rate of a matrix product measured here and
now, times the share of that rate which each stage reached on the two-core machine that `docs/` describes:
good to about a factor of two, and meant to tell minutes from hours. A GPU worker is not visible from here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arith_shared import problems
from arith_shared.keys import canonical_json
from arith_shared.ledger import plan
from arith_shared.ledger.rounds import extracted_layers, layer_groups
from arith_shared.specs import Spec

#: Share of the measured float32 matrix rate that a stage reaches; training profits from bfloat16.
EFFICIENCY = {"train": 0.55, "extract": 0.35, "probe": 0.5, "summarize": 1.0}
#: Bytes of a stored half-precision number, and of a float32 weight.
_HALF, _FLOAT = 2, 4
#: Weights, two moments and their serialised copy, for each of the two checkpoints that are kept.
_CHECKPOINT_COPIES = 3 * 2
_MATRIX = 1024
#: The parts of a spec that determine what a stage writes.
_MADE_FROM = {
    "train": ("task", "lm", "seed"),
    "extract": ("task", "lm", "seed", "extract"),
    "probe": ("task", "lm", "seed", "extract", "probe"),
    "summarize": ("task", "lm", "seed", "extract", "probe"),
}


@dataclass(frozen=True, slots=True)
class StageForecast:
    """Cost of one stage, over all rounds; units are a lower bound where unsolved problems may ask for more.

    Bytes are what lies on the disk at one time: with `extract.keep_states: false` those of one round.
    """

    stage: str
    units: int
    flops: float
    size_bytes: int
    seconds: float


def forecast(spec: Spec, flops_per_s: float | None = None) -> list[StageForecast]:
    """The cost of every stage; measures the machine's rate (about 0.1 s) if none is given."""
    rate = flops_per_s or measure_rate()
    rounds = len(layer_groups(spec))
    blocks = len(plan.probe_units(spec, extracted_layers(spec)))
    units = {"train": 1, "extract": _shards(spec) * rounds, "probe": blocks, "summarize": 1}
    flops = {
        "train": _train_flops(spec),
        "extract": _extract_flops(spec) * rounds,
        "probe": _probe_flops(spec),
        "summarize": 0.0,
    }
    size = {
        "train": _model_bytes(spec),
        "extract": peak_bytes(spec),
        "probe": prediction_bytes(spec),
        "summarize": 0,
    }
    return [
        StageForecast(
            stage, units[stage], flops[stage], size[stage], flops[stage] / (rate * EFFICIENCY[stage])
        )
        for stage in plan.STAGES
    ]


def total_bytes(specs: Sequence[Spec]) -> int:
    """What several runs together leave on the disk; what they share is made once."""
    sizes = {}
    for spec in specs:
        parts = spec.model_dump(mode="json")
        for stage in forecast(spec, flops_per_s=1.0):
            made_from = {name: parts[name] for name in _MADE_FROM[stage.stage]}
            sizes[stage.stage, canonical_json(made_from)] = stage.size_bytes
    return sum(sizes.values())


def as_rows(stages: list[StageForecast]) -> list[dict[str, Any]]:
    """Plain dictionaries, for JSON."""
    return [asdict(stage) for stage in stages]


def measure_rate() -> float:
    """Float32 FLOPs per second of a matrix product on this machine, the best of three."""
    left = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2 * _MATRIX**3 / best


def parameters(spec: Spec) -> int:
    """Weights of the decoder blocks and the output head; embeddings are looked up, not multiplied.

    Of a pretrained LM only layers and width are known here: a block has about 12 times the width squared, which makes
    6.4e9 of the 7.0e9 weights that the blocks of Mistral-7B have.
    """
    lm = spec.lm
    if lm.kind == "pretrained":
        return lm.layers * 12 * lm.width**2
    if lm.kind == "mistral":
        # Keys and values have fewer heads; the feed-forward layer is gated, so it has three matrices.
        block = (2 + 2 * lm.kv_heads / lm.heads) * lm.width**2 + 3 * lm.width * lm.ffn
    else:
        block = 4 * lm.width**2 + 2 * lm.width * lm.ffn
    return int(lm.layers * block) + lm.width * spec.task.training_distribution().vocabulary.size


def states_bytes(spec: Spec) -> int:
    """Bytes of all hidden states: problems x positions x layers x width x 2."""
    return len(extracted_layers(spec)) * _layer_bytes(spec)


def peak_bytes(spec: Spec) -> int:
    """Bytes of the hidden states that lie on the disk at one time: all of them, or those of the largest round."""
    if spec.extract.keep_states:
        return states_bytes(spec)
    return max(map(len, layer_groups(spec))) * _layer_bytes(spec)


def prediction_bytes(spec: Spec) -> int:
    """Bytes of all predictions, 4 for each problem, position, layer, variable and family; all else is small."""
    if not spec.probe.keep_predictions:
        return 0
    cells = len(extracted_layers(spec)) * len(plan.extracted_positions(spec))
    probes = len(spec.probe.families) + spec.probe.untrained
    (layout,) = spec.task.evaluation().layouts
    return spec.extract.n_eval * cells * probes * len(layout.variables) * _FLOAT


def _layer_bytes(spec: Spec) -> int:
    return _extracted(spec) * len(plan.extracted_positions(spec)) * spec.lm.width * _HALF


def _shards(spec: Spec) -> int:
    return sum(math.ceil(dataset.wanted / spec.extract.shard_problems) for dataset in plan.datasets(spec))


def _extracted(spec: Spec) -> int:
    return sum(dataset.wanted for dataset in plan.datasets(spec))


def _train_flops(spec: Spec) -> float:
    # Forward and backward: 6 FLOPs per weight and token (Kaplan et al. 2020).
    if spec.lm.kind == "pretrained":
        return 0.0
    training = spec.lm.training
    texts = training.problems * training.epochs + training.lesson_problems * len(training.course)
    return 6.0 * parameters(spec) * texts * _training_tokens(spec, training.questions)


def _extract_flops(spec: Spec) -> float:
    return 2.0 * parameters(spec) * _extracted(spec) * _text_tokens(spec)


def _training_tokens(spec: Spec, questions: str) -> int:
    """Tokens of the longest training text, at most: a lesson ends sooner when it is learnt."""
    distribution = spec.task.training_distribution()
    longest = problems.longest_text(distribution, spec.task.chain)
    if questions == "one":
        return longest
    # The definition once, and a branch of question and output for each variable.
    definition = problems.longest_question(distribution, spec.task.chain) - 1 - len(spec.task.question)
    branches = max(len(layout.variables) for layout in distribution.layouts)
    return definition + branches * (longest - 1 - definition)


def _text_tokens(spec: Spec) -> int:
    """Tokens of an evaluated problem, its output and the end included."""
    return problems.longest_text(spec.task.evaluation(), spec.task.chain)


def _probe_flops(spec: Spec) -> float:
    (layout,) = spec.task.evaluation().layouts
    cells = len(plan.extracted_positions(spec)) * len(extracted_layers(spec))
    width, problems = spec.lm.width, spec.extract.n_train
    cost = {
        # Two products forward (W1 h) and backward (its gradient) per epoch and variable.
        "mlp": 4.0 * problems * width**2 * spec.probe.mlp.epochs * len(layout.variables),
        # The Gram matrix and its eigenvectors, shared by all variables and controls.
        "ridge": 2.0 * problems * width**2 + 10.0 * width**3,
    }
    return cells * (
        sum(cost[family] for family in spec.probe.families) + spec.probe.untrained * cost["ridge"]
    )


def _model_bytes(spec: Spec) -> int:
    # A pretrained LM stays where it is, in its folder or the Hub's cache.
    if spec.lm.kind == "pretrained":
        return 0
    weights = parameters(spec) + spec.lm.width * spec.task.training_distribution().vocabulary.size
    return weights * _FLOAT * (1 + _CHECKPOINT_COPIES)
