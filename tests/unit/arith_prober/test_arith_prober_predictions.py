"""A probe unit keeps what its probes predicted, and the table of scores follows from that file alone."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from arith_prober.handler import handle
from arith_shared.errors import ArtifactError, UserError
from arith_shared.problems import layout_distribution, sample
from arith_shared.specs import parse_spec
from arith_shared.store.predictions import PREDICTIONS_FILE, Cell, Predictions
from arith_shared.store.shards import ProblemTable
from arith_shared.store.states import ShardWriter, StateReader
from arith_shared.work import Artifact, Context, Unit

WIDTH, PENALTY = 12, 0.1
SPEC = parse_spec(
    {
        "task": {"layout": "level-1", "max_number": 9, "names": 5},
        "lm": {"layers": 1, "heads": 2, "width": WIDTH, "ffn": 8},
        "extract": {"n_train": 120, "n_eval": 60},
        "probe": {"resamples": 0, "ridge": {"penalties": [PENALTY]}, "mlp": {"lr": 1e-2}},
        "seed": 3,
    }
)
DISTRIBUTION = layout_distribution("level-1", max_number=9, names=5)
POSITIONS = [3, 4]


def shard(folder, split, count, scale):
    """States in which layer 0 is a noisy linear function of the values, and layer 1 the same times `scale`."""
    problems = sample(DISTRIBUTION, split, 0, count, SPEC.seed)
    noise = np.random.default_rng(count)
    solved = noise.random(count) < 0.8
    fixed = np.random.default_rng(0).normal(size=(2, WIDTH))
    states = (problems.values @ fixed)[:, None] + noise.normal(size=(count, len(POSITIONS), WIDTH))
    kept = np.stack([states, states * scale])[:, solved].astype(np.float32)
    folder.mkdir()
    table = ProblemTable(problems.index, solved, solved, problems.values, [""] * count)
    header = {"model": "0" * 32}
    with ShardWriter(
        folder, range(2), ["A", "="], WIDTH, "bfloat16", ("A", "B"), header, POSITIONS
    ) as writer:
        writer.add(kept)
        writer.finish(table)
    return Artifact(folder.name, "states", folder, "", {"weights": "trained", "split": split})


@pytest.fixture
def unit(tmp_path):
    """Run a probe unit of a layer; returns its rows, its folder, and the shards."""
    shards = [shard(tmp_path / split, split, count, 1000) for split, count in (("probe", 180), ("test", 100))]

    def run(layer, spec=SPEC):
        folder = tmp_path / f"unit-{layer}-{spec.probe.keep_predictions}"
        folder.mkdir()
        payload = {
            "weights": "trained",
            "families": ["mlp", "ridge"],
            "layer": layer,
            "positions": POSITIONS,
        }
        context = Context({"extract": shards}, folder, tmp_path)
        return (
            handle(spec, Unit("run", "probe", "key", 1, payload), context).rows["scores"],
            folder,
            shards,
        )

    return run


def test_predictions_are_those_of_scikit_learns_ridge_on_the_same_states(unit):
    _, folder, shards = unit(0)
    train, evaluation = (StateReader([one.path], n) for one, n in zip(shards, (120, 60), strict=True))
    kept = Predictions([folder])
    for position in POSITIONS:
        X, X_eval = (reader.matrix(0, position).astype(np.float64) for reader in (train, evaluation))
        # Ours is relative to the mean eigenvalue of the covariance, scikit-learn's is added to X'X.
        alpha = PENALTY * len(X) * np.cov(X.T, bias=True).trace() / WIDTH
        for variable in ("A", "B"):
            expected = Ridge(alpha=alpha).fit(X, train.values(variable)).predict(X_eval)
            found = kept.read(Cell(0, position, variable, "ridge"))
            np.testing.assert_allclose(found.predicted, expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(found.truth, evaluation.values(variable))
            assert found.predicted.dtype == np.float32


def test_the_correlation_of_kept_predictions_is_the_score(unit):
    rows, folder, _ = unit(0)
    kept = Predictions([folder])
    for row in rows:
        found = kept.read(Cell(row["layer"], row["position"], row["variable"], row["family"]))
        assert np.corrcoef(found.predicted, found.truth)[0, 1] == pytest.approx(row["value"], abs=1e-5)


def test_problems_are_named_by_their_place_in_the_split_and_what_they_were_drawn_from(unit):
    _, folder, _ = unit(0)
    found = Predictions([folder]).read(Cell(0, 3, "A", "ridge"))
    assert found.source == {
        "split": "test",
        "layout": "level-1",
        "max_number": 9,
        "values": "in_range",
        "names": 5,
        "seed": 3,
    }
    again = sample(DISTRIBUTION, "test", 0, 100, 3)
    np.testing.assert_array_equal(found.truth, again.values[found.index, 0])


def test_a_diverged_probe_has_no_predictions_and_says_so(unit):
    rows, folder, _ = unit(1)
    assert {row["status"] for row in rows if row["family"] == "mlp"} == {"diverged"}
    kept = Predictions([folder])
    assert {cell.family for cell in kept.cells} == {"ridge"}
    with pytest.raises(UserError, match=r"layer 1, position 3, A, mlp: no predictions .* diverged"):
        kept.read(Cell(1, 3, "A", "mlp"))


def test_units_are_read_together_in_any_order(unit):
    folders = [unit(layer)[1] for layer in (1, 0)]
    assert {cell.layer for cell in Predictions(folders).cells} == {0, 1}
    assert Predictions(folders).cells == Predictions(reversed(folders)).cells


def test_a_spec_that_keeps_none_gives_the_same_rows_and_no_file(unit):
    without = SPEC.model_copy(update={"probe": SPEC.probe.model_copy(update={"keep_predictions": False})})
    rows, folder, _ = unit(0, without)
    assert rows == unit(0)[0]
    assert not (folder / PREDICTIONS_FILE).exists()
    assert not Predictions([folder])


def test_equal_units_write_equal_bytes(unit, tmp_path):
    folder = unit(0)[1]
    first = (folder / PREDICTIONS_FILE).read_bytes()
    folder.rename(tmp_path / "before")
    assert (unit(0)[1] / PREDICTIONS_FILE).read_bytes() == first


def test_a_flipped_bit_is_noticed(unit):
    path = unit(0)[1] / PREDICTIONS_FILE
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match=r"predictions.parquet: expected the predictions"):
        list(map(Predictions([path.parent]).read, Predictions([path.parent]).cells))
