"""A sweep is every combination of its values, and a slip in it is told before anything starts."""

from __future__ import annotations

import pytest

from arith_shared.errors import SpecError
from arithctl import recipes
from arithctl.sweeps import expand, parse_sweep


@pytest.mark.parametrize(
    ("text", "sweep"),
    [
        ("seed=1,2,3", ("seed", [1, 2, 3])),
        ("lm.path=a,/b", ("lm.path", ["a", "/b"])),
        ("probe.families=[ridge],[mlp,ridge]", ("probe.families", [["ridge"], ["mlp", "ridge"]])),
    ],
)
def test_values_are_read_as_yaml(text, sweep):
    assert parse_sweep(text) == sweep


@pytest.mark.parametrize(
    ("text", "message"), [("seed", "FIELD=VALUE"), ("seed=", "FIELD=VALUE"), ("seed=1,1", "twice")]
)
def test_what_is_no_sweep_is_refused(text, message):
    with pytest.raises(SpecError, match=message):
        parse_sweep(text)


def test_there_is_a_run_for_each_combination_the_last_field_varying_fastest():
    recipe = recipes.load("tiny-specialized")
    members = expand(recipe, [], None, [("seed", [1, 2]), ("probe.controls", [0, 3])])
    assert [(one.spec.seed, one.spec.probe.controls) for one in members] == [(1, 0), (1, 3), (2, 0), (2, 3)]
    assert members[1].swept == {"seed": 1, "probe.controls": 3}


@pytest.mark.parametrize(
    ("overrides", "seed", "sweeps", "message"),
    [
        ([], 3, [("seed", [1, 2])], "seed is both swept and set"),
        ([], None, [("seed", [1]), ("seed", [2])], "seed is swept twice"),
        ([], None, [("seed", list(range(201)))], "201 runs"),
        ([], None, [("probe.controls", [1, -1])], "sweep probe.controls=-1: probe.controls"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_with_the_reason(overrides, seed, sweeps, message):
    with pytest.raises(SpecError, match=message):
        expand(recipes.load("tiny-specialized"), overrides, seed, sweeps)
