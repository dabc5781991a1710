"""The family `ridge` with its penalty chosen and 20 shuffled-label columns, beside scikit-learn's RidgeCV."""

from __future__ import annotations

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from arith_prober.probes.ridge import Ridge
from bench.command import Options, main
from bench.machine import Machine
from bench.race import OURS, Contestant, race
from bench.report import Report, Table, at_least, lap_rows, ratio

PENALTIES = tuple(10.0**power for power in range(-4, 5))
VARIABLES, CONTROLS, EVALUATED = 3, 20, 2_000
PER_CELL, TOGETHER = "RidgeCV per target", "RidgeCV, all targets in one fit"

Matrix = NDArray[np.float32]


def measure(options: Options, machine: Machine) -> Report:
    """Width 64 to 1,024 at 10,000 problems: one position of one layer, 3 variables and 20 controls."""
    report = Report(
        "Ridge probes: penalty by cross-validation, 3 variables and 20 controls on the same hidden states",
        f"One (layer, position) with N = 10,000, {EVALUATED:,} predicted, {len(PENALTIES)} penalties; a grid "
        f"repeats it cell by cell. RidgeCV finds its penalty by exact leave-one-out, arithctl by its mean (GCV). "
        f"`{PER_CELL}` was timed for one target and counted 23 times: every fit does the same work.",
    )
    speed, same = Table("Cells of 23 targets"), Table("Pearson r of the 3 variables on problems not fitted")
    for width in (16,) if options.quick else (64, 256, 1024):
        X, Y, X_eval, Y_eval = data(200 if options.quick else 10_000, width)
        fits = Fits(X, Y, X_eval)
        for threads in options.threads:
            laps = race(fits.contestants(), options.rounds, threads)
            floor = flops(len(X), width) / (1e9 * machine["gemm_fp32_gflops"][str(threads)])
            speed.rows += lap_rows(laps, "cells", threads, floor, width=width)
            report.targets += [
                at_least(
                    f"d = {width}, {threads} thread(s): {PER_CELL}, CPU time / ours",
                    20,
                    ratio(laps, PER_CELL),
                )
            ]
        same.rows += [{"width": width, **fits.agreement(Y_eval)}]
    report.tables += [speed, same]
    report.notes += [
        "Floor: the Gram matrix, 2 N d^2 FLOPs, and its eigenvectors, about 9 d^3, at the measured float32 rate; "
        "arithctl computes both in float64, at half that rate, because a covariance squares the condition number."
    ]
    return report


def flops(n: int, width: int) -> float:
    """FLOPs of a Gram matrix and its eigenvectors (Golub and Van Loan, 8.3: about 9 d^3)."""
    return 2.0 * n * width**2 + 9.0 * width**3


def data(n: int, width: int) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """States with a decaying spectrum, 3 variables that they half determine, 20 columns that they do not."""
    rng = np.random.default_rng(width)
    scale = 1 / np.sqrt(1 + np.arange(width))
    X = (rng.standard_normal((n + EVALUATED, width)) * scale).astype(np.float32)
    Y = rng.standard_normal((len(X), VARIABLES + CONTROLS)).astype(np.float32)
    Y[:, :VARIABLES] += X @ rng.standard_normal((width, VARIABLES)).astype(np.float32)
    return X[:n], Y[:n], X[n:], Y[n:]


class Fits:
    """The same fit, three ways."""

    def __init__(self, X: Matrix, Y: Matrix, X_eval: Matrix) -> None:
        """`Y` has variables first, then controls."""
        self._X, self._Y, self._X_eval = X, Y, X_eval
        self._ridge = Ridge(PENALTIES, torch.device("cpu"))
        # Ours are relative to the mean eigenvalue of the covariance; scikit-learn's multiply n times that.
        self._alphas = np.array(PENALTIES) * X.var(axis=0, dtype=np.float64).mean() * len(X)

    def contestants(self) -> list[Contestant]:
        """Work is counted in cells of 23 targets."""
        targets = self._Y.shape[1]
        return [
            Contestant(OURS, self.ours, 1),
            Contestant(PER_CELL, lambda: self.theirs(self._Y[:, 0]), 1 / targets),
            Contestant(TOGETHER, lambda: self.theirs(self._Y), 1),
        ]

    def ours(self) -> NDArray[np.float64]:
        """float64[problem, target]"""
        seeds = [0] * self._Y.shape[1]
        return self._ridge.fit_predict(self._X, self._Y.astype(np.float64), self._X_eval, seeds, lambda: None)

    def theirs(self, Y: Matrix) -> NDArray[np.float64]:
        """The predictions of RidgeCV for one target or several, each with a penalty of its own."""
        fit = RidgeCV(self._alphas, alpha_per_target=Y.ndim > 1).fit(self._X, Y)
        return np.asarray(fit.predict(self._X_eval), np.float64)

    def agreement(self, Y_eval: Matrix) -> dict[str, float]:
        """r of both, and how far they differ at most."""
        both = [
            [float(np.corrcoef(P[:, k], Y_eval[:, k])[0, 1]) for k in range(VARIABLES)]
            for P in (self.ours(), self.theirs(self._Y))
        ]
        apart = max(abs(one - two) for one, two in zip(*both, strict=True))
        return {"r, arithctl": min(both[0]), "r, RidgeCV": min(both[1]), "largest difference": apart}


if __name__ == "__main__":
    sys.exit(main("ridge", measure))
