"""Figures show what the score rows say: values in their cells, failures as failures, no invented numbers."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arith_shared.problems import LAYOUTS, output_tokens, question_tokens
from arithctl.figures import FigureData
from arithctl.figures.captions import accuracy_line, ceiling_line, correlation, headline, probe_line
from arithctl.figures.data import own_equation_ends, question_length

LABELS = list("A=1+B,B=2+3,C=4+5;A=")


def score(layer: int, position: int, variable: str, value: float | None, **changes: Any) -> dict[str, Any]:
    row = {
        "layer": layer,
        "position": position,
        "token": LABELS[position],
        "variable": variable,
        "family": "mlp",
        "metric": "pearson",
        "value": value,
        "ci_low": None,
        "ci_high": None,
        "n_train": 10_000,
        "n_eval": 2_000,
        "ceiling": 0.67 if (variable, position) == ("C", 15) else 0.1,
        "control": None,
        "given": False,
        "status": "ok" if value is not None else "diverged",
    }
    return row | changes


def whole_run() -> list[dict[str, Any]]:
    """A value for every cell that names its own layer, position and variable."""
    return [
        score(layer, position, variable, layer / 10 + position / 1_000 + index / 100_000)
        for layer in range(3)
        for position in range(20)
        for index, variable in enumerate("ABC")
    ]


def test_every_value_lands_in_its_own_cell_whatever_the_order_of_the_rows() -> None:
    rows = whole_run()
    np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
    data = FigureData.from_rows("run", rows)
    value = data.grid("mlp").value
    assert value.shape == (3, 20, 3)
    assert value[2, 15, 1] == 2 / 10 + 15 / 1_000 + 1 / 100_000
    layer, position, variable = np.meshgrid(range(3), range(20), range(3), indexing="ij")
    np.testing.assert_allclose(value, layer / 10 + position / 1_000 + variable / 100_000, rtol=0, atol=1e-15)
    assert data.labels == tuple(LABELS)
    assert data.variables == ("A", "B", "C")
    assert data.layers == (0, 1, 2)


def test_ceiling_and_printed_values_are_read_from_the_rows() -> None:
    rows = [row | {"given": (row["variable"], row["position"]) == ("B", 19)} for row in whole_run()]
    data = FigureData.from_rows("run", rows)
    assert data.ceiling[15, 2] == 0.67
    assert data.ceiling[14, 2] == 0.1
    assert np.argwhere(data.given).tolist() == [[19, 1]]


def test_layers_that_were_not_written_leave_no_gap() -> None:
    rows = [score(layer, 0, "A", 0.5) for layer in (0, 4, 8)]
    data = FigureData.from_rows("run", rows)
    assert data.layers == (0, 4, 8)
    assert data.grid("mlp").value.shape == (3, 1, 1)


def test_a_failed_probe_is_a_failure_and_never_a_zero() -> None:
    rows = [score(0, 0, "A", None), score(1, 0, "A", 0.25), score(0, 1, "A", None, status="constant")]
    grid = FigureData.from_rows("run", rows).grid("mlp")
    assert np.argwhere(grid.failed).tolist() == [[0, 0, 0], [0, 1, 0]]
    assert math.isnan(grid.value[0, 0, 0])
    assert not grid.failed[1, 1, 0]  # absent, which is not the same
    np.testing.assert_array_equal(grid.best[:, 0], [0.25, np.nan])


def test_the_best_layer_is_taken_per_token_and_variable() -> None:
    rows = [
        score(layer, 3, v, r)
        for v, rs in {"A": (-0.3, -0.1), "B": (0.2, 0.9)}.items()
        for layer, r in enumerate(rs)
    ]
    best = FigureData.from_rows("run", rows).grid("mlp").best
    assert best[3].tolist() == [-0.1, 0.9]
    assert np.isnan(best[:3]).all()


def test_families_are_kept_apart() -> None:
    rows = [score(0, 0, "A", 0.1), score(0, 0, "A", 0.9, family="ridge")]
    data = FigureData.from_rows("run", rows)
    assert data.families == ("mlp", "ridge")
    assert data.grid("mlp").value.item() == 0.1
    assert data.grid("ridge").value.item() == 0.9


def test_rows_of_two_runs_are_refused() -> None:
    data = FigureData.from_rows("run", [score(0, 4, "A", 0.1), score(0, 4, "A", 0.2)])
    with pytest.raises(
        ValueError, match="layer 0, position 4, variable A, found two; draw one run at a time"
    ):
        data.grid("mlp")


def test_a_run_without_scores_is_told_to_wait() -> None:
    with pytest.raises(ValueError, match="run new-1 has no scores yet"):
        FigureData.from_rows("new-1", [])


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_own_equations_end_where_the_grammar_says(name: str) -> None:
    layout = LAYOUTS[name]
    definitions = layout.text.replace(" ", "").split(";")[0]
    expected, position = {}, 0
    for equation in definitions.split(","):  # one letter or digit is one token
        position += len(equation)
        expected[equation[0]] = position - 1
        position += 1
    labels = [token.label for token in question_tokens(layout)]
    assert own_equation_ends(labels, layout.variables) == expected


@pytest.mark.parametrize("chain", ["none", "short", "backtrack"])
@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_the_question_ends_where_the_lm_begins_to_write(name: str, chain: Any) -> None:
    question = [token.label for token in question_tokens(LAYOUTS[name])]
    output = [token.label for token in output_tokens(LAYOUTS[name], chain)]
    assert question_length(question + output) == len(question)
    for separator in (";", ","):
        asked = replace(LAYOUTS[name], separator=separator, question_end="=?")
        question = [token.label for token in question_tokens(asked)]
        assert question_length(question + output) == len(question)


def test_what_only_reads_has_no_output() -> None:
    data = FigureData.from_rows("run", whole_run())
    assert data.output_start is None
    assert data.equation_starts == [6, 12, 18]


def test_accuracy_and_the_untrained_lm_come_from_the_summary() -> None:
    summary = [
        {"name": "accuracy", "value": 0.988, "ci_low": 0.9822, "ci_high": 0.992, "n": 2_000},
        {"name": "untrained/mlp/C", "value": 0.61},
        {"name": "untrained/ridge/C", "value": 0.684},
        {"name": "untrained/A", "value": None},
    ]
    data = FigureData.from_rows("run", whole_run(), summary=summary)
    assert accuracy_line(data) == "LM solves 98.8 % [98.2, 99.2] of 2,000 problems"
    assert data.untrained == {"A": None, "B": None, "C": 0.684}
    assert ceiling_line(data).endswith("C's ceiling is .67; an untrained LM already gives .68.")


def test_what_was_not_measured_is_not_claimed() -> None:
    data = FigureData.from_rows("run", whole_run())
    assert accuracy_line(data) == ""
    assert "untrained" not in ceiling_line(data)
    assert ceiling_line(data).endswith("Before its last operand, C's ceiling is .67.")
    unknown = FigureData.from_rows("run", [row | {"ceiling": None} for row in whole_run()])
    assert "last operand" not in ceiling_line(unknown)


def test_the_caption_names_probe_and_sizes() -> None:
    rows = [score(0, 0, "A", 0.1), score(0, 1, "A", 0.1, n_train=9_500)]
    line = probe_line(FigureData.from_rows("run", rows).grid("mlp"))
    assert line == (
        "Pearson r of two-layer MLP probes (Kudo et al. 2024, table 1), "
        "fitted on 9,500 to 10,000 and evaluated on 2,000 problems."
    )


def test_a_title_follows_the_id_and_is_not_said_twice() -> None:
    assert headline(FigureData.from_rows("run-1", whole_run(), title="A model")) == "run-1: A model"
    assert headline(FigureData.from_rows("run-1", whole_run(), title="run-1")) == "run-1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.667, ".67"),
        (1.0, "1.00"),
        (0.996, "1.00"),
        (-0.02, "−.02"),
        (-0.001, ".00"),
        (0.0, ".00"),
        (-1.0, "−1.00"),
    ],
)
def test_correlations_are_written_as_papers_write_them(value: float, text: str) -> None:
    assert correlation(value) == text


def test_importing_figures_loads_no_matplotlib() -> None:
    program = "import sys, arithctl.figures, arithctl.output; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
