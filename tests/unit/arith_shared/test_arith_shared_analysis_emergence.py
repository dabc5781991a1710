"""Where variables emerge in hand-made tables."""

import pytest

from arith_shared.analysis.emergence import best_cell, emergence, own_equation_ends
from arith_shared.problems import LAYOUTS

#: Question of `eq1`, one character per token.
TOKENS = "A=1+B,B=2+3,C=4+5;A="


def row(layer, position, variable, value, *, family="ridge", given=False):
    cell = {
        "layer": layer,
        "position": position,
        "token": TOKENS[position],
        "variable": variable,
        "family": family,
    }
    interval = (
        {"ci_low": None, "ci_high": None}
        if value is None
        else {"ci_low": value - 0.1, "ci_high": value + 0.1}
    )
    return cell | {"value": value, "given": given} | interval


def only(rows):
    (found,) = emergence(rows, {"A": 4}, 0.9)
    return found


@pytest.mark.parametrize(
    ("layout", "ends"),
    [
        ("eq1", {"A": 4, "B": 10, "C": 16}),
        ("level-1", {"A": 4, "B": 8}),
        ("level-2", {"A": 4, "B": 10}),
        ("level-5", {"A": 4, "B": 10, "C": 16}),
    ],
)
def test_an_equation_ends_at_its_last_operand(layout, ends):
    assert own_equation_ends(LAYOUTS[layout]) == ends


def test_a_variable_emerges_at_the_first_position_whose_best_layer_passes():
    rows = [
        row(0, 8, "A", 0.5),
        row(1, 9, "A", 0.89),
        row(0, 10, "A", 0.91),
        row(1, 10, "A", 0.95),
        row(0, 12, "A", 1.0),
    ]
    assert only(rows) == {
        "variable": "A",
        "family": "ridge",
        "threshold": 0.9,
        "position": 10,
        "token": "3",
        "layer": 1,
        "offset_from_own_equation": 6,
        "ci_low": 9.0,
        "ci_high": 12.0,
    }


def test_the_interval_of_the_position_spans_where_the_data_do_not_tell():
    # Rows have r +- 0.1: .85 may well be .9 or more, .95 may well be less, and 1.0 cannot be.
    rows = [row(0, position, "A", r) for position, r in enumerate((0.7, 0.85, 0.95, 0.98, 1.0))]
    found = only(rows)
    assert (found["ci_low"], found["position"], found["ci_high"]) == (1.0, 2, 4.0)


def test_a_position_that_may_lie_beyond_the_end_has_no_upper_bound():
    found = only([row(0, 3, "A", 0.5), row(0, 4, "A", 0.95)])
    assert (found["ci_low"], found["position"], found["ci_high"]) == (4.0, 4, None)
    never = only([row(0, 3, "A", 0.5), row(0, 4, "A", 0.85)])
    assert (never["ci_low"], never["position"], never["ci_high"]) == (4.0, None, None)


def test_without_intervals_of_cells_the_position_has_none():
    bare = [row(0, 4, "A", 0.95) | {"ci_low": None, "ci_high": None}]
    found = only(bare)
    assert (found["ci_low"], found["position"], found["ci_high"]) == (None, 4, None)


def test_an_interval_that_misses_its_own_estimate_still_gives_a_position_interval_around_it():
    odd = [row(0, 4, "A", 0.95) | {"ci_low": 0.96, "ci_high": 0.97}, row(0, 3, "A", 0.5)]
    odd[1] |= {"ci_low": 0.91, "ci_high": 0.92}
    assert (only(odd)["ci_low"], only(odd)["position"], only(odd)["ci_high"]) == (3.0, 4, 4.0)


def test_reaching_the_threshold_exactly_is_enough():
    assert only([row(0, 10, "A", 0.9)])["position"] == 10


def test_the_lower_of_two_equal_layers_is_named():
    assert only([row(3, 10, "A", 0.95), row(2, 10, "A", 0.95)])["layer"] == 2


def test_a_printed_value_is_no_emergence():
    assert only([row(0, 10, "A", 1.0, given=True), row(0, 12, "A", 0.95)])["position"] == 12


def test_a_variable_that_never_passes_has_an_empty_row():
    found = only([row(0, 10, "A", 0.75), row(0, 11, "A", None), row(0, 12, "A", 1.0, given=True)])
    missing = {name for name, value in found.items() if value is None}
    assert missing == {"position", "token", "layer", "offset_from_own_equation", "ci_low", "ci_high"}


def test_emergence_at_position_0_is_not_taken_for_none():
    found = only([row(0, 0, "A", 0.95)])
    assert (found["position"], found["layer"], found["offset_from_own_equation"]) == (0, 0, -4)


def test_families_and_variables_are_judged_apart():
    rows = [row(0, 10, "A", 0.95), row(0, 12, "A", 0.95, family="mlp"), row(0, 13, "B", 0.95)]
    found = {
        (each["family"], each["variable"]): each["position"]
        for each in emergence(rows, {"B": 10, "A": 4}, 0.9)
    }
    assert found == {("mlp", "A"): 12, ("mlp", "B"): None, ("ridge", "A"): 10, ("ridge", "B"): 13}


def test_the_best_cell_is_the_first_of_the_greatest_that_print_nothing():
    rows = [row(1, 5, "A", 0.7), row(0, 6, "A", 0.7), row(0, 7, "A", 1.0, given=True), row(0, 8, "A", None)]
    assert best_cell(rows) == rows[0]
    assert best_cell(rows[2:]) is None
