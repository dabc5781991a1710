"""Predictions to points: the first few hundred problems of every cell, a byte each.

A screen cannot show 2,000 points in one small panel, nor more than 256 steps of it. The problems are the first by
index, so that nobody chose them; the correlation beside them is that of all problems.
"""

from __future__ import annotations

import base64

import numpy as np

from arith_shared.store.predictions import Cell, Predictions
from arithctl.figures.data import FigureData
from arithctl.report.data import Scatter, Scatters
from arithctl.report.grids import cell_index

#: Digits of a cell's range; its points are 1/255 of the range apart.
_DIGITS = 5


def scatters_of(data: FigureData, predictions: Predictions, points: int) -> Scatters:
    """The points of every cell that has a score. Raises ArtifactError when a file is damaged."""
    places = {
        Cell(row["layer"], row["position"], row["variable"], row["family"])
        for row in data.rows
        if row["status"] == "ok"
    }
    truths: dict[tuple[float, ...], int] = {}
    cells = {}
    for cell in predictions.cells:
        if cell not in places:
            continue
        found = predictions.read(cell)
        truth = tuple(map(float, found.truth[:points]))
        index = truths.setdefault(truth, len(truths))
        key = f"{cell.family}|{cell_index(data, cell.layer, cell.position, cell.variable)}"
        cells[key] = _encode(found.predicted[:points].astype(np.float64), index)
    note = (
        ""
        if cells
        else "This run keeps no predictions (probe.keep_predictions: false, or made before they were kept)."
    )
    return Scatters(
        note=note, points=points if cells else 0, truths=[list(truth) for truth in truths], cells=cells
    )


def no_scatters(note: str) -> Scatters:
    """Nothing to show, and why."""
    return Scatters(note=note, points=0, truths=[], cells={})


def _encode(predicted: np.ndarray[tuple[int], np.dtype[np.float64]], truth: int) -> Scatter:
    low, high = float(predicted.min()), float(predicted.max())
    span = high - low or 1.0
    steps = np.rint((predicted - low) / span * 255).astype(np.uint8)
    text = base64.b64encode(steps.tobytes()).decode("ascii")
    return Scatter(
        low=float(f"{low:.{_DIGITS}g}"), high=float(f"{high:.{_DIGITS}g}"), bytes=text, truth=truth
    )
