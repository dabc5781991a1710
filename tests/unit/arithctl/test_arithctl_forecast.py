"""The forecast agrees with what a run is planned to do, and with counts made by hand."""

from __future__ import annotations

import pytest

from arith_shared.testing import small_spec
from arithctl import recipes
from arithctl.forecast import forecast, measure_rate, states_bytes, total_bytes
from arithctl.forecast.counts import parameters, training_steps


def by_stage(spec):
    return {stage.stage: stage for stage in forecast(spec, flops_per_s=1e9)}


def test_units_and_bytes_of_the_papers_run_are_those_of_a_count_by_hand():
    stages = by_stage(recipes.load("opt-specialized").resolve())
    # 5 + 1 shards of 2,000 problems; 9 layers x 20 positions in blocks of 5.
    assert [stages[name].units for name in ("train", "extract", "probe", "summarize")] == [1, 6, 36, 1]
    assert stages["extract"].size_bytes == 12_000 * 20 * 9 * 1024 * 2


def test_flops_of_the_papers_run_are_of_the_known_order():
    stages = by_stage(recipes.load("opt-specialized").resolve())
    # About 1.0e8 weights, 200,000 x 500 texts of 22 tokens, 6 FLOPs each: 1.3e18.
    assert stages["train"].flops == pytest.approx(6 * 1.01e8 * 200_000 * 500 * 22, rel=0.02)
    # 540 probes of 30 steps on 10,000 x 1,024: 1.3e12 each.
    assert stages["probe"].flops == pytest.approx(540 * 1.26e12, rel=0.1)


@pytest.mark.parametrize(
    ("group", "field", "stage", "attribute"),
    [
        ("extract", "n_train", "extract", "size_bytes"),
        ("extract", "n_train", "probe", "flops"),
        ("extract", "n_train", "extract", "flops"),
        ("lm", "layers", "train", "flops"),
        ("lm", "width", "train", "size_bytes"),
        ("lm", "width", "extract", "size_bytes"),
    ],
)
def test_more_work_is_forecast_to_cost_more(group, field, stage, attribute):
    small = small_spec()
    large = small_spec(**{group: {field: 4 * getattr(getattr(small, group), field)}})
    assert getattr(by_stage(large)[stage], attribute) > getattr(by_stage(small)[stage], attribute)


def test_a_course_costs_a_training_set_per_lesson_and_a_definition_is_read_once_for_all_its_questions():
    general = recipes.load("tiny-general").resolve()
    texts = 64_000 + 3 * 320_000
    # 64 definitions a step, and a look at 2,000 problems of 22 tokens every 100 steps.
    assert training_steps(general) == texts / 64
    looks = 2 * 2_000 * 22 * texts / 64 / 100
    # 18 tokens of definition, and name, sign and answer for each of three variables.
    expected = parameters(general) * (6 * texts * (18 + 3 * 3) + looks)
    assert by_stage(general)["train"].flops == pytest.approx(expected)
    plain = recipes.load("tiny-general").resolve(
        [("lm.training.questions", "one"), ("lm.training.course", [])]
    )
    # 78 texts of 22 tokens fit into 1,728, so 821 steps and 9 looks.
    assert training_steps(plain) == 821
    expected = parameters(plain) * (6 * 64_000 * 22 + 2 * 9 * 2_000 * 22)
    assert by_stage(plain)["train"].flops == pytest.approx(expected)


def test_a_text_of_several_problems_is_one_of_those_that_fill_a_step():
    # 32 texts of four problems of 47 tokens.
    assert training_steps(recipes.load("tiny-cot").resolve()) == 64_000 / (32 * 4) == 500


def test_shards_for_the_problems_that_a_trained_lm_will_not_solve_are_forecast():
    # 4,000 / 0.995 problems are five shards of 1,000, and 2,000 / 0.995 are three; the untrained LM needs 4 + 2.
    stages = by_stage(recipes.load("tiny-specialized").resolve())
    assert stages["extract"].units == 5 + 3 + 4 + 2
    assert [stages[name].at_most for name in ("train", "extract")] == [True, False]
    kept = by_stage(recipes.load("tiny-specialized").resolve([("extract.keep", "all")]))
    assert kept["extract"].units == 4 + 2 + 4 + 2


def test_the_disk_that_a_run_needs_has_room_for_checkpoints():
    spec = small_spec()
    stages = by_stage(spec)
    written = sum(stage.size_bytes for stage in stages.values())
    # Weights and two moments, in each of two checkpoints.
    assert total_bytes([spec]) == written + 6 * stages["train"].size_bytes


def test_an_untrained_control_doubles_shards_blocks_and_bytes():
    plain, controlled = small_spec(), small_spec(probe={"untrained": True})
    assert states_bytes(controlled) == 2 * states_bytes(plain)
    assert by_stage(controlled)["extract"].units == 2 * by_stage(plain)["extract"].units
    assert by_stage(controlled)["probe"].units == 2 * by_stage(plain)["probe"].units


def test_time_is_work_over_the_measured_rate():
    spec = small_spec()
    slow, fast = forecast(spec, flops_per_s=1e9), forecast(spec, flops_per_s=4e9)
    assert [stage.seconds for stage in slow] == pytest.approx([4 * stage.seconds for stage in fast])
    assert measure_rate() > 1e8


def test_states_that_are_not_kept_need_the_space_of_one_round():
    spec = recipes.load("mistral-cot").resolve()
    # 12,000 problems x 46 positions x 33 layers of 4,096 numbers of 2 bytes; 4 layers at a time.
    assert states_bytes(spec) == 12_000 * 46 * 33 * 4096 * 2
    assert by_stage(spec)["extract"].size_bytes == 12_000 * 46 * 4 * 4096 * 2
    assert by_stage(spec)["extract"].units == 24 * 9
    assert by_stage(spec)["probe"].units == 33 * 10


def test_a_pretrained_lm_costs_no_training_and_no_disk():
    stage = by_stage(recipes.load("mistral-cot").resolve())["train"]
    assert (stage.units, stage.flops, stage.size_bytes) == (1, 0.0, 0)


def test_selected_positions_and_layers_cost_their_share():
    some = small_spec(extract={"positions": [3, 7], "layers": [1]})
    assert states_bytes(some) == states_bytes(small_spec()) * 2 * 1 / (20 * 2)
    assert by_stage(some)["probe"].units == 1


def test_kept_predictions_are_counted_and_can_be_left_out():
    paper = recipes.load("opt-specialized").resolve()
    # 2,000 problems x 9 layers x 20 positions x A, B, C x mlp, ridge (and ridge on the untrained LM) x 4 bytes; in
    # each of the blocks of five positions the true values as well, and a number for each problem.
    families = 2 + paper.probe.untrained
    predictions = 2_000 * 9 * 20 * 3 * families * 4
    truths = 2_000 * (3 * 4 + 8) * 9 * 4 * (1 + paper.probe.untrained)
    assert by_stage(paper)["probe"].size_bytes == pytest.approx(predictions + truths, rel=0.05)
    assert by_stage(small_spec(probe={"keep_predictions": False}))["probe"].size_bytes < 100_000
