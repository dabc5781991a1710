"""The words around a figure: each number comes from the run's own rows; what was not measured is left out."""

from __future__ import annotations

import math

from arithctl.figures.data import FigureData, Grid

#: What each probe family is, in a few words.
FAMILIES = {
    "mlp": "two-layer MLP probes (Kudo et al. 2024, table 1)",
    "ridge": "linear ridge probes",
}


def headline(data: FigureData) -> str:
    """The run's id, and its title if it has one."""
    return f"{data.run}: {data.title}" if data.title and data.title != data.run else data.run


def accuracy_line(data: FigureData) -> str:
    """``LM solves 98.8 % [98.2, 99.2] of 2,000 problems``; empty if the accuracy is not known."""
    accuracy = data.accuracy
    if accuracy is None:
        return ""
    interval = ""
    if accuracy.low is not None and accuracy.high is not None:
        interval = f" [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"
    problems = f" of {accuracy.n:,} problems" if accuracy.n else " of the problems"
    return f"LM solves {100 * accuracy.value:.1f} %{interval}{problems}"


def probe_line(grid: Grid) -> str:
    """Which probes, fitted and evaluated on how many problems."""
    what = FAMILIES.get(grid.family, f"{grid.family} probes")
    fitted, evaluated = _count(grid.n_train), _count(grid.n_eval)
    return f"Pearson r of {what}, fitted on {fitted} and evaluated on {evaluated} problems."


def ceiling_line(data: FigureData) -> str:
    """What the ceiling is, and how high it stands where nothing can have been computed yet."""
    text = "ceiling, the best correlation that any reader of the tokens so far could reach."
    return f"{text} {_before_last_operand(data)}".rstrip()


def correlation(value: float) -> str:
    """``0.667`` -> ``.67``, ``-0.02`` -> ``−.02``, ``1.0`` -> ``1.00``: two decimals, no leading zero."""
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value < 0 and text != ".00" else text


def _before_last_operand(data: FigureData) -> str:
    """How far one gets with the last variable without computing it: its ceiling, and an untrained LM."""
    variable = data.variables[-1]
    end = data.own_equation_end.get(variable, 0)
    if end < 1 or math.isnan(ceiling := float(data.ceiling[end - 1, len(data.variables) - 1])):
        return ""
    text = f"Before its last operand, {variable}'s ceiling is {correlation(ceiling)}"
    untrained = data.untrained.get(variable)
    return (
        f"{text}."
        if untrained is None
        else f"{text}; an untrained LM already gives {correlation(untrained)}."
    )


def _count(extent: tuple[int, int]) -> str:
    low, high = extent
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
