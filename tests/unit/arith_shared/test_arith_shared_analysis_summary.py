"""The summary of a run from a handful of rows."""

import pytest
from scipy import stats

from arith_shared.analysis.summary import summarize
from arith_shared.problems import LAYOUTS

SHARDS = [
    {"split": "probe", "tried": 100, "solved": 90, "kept": 90},
    {"split": "test", "tried": 50, "solved": 49, "kept": 49},
    {"split": "test", "tried": 50, "solved": 50, "kept": 50},
]


def row(layer, position, variable, value, given=False):
    cell = {"layer": layer, "position": position, "token": "B", "variable": variable, "family": "ridge"}
    return cell | {"value": value, "ci_low": 0.1, "ci_high": 0.99, "given": given, "n_eval": 99}


SCORES = [row(0, 4, "A", 0.6), row(1, 6, "A", 0.95), row(0, 8, "A", 1.0, given=True), row(0, 4, "B", None)]


@pytest.fixture
def tables():
    return summarize(layout=LAYOUTS["level-1"], threshold=0.9, shards=SHARDS, scores=SCORES)


def test_accuracy_counts_every_problem_tried_over_all_shards_of_the_test_split(tables):
    found = {each["name"]: each for each in tables["summary"]}
    expected = stats.binomtest(99, 100).proportion_ci(0.95, method="wilson")
    assert found["accuracy"] == {
        "name": "accuracy",
        "value": 0.99,
        "ci_low": pytest.approx(expected.low),
        "ci_high": pytest.approx(expected.high),
        "n": 100,
    }
    assert (found["accuracy_probe_split"]["value"], found["accuracy_probe_split"]["n"]) == (0.9, 100)


def test_the_best_correlation_ignores_printed_values_and_keeps_its_interval(tables):
    assert tables["summary"][2:] == [
        {"name": "max_r/ridge/A", "value": 0.95, "ci_low": 0.1, "ci_high": 0.99, "n": 99},
        {"name": "max_r/ridge/B", "value": None, "ci_low": None, "ci_high": None, "n": 0},
    ]


def test_emergence_is_counted_from_the_equations_of_the_layout(tables):
    found = {each["variable"]: each["offset_from_own_equation"] for each in tables["emergence"]}
    assert found == {"A": 2, "B": None}


def test_a_split_that_was_never_tried_has_no_accuracy():
    found = summarize(layout=LAYOUTS["level-1"], threshold=0.9, shards=SHARDS[:1], scores=[])
    assert [each["name"] for each in found["summary"]] == ["accuracy_probe_split"]


def test_an_untrained_lm_has_its_own_rows_and_never_emerges():
    scores = [{**row(1, 6, "A", 0.95), "family": "ridge@untrained"}]
    found = summarize(layout=LAYOUTS["level-1"], threshold=0.9, shards=[], scores=scores)
    assert [each["name"] for each in found["summary"]] == ["untrained/ridge/A", "untrained/ridge/B"]
    assert found["emergence"] == []
