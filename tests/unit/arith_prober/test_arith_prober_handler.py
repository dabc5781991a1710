"""The prober's stages end to end, on shards whose hidden states are made to hold known things.

Layer 0 holds the second operand at its own position and nothing elsewhere; layer 1 holds every variable as a
linear function at every position; layer 2 is noise; layer 3 is layer 1 at a scale that makes SGD diverge.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from arith_model.seeds import derive_seed
from arith_prober.handler import handle
from arith_prober.probes import Mlp
from arith_shared.errors import ArtifactError, UnsolvedError, UserError
from arith_shared.problems import ceiling, probed_tokens, sample
from arith_shared.specs import parse_spec
from arith_shared.store.shards import ProblemTable
from arith_shared.store.states import ShardWriter, StateReader
from arith_shared.work import Artifact, Context, Unit

WIDTH = 16
SPEC = parse_spec(
    {
        "task": {"layout": "level-1", "max_number": 9, "names": 5},
        "lm": {"layers": 3, "heads": 4, "width": WIDTH, "ffn": 32},
        "extract": {"n_train": 400, "n_eval": 200},
        "probe": {"resamples": 200, "controls": 2, "mlp": {"lr": 1e-2}},
        "seed": 5,
    }
)
DISTRIBUTION = SPEC.task.evaluation()
LABELS = [token.label for token in probed_tokens(DISTRIBUTION.layouts[0], "none")]
EQUALS, SECOND_OPERAND = 1, 8


def hidden_states(problems, seed):
    """float32[layer, problem, position, width]"""
    fixed, noise = np.random.default_rng(1), np.random.default_rng(seed)
    count, positions = len(problems), len(LABELS)
    states = np.zeros((4, count, positions, WIDTH))
    states[0] = fixed.normal(size=(positions, WIDTH))
    states[0, :, SECOND_OPERAND] += problems.numbers[:, 1:2] * fixed.normal(size=WIDTH)
    states[1] = (problems.values @ fixed.normal(size=(2, WIDTH)) + 3)[:, None] + 0.01 * noise.normal(
        size=states[1].shape
    )
    states[2] = noise.normal(size=states[2].shape)
    states[3] = states[1] * 500
    return states.astype(np.float32)


def write_shard(folder, split, start, count, solved_share=0.9, weights="trained", positions=None):
    problems = sample(DISTRIBUTION, split, start, count, SPEC.seed)
    solved = np.random.default_rng(start).random(count) < solved_share
    chosen = range(len(LABELS)) if positions is None else positions
    labels, variables = [LABELS[place] for place in chosen], DISTRIBUTION.layouts[0].variables
    table = ProblemTable(problems.index, solved, solved, problems.values, [""] * count)
    folder.mkdir()
    header = {"model": "0" * 32}
    with ShardWriter(folder, range(4), labels, WIDTH, "bfloat16", variables, header, positions) as writer:
        writer.add(hidden_states(problems[solved], seed=start)[:, :, list(chosen)])
        writer.finish(table)
    meta = {
        "weights": weights,
        "split": split,
        "start": start,
        "tried": count,
        "solved": int(solved.sum()),
        "kept": int(solved.sum()),
    }
    return Artifact(folder.name, "states", folder, "", meta)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    ranges = [("probe", 0, 250), ("probe", 250, 250), ("test", 0, 250)]
    return [write_shard(root / f"{split}-{start}", split, start, count) for split, start, count in ranges]


@pytest.fixture
def probe(shards, tmp_path):
    def run(layer, positions, spec=SPEC, shards=shards, progress=lambda *_: None, weights="trained"):
        families = list(spec.probe.families) if weights == "trained" else ["ridge"]
        payload = {"weights": weights, "families": families, "layer": layer, "positions": positions}
        unit = Unit("run", "probe", "key", 1, payload)
        return handle(spec, unit, Context({"extract": shards}, tmp_path, tmp_path, progress)).rows["scores"]

    return run


def with_probe(**changes):
    return SPEC.model_copy(update={"probe": SPEC.probe.model_copy(update=changes)})


def test_a_linear_function_of_the_states_is_found_and_its_control_is_not(probe):
    rows = probe(1, [4])
    assert [(row["family"], row["variable"]) for row in rows] == [
        ("mlp", "A"), ("mlp", "B"), ("ridge", "A"), ("ridge", "B"),
    ]  # fmt: skip
    for row in rows[2:]:
        assert row["value"] > 0.999
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert abs(row["control"]) < 0.25
    assert min(row["value"] for row in rows[:2]) > 0.9


def test_selected_positions_score_as_they_do_among_all(probe, tmp_path):
    ranges = [("probe", 0, 250), ("probe", 250, 250), ("test", 0, 250)]
    some = [write_shard(tmp_path / f"{split}-{start}", split, start, count, positions=[4, SECOND_OPERAND])
            for split, start, count in ranges]  # fmt: skip
    for position in (4, SECOND_OPERAND):
        assert probe(1, [position], shards=some) == probe(1, [position])
    with pytest.raises(UserError, match="position 3 is not in the shards; valid are 4, 8"):
        probe(1, [3], shards=some)


def test_states_of_pure_noise_score_near_0(probe):
    for row in probe(2, [3, 4]):
        assert abs(row["value"]) < 0.25


def test_a_position_where_all_states_are_equal_has_no_score_and_costs_no_fit(probe):
    calls = []
    for row in probe(0, [EQUALS], progress=lambda *call: calls.append(call)):
        assert row["status"] == "constant"
        assert [row[name] for name in ("value", "ci_low", "ci_high", "control")] == [None] * 4
    assert len(calls) == 2


def test_a_diverged_probe_has_no_score_and_ridge_beside_it_has(probe):
    mlp, _, ridge, _ = probe(3, [4])
    assert (mlp["status"], mlp["value"], mlp["ci_low"]) == ("diverged", None, None)
    assert (ridge["status"], ridge["value"] > 0.999) == ("ok", True)


def test_a_row_tells_where_it_comes_from_and_what_to_compare_it_with(probe):
    _, row = probe(0, [SECOND_OPERAND], with_probe(families=("ridge",)))
    value = row.pop("value"), row.pop("ci_low"), row.pop("ci_high"), row.pop("control")
    assert all(isinstance(number, float) for number in value)
    assert row == {
        "layer": 0,
        "position": SECOND_OPERAND,
        "token": "2",
        "variable": "B",
        "family": "ridge",
        "metric": "pearson",
        "n_train": 400,
        "n_eval": 200,
        "ceiling": pytest.approx(1.0),
        "given": True,
        "status": "ok",
    }


def test_no_score_passes_the_ceiling_of_its_row(probe):
    for row, variable in zip(
        probe(0, [SECOND_OPERAND], with_probe(families=("ridge",))), (0, 1), strict=True
    ):
        exact = ceiling(DISTRIBUTION, "none")[SECOND_OPERAND, variable]
        assert row["ceiling"] == pytest.approx(exact)
        assert row["value"] <= exact + 1e-9


def test_rows_are_plain_json(probe):
    rows = probe(1, [0])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_scores_do_not_depend_on_how_positions_are_split_into_units(probe):
    together = probe(1, [0, 1, 2])
    assert together == [row for position in (0, 1, 2) for row in probe(1, [position])]
    assert together == sorted(probe(1, [2, 0, 1]), key=lambda row: row["position"])


def test_scores_do_not_depend_on_the_order_of_shards_or_on_more_shards_than_needed(probe, shards, tmp_path):
    extra = write_shard(tmp_path / "extra", "probe", 500, 100)
    assert probe(1, [4], shards=[*reversed(shards), extra]) == probe(1, [4])


def test_the_probe_of_a_cell_is_seeded_by_seed_layer_position_and_variable(probe, shards):
    train = StateReader([shard.path for shard in shards[:2]], 400)
    evaluation = StateReader([shards[2].path], 200)
    for row, variable in zip(probe(1, [4]), "AB", strict=False):
        seeds = [derive_seed(5, "mlp", 1, 4, variable)]
        matrices = train.matrix(1, 4), train.values(variable)[:, None], evaluation.matrix(1, 4)
        predictions = Mlp(30, 1e-2, torch.device("cpu")).fit_predict(*matrices, seeds, lambda: None)
        expected = np.corrcoef(predictions[:, 0], evaluation.values(variable))[0, 1]
        assert row["value"] == pytest.approx(expected)


def test_another_seed_gives_other_probes_and_intervals(probe):
    (mlp, _, ridge, _), (other_mlp, _, other_ridge, _) = (
        probe(1, [4], SPEC.model_copy(update={"seed": seed})) for seed in (5, 6)
    )
    assert mlp["value"] != other_mlp["value"]
    assert ridge["value"] == other_ridge["value"]
    assert ridge["ci_low"] != other_ridge["ci_low"]
    assert ridge["control"] != other_ridge["control"]


def test_without_controls_and_resamples_the_columns_are_empty(probe):
    for row in probe(1, [4], with_probe(controls=0, resamples=0)):
        assert row["value"] is not None
        assert (row["control"], row["ci_low"], row["ci_high"]) == (None, None, None)


def test_the_paper_s_probe_has_no_control(probe):
    assert [row["control"] for row in probe(1, [4], with_probe(families=("mlp",)))] == [None, None]


def test_too_few_solved_problems_are_counted_in_the_message(probe, shards):
    found = shards[2].meta["kept"]
    spec = SPEC.model_copy(update={"extract": SPEC.extract.model_copy(update={"n_eval": 300})})
    with pytest.raises(UnsolvedError, match=f"split test: expected 300 .* found {found} .*extract"):
        probe(1, [0], spec)


def test_a_split_without_shards_is_an_artifact_error(probe, shards):
    with pytest.raises(ArtifactError, match="found none"):
        probe(1, [0], shards=shards[:2])


def test_progress_counts_probes_up_to_the_total(probe):
    seen = []
    probe(1, [0, 1], progress=lambda done, total, unit, note="": seen.append((done, total, unit)))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, 8, "probes"), (8, 8, "probes"))


def test_a_unit_that_must_stop_stops_within_a_fit(probe):
    calls = iter(range(10))

    def progress(*_):
        if next(calls) == 9:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        probe(1, [0], progress=progress)


def test_a_summary_is_made_from_the_stored_rows_of_all_blocks(probe, shards, tmp_path):
    blocks = []
    for layer in (1, 2):
        folder = tmp_path / str(layer)
        folder.mkdir()
        (folder / "rows.json").write_text(json.dumps({"scores": probe(layer, [3, 4, 5])}))
        blocks.append(replace(shards[0], key=str(layer), kind="scores", path=folder, meta={}))
    unit = Unit("run", "summarize", "summary", 1, {})
    rows = handle(SPEC, unit, Context({"extract": shards, "probe": blocks}, tmp_path, tmp_path)).rows
    summary = {row["name"]: row for row in rows["summary"]}
    solved, tried = shards[2].meta["solved"], shards[2].meta["tried"]
    assert (summary["accuracy"]["value"], summary["accuracy"]["n"]) == (solved / tried, tried)
    assert summary["accuracy_probe_split"]["n"] == 500
    assert summary["max_r/ridge/A"]["value"] > 0.999
    emerged = {row["variable"]: row for row in rows["emergence"] if row["family"] == "ridge"}
    assert (emerged["A"]["position"], emerged["A"]["layer"], emerged["A"]["offset_from_own_equation"]) == (
        3,
        1,
        -1,
    )
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_the_untrained_lm_is_read_from_its_own_shards_by_ridge_under_a_name_of_its_own(
    probe, shards, tmp_path_factory
):
    root = tmp_path_factory.mktemp("untrained")
    ranges = [("probe", 0, 500), ("test", 0, 250)]
    own = [
        write_shard(root / split, split, start, count, weights="untrained") for split, start, count in ranges
    ]
    rows = probe(1, [4], shards=[*shards, *own], weights="untrained")
    assert {row["family"] for row in rows} == {"ridge@untrained"}
    assert [row["value"] for row in rows] != [
        row["value"] for row in probe(1, [4]) if row["family"] == "ridge"
    ]
