"""The cells of one layer: each is read once and serves all variables and families.

The paper fits its probes on solved problems only; which problems were kept is settled by extraction. The
first ones in index order are used, so that scores do not depend on how many shards there happen to be.
Nothing in a row depends on which cells share a unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from arith_model.devices import choose_device
from arith_model.seeds import derive_seed
from arith_prober.controls import control_scores, shuffled
from arith_prober.metrics import Correlation, Floats, pearson
from arith_prober.probes import FAMILIES, Pulse
from arith_shared.analysis.panel import UNTRAINED_SUFFIX
from arith_shared.errors import UnsolvedError
from arith_shared.problems import ceiling, given
from arith_shared.store.predictions import PredictionsWriter
from arith_shared.store.states import StateReader
from arith_shared.work import Artifact, Row

if TYPE_CHECKING:
    from arith_shared.specs import Spec, TaskSpec


@dataclass(frozen=True, slots=True)
class Block:
    """What the cells of one layer have in common."""

    spec: Spec
    #: Whose hidden states are read: `trained`, or the same LM before training, as a control.
    weights: str
    families: tuple[str, ...]
    layer: int
    device: torch.device
    train: StateReader
    evaluation: StateReader
    #: float64[problem, variable]: values in the problems that probes are fitted on.
    Y_train: Floats
    #: float64[problem, variable]: values in the problems that probes are evaluated on.
    Y_eval: Floats

    @classmethod
    def open(cls, spec: Spec, payload: Mapping[str, Any], shards: Sequence[Artifact]) -> Block:
        """Open the shards that a probe unit reads; raise UnsolvedError when they hold too few problems."""
        weights = payload["weights"]
        mine = [shard for shard in shards if shard.meta["weights"] == weights]
        train = _open(mine, "probe", spec.extract.n_train)
        evaluation = _open(mine, "test", spec.extract.n_eval)
        return cls(
            spec=spec,
            weights=weights,
            families=tuple(payload["families"]),
            layer=payload["layer"],
            device=choose_device(),
            train=train,
            evaluation=evaluation,
            Y_train=_values(train),
            Y_eval=_values(evaluation),
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables by role: A, B, C."""
        return self.train.variables

    def predictions(self) -> PredictionsWriter | None:
        """What keeps the predictions of this block's cells; None where the spec does without."""
        if not self.spec.probe.keep_predictions:
            return None
        truth = dict(zip(self.variables, self.Y_eval.T, strict=True))
        source = self.spec.task.source("test") | {"seed": self.spec.seed}
        return PredictionsWriter(self.layer, source, self.evaluation.indices, truth)

    def score(self, position: int, pulse: Pulse, keep: PredictionsWriter | None = None) -> Iterator[Row]:
        """Yield one row per family and variable at `position`; `pulse` is called throughout.

        What the probes predict goes to `keep`.
        """
        pulse()
        X_train, X_eval = (reader.matrix(self.layer, position) for reader in (self.train, self.evaluation))
        for family in self.families:
            name = family if self.weights == "trained" else f"{family}{UNTRAINED_SUFFIX}"
            correlations, controls, predicted = self._correlate(family, position, X_train, X_eval, pulse)
            for index, variable in enumerate(self.variables):
                if keep is not None and predicted is not None:
                    keep.add(position, name, variable, predicted[:, index])
                yield self._row(position, variable, name, correlations[index], controls[index])

    def _correlate(
        self,
        name: str,
        position: int,
        X_train: NDArray[np.float32],
        X_eval: NDArray[np.float32],
        pulse: Pulse,
    ) -> tuple[list[Correlation], list[float | None], Floats | None]:
        """Fit one family; return the correlation, control score and predictions (None: no fit) of each variable."""
        count, seed, options = len(self.variables), self.spec.seed, self.spec.probe
        if (X_eval == X_eval[0]).all():
            # Equal states (a punctuation mark at layer 0) allow one prediction only, whatever the probe.
            return [Correlation("constant")] * count, [None] * count, None
        family = FAMILIES[name](options, self.device)
        repetitions = options.controls if family.cheap_targets else 0
        C_train = shuffled(self.Y_train, self.variables, repetitions, seed)
        C_eval = shuffled(self.Y_eval, self.variables, repetitions, seed)
        targets = [*self.variables, *(f"control-{column}" for column in range(C_train.shape[1]))]
        seeds = [derive_seed(seed, name, self.layer, position, target) for target in targets]
        predictions = family.fit_predict(X_train, np.hstack([self.Y_train, C_train]), X_eval, seeds, pulse)
        correlations = pearson(predictions[:, :count], self.Y_eval, options.resamples, seed)
        controls = control_scores(predictions[:, count:], C_eval, count)
        return correlations, controls, predictions[:, :count]

    def _row(
        self, position: int, variable: str, family: str, found: Correlation, control: float | None
    ) -> Row:
        ceilings, printed = baselines(self.spec.task)
        place = position, self.variables.index(variable)
        best = float(ceilings[place])
        return {
            "layer": self.layer,
            "position": position,
            "token": self.train.label(position),
            "variable": variable,
            "family": family,
            "metric": "pearson",
            "value": found.value,
            "ci_low": found.low,
            "ci_high": found.high,
            "n_train": self.train.n,
            "n_eval": self.evaluation.n,
            "ceiling": best if np.isfinite(best) else None,
            "control": control,
            "given": bool(printed[place]),
            "status": found.status,
        }


@lru_cache(maxsize=4)
def baselines(task: TaskSpec) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the ceiling, float64[position, variable], and where values are given, bool of the same shape."""
    distribution = task.evaluation()
    return ceiling(distribution, task.chain), given(distribution.layouts[0], task.chain)


def _open(shards: Sequence[Artifact], split: str, wanted: int) -> StateReader:
    reader = StateReader([shard.path for shard in shards if shard.meta["split"] == split], wanted)
    if reader.n < wanted:
        raise UnsolvedError(
            f"split {split}: expected {wanted} problems with hidden states, found {reader.n} in the shards; "
            "train the LM further, raise extract.max_tries, ask for fewer problems, or set extract.keep=all"
        )
    return reader


def _values(reader: StateReader) -> Floats:
    return np.stack([reader.values(variable) for variable in reader.variables], axis=1)
