"""Probes on distinct states beside probes on every problem's state: early positions and layer 0 have few."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from arith_prober.distinct import Rows, distinct
from arith_prober.metrics import pearson
from arith_prober.probes import Family, Mlp, Ridge, mlp, ridge
from arith_shared.specs import Spec
from arith_shared.store.states import StateReader
from bench.command import Options, main
from bench.machine import Machine
from bench.race import OURS, Contestant, race
from bench.report import Report, Table, at_least, at_most, lap_rows, ratio
from bench.shards import extract_shard, small_spec, untrained_lm

PLAIN = "every problem by itself"
WHY = "finding equal states and the small fits cost what the saved products gain"
#: Shuffled columns that the family `ridge` fits along.
CONTROLS = 3

Cell = tuple[int, int]


def measure(options: Options, machine: Machine) -> Report:
    """All layers and positions of the recipe tiny-specialized, both families."""
    fitted, asked = (200, 50) if options.quick else (4000, 2000)
    shape = {"lm__layers": 1, "lm__width": 16, "lm__ffn": 64} if options.quick else {}
    spec = small_spec("tiny-specialized", fitted + asked, **shape)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract_shard(spec, untrained_lm(spec, folder / "lm"), folder / "states")
        grid = Grid(spec, StateReader([folder / "states"], fitted + asked), fitted)
        report = Report(
            "Prefix de-duplication: equal hidden states are fitted once, with weights",
            f"tiny-specialized, {len(grid.layers)} x {len(grid.labels)} (layer, position), width {spec.lm.width}, "
            f"N = {fitted:,}, {asked:,} predicted, untrained weights; cells whose states are all equal are left out. "
            f"`ridge` fits 3 variables and {CONTROLS} controls, `mlp` one variable of the three.",
        )
        speed = Table("Cells of the grid")
        for family in (Fits("ridge", grid, spec), Fits("mlp", grid, spec)):
            for threads in options.threads:
                laps = race(family.contestants(), options.rounds, threads)
                speed.rows += lap_rows(laps, "cells", threads, family=family.name)
                what = f"{family.name}, {threads} thread(s): {PLAIN}, CPU time / ours"
                report.targets.append(at_least(what, 1.0, ratio(laps, PLAIN), WHY))
            report.targets += [
                at_most(f"{family.name}: largest difference of r", 1e-6, family.apart(), unit=""),
                at_least(f"{family.name}: share of FLOPs saved", 0.25, family.saved(), unit=""),
            ]
        report.tables += [speed, Table("Distinct states of the problems that are fitted", grid.counts())]
    report.notes.append(
        "FLOPs: `mlp` 4 n d^2 for each of 30 steps; `ridge` 2 n d^2 and 9 d^3; 2 n d^2 or 2 n d per target for "
        "predicting; n is problems or distinct states."
    )
    return report


class Grid:
    """All cells that have a probe, with their states in memory as the store gives them."""

    def __init__(self, spec: Spec, reader: StateReader, fitted: int) -> None:
        """The first `fitted` problems of `reader` are fitted, the others predicted."""
        self.layers, self.labels, self.fitted = reader.layers, reader.labels, fitted
        self._X = {
            (at, place): reader.matrix(at, place)
            for at in reader.layers
            for place in range(len(reader.labels))
        }
        self.cells = [cell for cell, X in self._X.items() if (X[fitted:] != X[fitted]).any()]
        self.Y = np.stack([reader.values(name) for name in reader.variables], axis=1)
        self.variables: int = self.Y.shape[1]

    def states(self, cell: Cell) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """float32[problem, width] to fit, and to predict."""
        return self._X[cell][: self.fitted], self._X[cell][self.fitted :]

    def counts(self) -> list[dict[str, object]]:
        """Distinct states by position and layer; all are counted, also where they are not worth it."""
        return [
            {"position": place, "token": label}
            | {f"layer {at}": len(np.unique(self._X[at, place][: self.fitted], axis=0)) for at in self.layers}
            for place, label in enumerate(self.labels)
        ]


@dataclass(slots=True)
class Fits:
    """One family over the grid, in both ways."""

    name: str
    grid: Grid
    spec: Spec
    _found: dict[str, dict[Cell, NDArray[np.float64]]] = field(default_factory=dict)

    def contestants(self) -> list[Contestant]:
        """Work is counted in cells."""
        return [
            Contestant(OURS, lambda: self._run(OURS, distinct), len(self.grid.cells)),
            Contestant(PLAIN, lambda: self._run(PLAIN, Rows), len(self.grid.cells)),
        ]

    def apart(self) -> float:
        """The largest difference of r; infinite where one way has an r and the other has none."""
        truth = self.grid.Y[self.grid.fitted :]
        differences = [0.0]
        for cell in self.grid.cells:
            both = (self._found[way][cell][:, : self.grid.variables] for way in (OURS, PLAIN))
            ours, plain = (pearson(P, truth[:, : P.shape[1]]) for P in both)
            for one, two in zip(ours, plain, strict=True):
                if one.value is not None and two.value is not None:
                    differences.append(abs(one.value - two.value))
                elif one.status != two.status:
                    differences.append(float("inf"))
        return max(differences)

    def saved(self) -> float:
        """The share of FLOPs that distinct states save."""
        plain = ours = 0.0
        for cell in self.grid.cells:
            states = self.grid.states(cell)
            plain += self._flops(*map(len, states))
            ours += self._flops(*(len(distinct(X).X) for X in states))
        return 1 - ours / plain

    def _flops(self, fitted: int, asked: int) -> float:
        d = self.spec.lm.width
        if self.name == "mlp":
            return (4.0 * fitted * self.spec.probe.mlp.epochs + 2.0 * asked) * d**2
        return 2.0 * fitted * d**2 + 9.0 * d**3 + 2.0 * asked * d * (self.grid.variables + CONTROLS)

    def _run(self, way: str, rows: Callable[[NDArray[np.float32]], Rows]) -> None:
        family, Y = self._family()
        with _rows_by(rows):
            self._found[way] = {}
            for cell in self.grid.cells:
                X_fit, X_ask = self.grid.states(cell)
                self._found[way][cell] = family.fit_predict(X_fit, Y, X_ask, range(Y.shape[1]), lambda: None)

    def _family(self) -> tuple[Family, NDArray[np.float64]]:
        Y, cpu, probe = self.grid.Y[: self.grid.fitted], torch.device("cpu"), self.spec.probe
        if self.name == "mlp":
            return Mlp(probe.mlp.epochs, probe.mlp.lr, cpu), Y[:, :1]
        controls = [np.random.default_rng(number).permutation(Y[:, 0]) for number in range(CONTROLS)]
        return Ridge(probe.ridge.penalties, cpu), np.column_stack([Y, *controls])


@contextmanager
def _rows_by(rows: Callable[[NDArray[np.float32]], Rows]) -> Iterator[None]:
    """Both families take their rows from `rows`: the prober has no switch, as scores do not depend on it."""
    with mock.patch.object(ridge, "distinct", rows), mock.patch.object(mlp, "distinct", rows):
        yield


if __name__ == "__main__":
    sys.exit(main("dedup", measure))
