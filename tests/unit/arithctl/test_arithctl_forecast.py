"""The forecast agrees with what a run is planned to do, and with counts made by hand."""

from __future__ import annotations

import pytest

from arith_shared.testing import small_spec
from arithctl import recipes
from arithctl.forecast import forecast, measure_rate, parameters, states_bytes


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
    # 18 tokens of definition, and name, sign and answer for each of three variables.
    assert by_stage(general)["train"].flops == pytest.approx(6 * parameters(general) * texts * (18 + 3 * 3))
    plain = recipes.load("tiny-general").resolve(
        [("lm.training.questions", "one"), ("lm.training.course", [])]
    )
    assert by_stage(plain)["train"].flops == pytest.approx(6 * parameters(plain) * 64_000 * 22)


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
    # 2,000 problems x 9 layers x 20 positions x A, B, C x mlp, ridge (and ridge on the untrained LM) x 4 bytes.
    families = 2 + paper.probe.untrained
    assert by_stage(paper)["probe"].size_bytes == 2_000 * 9 * 20 * 3 * families * 4
    assert by_stage(small_spec(probe={"keep_predictions": False}))["probe"].size_bytes == 0
