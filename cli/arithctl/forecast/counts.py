"""What a run is made of, counted from its spec: units, FLOPs, and bytes on the disk. No time here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from arith_shared import problems
from arith_shared.keys import canonical_json
from arith_shared.ledger import plan
from arith_shared.ledger.plan import Dataset
from arith_shared.ledger.rounds import extracted_layers, layer_groups
from arith_shared.specs import Spec

if TYPE_CHECKING:
    from arith_shared.specs import TaskSpec

#: Bytes of a stored half-precision number, of a float32, and of a problem's number.
_HALF, _FLOAT, _INDEX = 2, 4, 8
#: Bytes of a score row in JSON, and of the frame of a file of predictions.
_ROW, _FRAME = 310, 2600
#: Weights, two moments and their serialised copy, for each of the two checkpoints that are kept.
_CHECKPOINT_COPIES = 3 * 2
#: Share of different states above which a probe is fitted on all problems; the prober's own (`distinct.WORTH`).
_WORTH = 0.5
#: The parts of a spec that determine what a stage writes.
_MADE_FROM = {
    "train": ("task", "lm", "seed"),
    "extract": ("task", "lm", "seed", "extract"),
    "probe": ("task", "lm", "seed", "extract", "probe"),
    "summarize": ("task", "lm", "seed", "extract", "probe"),
}


def flops(spec: Spec) -> dict[str, float]:
    """FLOPs of each stage, over all its rounds."""
    fitted = probe_flops(spec)
    blocks = plan.probe_units(spec, extracted_layers(spec))
    return {
        "train": train_flops(spec),
        "extract": extract_flops(spec) * extracted_problems(spec) * len(layer_groups(spec)),
        "probe": sum(
            len(block["positions"]) * fitted[family] for block in blocks for family in block["families"]
        ),
        "summarize": 0.0,
    }


def written_bytes(spec: Spec) -> dict[str, int]:
    """Bytes of each stage's artifacts that lie on the disk at one time, over all rounds."""
    return {
        "train": _model_bytes(spec),
        "extract": peak_bytes(spec),
        "probe": score_bytes(spec),
        "summarize": 0,
    }


def total_bytes(specs: Sequence[Spec]) -> int:
    """What several runs together need on the disk, checkpoints included; what they share is made once."""
    sizes = {}
    for spec in specs:
        parts = spec.model_dump(mode="json")
        for stage, size in written_bytes(spec).items():
            made_from = {name: parts[name] for name in _MADE_FROM[stage]}
            checkpoints = _CHECKPOINT_COPIES if stage == "train" else 0
            sizes[stage, canonical_json(made_from)] = size * (1 + checkpoints)
    return sum(sizes.values())


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


def score_bytes(spec: Spec) -> int:
    """Bytes of all score rows and predictions; of these 4 for each problem, position, layer, variable and family."""
    (layout,) = spec.task.evaluation().layouts
    count = len(layout.variables)
    blocks = plan.probe_units(spec, extracted_layers(spec))
    cells = sum(len(block["positions"]) * len(block["families"]) for block in blocks) * count
    kept = 0
    if spec.probe.keep_predictions:
        # Every block has the true values, and which problems they belong to, beside its predictions.
        own = _FRAME + spec.extract.n_eval * (_INDEX + _FLOAT * count)
        kept = len(blocks) * own + cells * spec.extract.n_eval * _FLOAT
    return cells * _ROW + kept


def _layer_bytes(spec: Spec) -> int:
    return extracted_problems(spec) * problem_bytes(spec) // len(extracted_layers(spec))


def problem_bytes(spec: Spec) -> int:
    """Bytes of one problem's hidden states at all layers and positions that are extracted."""
    return len(extracted_layers(spec)) * len(plan.extracted_positions(spec)) * spec.lm.width * _HALF


def shards(spec: Spec) -> int:
    """Shards of one round of layers, those included that a known share of unsolved problems will ask for."""
    return sum(_shards(spec, dataset) for dataset in plan.datasets(spec))


def extracted_problems(spec: Spec) -> int:
    """Problems that pass through the LM in one round of layers."""
    return shards(spec) * spec.extract.shard_problems


def _shards(spec: Spec, dataset: Dataset) -> int:
    solved = 1.0
    if dataset.weights == "trained" and not spec.extract.keeps_all(dataset.split):
        # Training ends when it solves this share of the problems; of another LM nothing is known.
        solved = (spec.lm.kind != "pretrained" and spec.lm.training.stop_at_accuracy) or 1.0
    return math.ceil(dataset.wanted / solved / spec.extract.shard_problems)


def may_stop_early(spec: Spec) -> bool:
    """Whether training ends once the LM has learnt its lessons or its task, so that steps are an upper bound."""
    if spec.lm.kind == "pretrained":
        return False
    return bool(spec.lm.training.course) or spec.lm.training.stop_at_accuracy is not None


def training_steps(spec: Spec) -> int:
    """Optimiser steps at most."""
    lm = spec.lm
    if lm.kind == "pretrained":
        return 0
    training, together = lm.training, lm.problems_per_text
    per_step = max(1, training.batch_tokens // (together * _training_tokens(spec, training.questions)))
    whole, lesson = (
        math.ceil(problems // together / per_step)
        for problems in (training.problems, training.lesson_problems)
    )
    return training.epochs * whole + len(training.course) * lesson


def train_flops(spec: Spec) -> float:
    """FLOPs of training to its end, looks at the validation problems included."""
    # Forward and backward: 6 FLOPs per weight and token (Kaplan et al. 2020); 2 where only forward.
    if spec.lm.kind == "pretrained":
        return 0.0
    training = spec.lm.training
    texts = training.problems * training.epochs + training.lesson_problems * len(training.course)
    looks = math.ceil(training_steps(spec) / training.evaluate_every)
    asked = looks * training.evaluate_problems * spec.lm.problems_per_text
    longest = problems.longest_text(spec.task.training_distribution(), spec.task.chain)
    read = 6.0 * texts * _training_tokens(spec, training.questions) + 2.0 * asked * longest
    return parameters(spec) * read


def extract_flops(spec: Spec) -> float:
    """FLOPs of one problem's pass through the LM."""
    return 2.0 * parameters(spec) * problems.longest_text(spec.task.evaluation(), spec.task.chain)


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


def probe_flops(spec: Spec, fitted: float = 1.0) -> dict[str, float]:
    """FLOPs of one cell, for all its variables, by family; `bootstrap`: of the intervals of a family.

    `fitted` is the share of the problems that are fitted, as `fitted_share` has it.
    """
    (layout,) = spec.task.evaluation().layouts
    variables, width, rows = len(layout.variables), spec.lm.width, spec.extract.n_train * fitted
    return {
        # Two products forward (W1 h) and backward (its gradient) per epoch and variable.
        "mlp": 4.0 * rows * width**2 * spec.probe.mlp.epochs * variables,
        # The Gram matrix and its eigenvectors, shared by all variables and controls.
        "ridge": 2.0 * rows * width**2 + 10.0 * width**3,
        # Five weighted means per resample.
        "bootstrap": 10.0 * spec.probe.resamples * spec.extract.n_eval * variables,
    }


def fitted_share(spec: Spec, layer: int, position: int) -> float:
    """The share of problems that a probe computes with: equal hidden states are fitted once, where many are equal.

    0 where all are, as at the embeddings of punctuation: such a cell is not probed.
    """
    count = _distinct(spec.task, spec.extract.n_train)[min(layer, 1)][position]
    if count == 1:
        return 0.0
    share = count / spec.extract.n_train
    return share if share <= _WORTH else 1.0


@lru_cache(maxsize=8)
def _distinct(task: TaskSpec, count: int) -> tuple[list[int], list[int]]:
    """By position, the different tokens, and the different beginnings up to there, in `count` problems.

    They are what hidden states depend on: at layer 0 and above it. Counted in a sample, as good as any other.
    """
    distribution = task.evaluation()
    sampled = problems.sample(distribution, "probe", 0, count, seed=0)
    ids = problems.encode(sampled, distribution, task.chain).ids
    tokens, prefixes = [], []
    prefix = np.zeros(count, dtype=np.int64)
    for token in ids.T[: len(task.probed_tokens())]:
        tokens.append(len(np.unique(token)))
        known, prefix = np.unique(prefix * distribution.vocabulary.size + token, return_inverse=True)
        prefixes.append(len(known))
    return tokens, prefixes


def _model_bytes(spec: Spec) -> int:
    # A pretrained LM stays where it is, in its folder or the Hub's cache.
    if spec.lm.kind == "pretrained":
        return 0
    weights = parameters(spec) + spec.lm.width * spec.task.training_distribution().vocabulary.size
    return weights * _FLOAT
