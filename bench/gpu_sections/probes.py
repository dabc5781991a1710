"""Probes at the paper's 10,000 problems: `mlp` in each precision, one by one and together, and `ridge`.

States are random and on the device before the clock starts. TFLOP/s of `mlp` counts the two products with the states
in each step, 4 N d^2; of `ridge` the Gram matrix and its eigenvectors, 2 N d^2 + 9 d^3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arith_prober.probes.mlp import Mlp, build_probe, predict, train_probe
from arith_prober.probes.ridge import Ridge
from arith_prober.probes.together import train_together
from bench.gpu_sections.cases import Bench, Case, Row, float32_products
from bench.gpu_sections.recipe import spec_of

#: Recipes, the width of their states, and their layers (embeddings included).
GRIDS = (("OPT", "opt-specialized", 1024, 9), ("7B-shaped", "mistral-cot", 4096, 33))
VARIABLES = 3
#: Cells of different positions that are fitted together in one case.
POSITIONS = 5


def cases(bench: Bench) -> list[Case]:
    """For each grid: ways to fit the three probes of a cell."""
    found: list[Case] = []
    for name, recipe, width, layers in GRIDS:
        spec = spec_of(recipe)
        positions = len(spec.task.probed_tokens())
        cell = Cell(bench, spec.probe, 32 if bench.quick else width, layers * positions)
        ways: list[Case] = [
            ("mlp float32, one by one", partial(cell.mlp, "float32", together=False)),
            ("mlp float32, together", partial(cell.mlp, "float32")),
            ("mlp tf32, together", partial(cell.mlp, "tf32")),
            ("mlp bfloat16, one by one", partial(cell.mlp, "bfloat16", together=False)),
            ("mlp bfloat16, together", partial(cell.mlp, "bfloat16")),
            (f"mlp bfloat16, {POSITIONS} positions together", partial(cell.mlp, "bfloat16", POSITIONS)),
            ("mlp bfloat16, the prober's call", cell.prober),
            ("ridge", cell.ridge),
        ]
        found += [(f"{name}: {way}", run) for way, run in ways]
    return found


@dataclass
class Cell:
    """The states of one layer and position, and three values in each problem."""

    bench: Bench
    options: Any
    width: int
    #: (layer, position) pairs of the recipe's grid.
    cells: int
    #: r of the probes in float32, one by one.
    reference: NDArray[np.float64] | None = field(default=None, init=False)

    @property
    def counts(self) -> tuple[int, int]:
        """Problems to fit and to evaluate on."""
        return (200, 100) if self.bench.quick else (10_000, 2_000)

    @cached_property
    def data(self) -> tuple[Tensor, Tensor]:
        """float32[problem, width] and float32[variable, problem], on the device: values that the states half tell."""
        rng = np.random.default_rng(self.width)
        X = rng.standard_normal((sum(self.counts), self.width)).astype(np.float32)
        read = np.maximum(X[:, : self.width // 2], 0) @ rng.standard_normal((self.width // 2, VARIABLES))
        Y = 50 + 20 * read / np.sqrt(self.width) + 5 * rng.standard_normal(read.shape)
        return tuple(  # type: ignore[return-value]
            torch.tensor(values, dtype=torch.float32, device=self.bench.device)
            for values in (X, np.ascontiguousarray(Y.T))
        )

    def mlp(self, precision: str, positions: int = 1, *, together: bool = True) -> Row:
        """The probes of `positions` cells; `precision` is a dtype, or tf32."""
        dtype = "float32" if precision == "tf32" else precision
        probes = self._probes(VARIABLES * positions)
        fit = partial(self._together if together else self._one_by_one, probes, dtype)
        with float32_products("high" if precision == "tf32" else "highest"):
            fit()
            r = self._correlations([predict(probe, self.data[0][self.counts[0] :]) for probe in probes])
            # Fitting on where it ended costs the same.
            seconds = min(self.bench.timed(fit) for _ in range(1 if self.bench.quick else 3))
        flops = len(probes) * self.options.mlp.epochs * 4.0 * self.counts[0] * self.width**2
        return {**self._row(seconds / positions, flops / seconds, r), "against": f"GEMM {precision}"}

    def prober(self) -> Row:
        """What the prober calls for a cell in bfloat16: states and values are uploaded, predictions come back."""
        (X, Y), (fitted, _), mlp = self.data, self.counts, self.options.mlp
        family = Mlp(mlp.epochs, mlp.lr, self.bench.device, "bfloat16", together=True)
        X_host, Y_host = X.cpu().numpy(), Y.T.double().cpu().numpy()
        found: list[NDArray[np.float64]] = []

        def fit() -> None:
            found[:] = family.fit_predict(
                X_host[:fitted], Y_host[:fitted], X_host[fitted:], range(VARIABLES), lambda: None
            ).T

        seconds = min(self.bench.timed(fit) for _ in range(2))
        flops = VARIABLES * mlp.epochs * 4.0 * fitted * self.width**2
        return {**self._row(seconds, flops / seconds, self._correlations(found)), "against": "GEMM bfloat16"}

    def ridge(self) -> Row:
        """What the prober calls for a cell: the variables and their controls, in float64."""
        (X, Y), (fitted, _) = self.data, self.counts
        family = Ridge(self.options.ridge.penalties, self.bench.device)
        X_host, Y_host = X.cpu().numpy(), Y.T.double().cpu().numpy()
        targets = np.tile(Y_host[:fitted], 1 + self.options.controls)

        def fit() -> None:
            family.fit_predict(
                X_host[:fitted], targets, X_host[fitted:], [0] * targets.shape[1], lambda: None
            )

        seconds = min(self.bench.timed(fit) for _ in range(2))
        flops = 2.0 * fitted * self.width**2 + 9.0 * self.width**3
        return {**self._row(seconds, flops / seconds), "against": "GEMM float64"}

    def _probes(self, count: int) -> list[nn.Sequential]:
        return [build_probe(self.width, seed).to(self.bench.device) for seed in range(count)]

    def _one_by_one(self, probes: Sequence[nn.Sequential], dtype: str) -> None:
        (X, Y), fitted = self.data, self.counts[0]
        for place, probe in enumerate(probes):
            y = Y[place % VARIABLES, :fitted]
            train_probe(probe, X[:fitted], y, self.options.mlp.epochs, self.options.mlp.lr, nothing, dtype)

    def _together(self, probes: Sequence[nn.Sequential], dtype: str) -> None:
        (X, Y), fitted = self.data, self.counts[0]
        states, targets = X[:fitted], Y[:, :fitted].repeat(len(probes) // VARIABLES, 1)
        if len(probes) > VARIABLES:
            # States of other positions lie elsewhere; here they are copies.
            states = states.expand(len(probes), -1, -1).contiguous()
        train_together(probes, states, targets, self.options.mlp.epochs, self.options.mlp.lr, nothing, dtype)

    def _correlations(self, predictions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """r of the first probe of each variable."""
        truth = self.data[1][:, self.counts[0] :].double().cpu().numpy()
        pairs = zip(predictions[:VARIABLES], truth, strict=True)
        return np.array([np.corrcoef(predicted, true)[0, 1] for predicted, true in pairs])

    def _row(self, seconds: float, rate: float, r: NDArray[np.float64] | None = None) -> Row:
        """`seconds` of a cell, FLOP/s, and how far r is from that of the first case, float32 one by one."""
        row = {"ms/cell": 1e3 * seconds, "cells of the grid": self.cells, "grid s": seconds * self.cells}
        if r is not None:
            self.reference = r if self.reference is None else self.reference
            row["largest r"], row["r apart"] = float(r.max()), float(np.abs(r - self.reference).max())
        return {**row, "TFLOP/s": rate / 1e12, **self.bench.peak_gb()}


def nothing() -> None:
    """A pulse that nobody feels."""
