"""Score rows as arrays."""

import numpy as np
import pytest

from arith_shared.analysis.panel import families, max_over_layers, pivot


def row(layer, position, variable, value, family="ridge", **more):
    cell = {"layer": layer, "position": position, "token": "A=1+B"[position], "variable": variable}
    return cell | {"family": family, "value": value, "ceiling": 0.5, "given": False} | more


ROWS = [
    row(1, 0, "A", 0.3),
    row(0, 0, "A", 0.2),
    row(0, 2, "A", None, status="constant"),
    row(1, 2, "A", 0.7),
    row(0, 0, "B", None, status="diverged"),
    row(1, 0, "B", None, status="diverged"),
    row(0, 2, "B", -0.1),
    row(0, 0, "A", 0.9, family="mlp"),
]


def test_a_panel_is_ordered_by_layer_position_and_variable_whatever_the_order_of_rows():
    panel = pivot(ROWS[::-1], "ridge")
    assert (panel.layers, panel.positions, panel.tokens, panel.variables) == (
        (0, 1),
        (0, 2),
        ("A", "1"),
        ("A", "B"),
    )
    nan = np.nan
    np.testing.assert_array_equal(panel.values, [[[0.2, nan], [nan, -0.1]], [[0.3, nan], [0.7, nan]]])


def test_the_best_layer_is_taken_among_cells_with_a_number():
    found = max_over_layers(ROWS, "ridge")
    np.testing.assert_array_equal(found["A"], [0.3, 0.7])
    np.testing.assert_array_equal(found["B"], [np.nan, -0.1])


def test_any_column_can_be_arranged_also_where_the_fit_failed():
    panel = pivot([row(0, 0, "A", None, given=True), row(0, 1, "A", 0.1)], "ridge", "given")
    np.testing.assert_array_equal(panel.values[0, :, 0], [1, 0])


def test_families_are_those_that_have_rows():
    assert families(ROWS) == ("mlp", "ridge")
    assert families([]) == ()


def test_a_family_without_rows_is_named():
    with pytest.raises(ValueError, match="family 'adam', found none"):
        pivot(ROWS, "adam")


def test_rows_of_two_runs_are_refused_instead_of_overwriting_each_other():
    with pytest.raises(ValueError, match=r"found 14 for 7.*one run"):
        pivot(ROWS + ROWS, "ridge")
