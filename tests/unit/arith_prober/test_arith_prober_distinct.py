"""Equal states computed once give the predictions of all problems computed one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench.shards import extract_shard, small_spec, untrained_lm

from arith_prober.distinct import Rows, distinct
from arith_prober.probes import Mlp, Ridge, mlp, ridge
from arith_shared.problems import encode, sample
from arith_shared.store.states import StateReader

CPU = torch.device("cpu")
FAMILIES = {"ridge": Ridge((1e-4, 1e-2, 1.0, 100.0), CPU), "mlp": Mlp(30, 1e-3, CPU)}
FITTED, ASKED = 1500, 500


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Hidden states of a small LM, in batches of which the last is smaller, and the problems they belong to."""
    folder = tmp_path_factory.mktemp("states")
    spec = small_spec(
        "tiny-specialized", 1000, extract__batch_problems=150, lm__layers=2, lm__width=32, lm__ffn=64
    )
    lm = untrained_lm(spec, folder / "lm")
    for number in range(2):
        extract_shard(spec, lm, folder / f"shard{number}", number)
    reader = StateReader([folder / "shard0", folder / "shard1"], FITTED + ASKED)
    problems = sample(spec.task.evaluation(), "probe", 0, FITTED + ASKED, seed=spec.seed)
    tokens = [tuple(text) for text in encode(problems, spec.task.evaluation()).ids.tolist()]
    return reader, tokens, np.stack([reader.values(name) for name in reader.variables], axis=1)


def both(family, X, Y, monkeypatch):
    seeds = list(range(Y.shape[1]))
    module = {"ridge": ridge, "mlp": mlp}[family]
    fit = FAMILIES[family].fit_predict
    found = fit(X[:FITTED], Y[:FITTED], X[FITTED:], seeds, lambda: None)
    monkeypatch.setattr(module, "distinct", Rows)
    return found, fit(X[:FITTED], Y[:FITTED], X[FITTED:], seeds, lambda: None)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_problems_that_begin_alike_have_equal_states_whatever_their_batch(shards, layer, position):
    reader, tokens, _ = shards
    rows = distinct(reader.matrix(layer, position))
    prefixes = {row[: position + 1] for row in tokens}
    # Layer 0 sees its own token alone.
    seen = {row[position] for row in tokens} if layer == 0 else prefixes
    # Exactly as many here; another processor's kernels may round a few otherwise in the smaller last batch.
    assert len(seen) <= len(rows.X) <= 1.05 * len(seen)
    assert rows.counts is not None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("layer", "position"), [(0, 0), (0, 4), (1, 2), (2, 3)])
def test_predictions_and_r_are_those_of_all_problems_one_by_one(family, layer, position, shards, monkeypatch):
    reader, _, values = shards
    X = reader.matrix(layer, position)
    noise = np.random.default_rng(0).permutation(values)
    Y = np.hstack([values, noise])
    assert distinct(X[:FITTED]).counts is not None
    found, plain = both(family, X, Y, monkeypatch)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-5 * Y.std())
    for one, two, truth in zip(found.T, plain.T, Y[FITTED:].T, strict=True):
        if np.ptp(two) > 1e-6 * np.abs(two).max():
            assert np.corrcoef(one, truth)[0, 1] == pytest.approx(np.corrcoef(two, truth)[0, 1], abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_that_all_differ_are_fitted_as_they_are(family, monkeypatch):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(FITTED + ASKED, 8)).astype(np.float32)
    assert distinct(X) == Rows(X)
    found, plain = both(family, X, X[:, :2].astype(np.float64), monkeypatch)
    np.testing.assert_array_equal(found, plain)


def test_rows_are_equal_only_where_every_bit_is():
    X = np.array([[1, 0], [1, -0.0], [1, 0], [np.nextafter(np.float32(1), 2), 0]] * 3, np.float32)
    rows = distinct(X)
    assert sorted(rows.counts.tolist()) == [3, 3, 6]
    np.testing.assert_array_equal(rows.X[rows.place].view(np.uint32), X.view(np.uint32))
    Y = np.arange(24.0).reshape(12, 2)
    means = rows.spread(rows.means(Y))
    np.testing.assert_allclose(means[0], Y[[0, 2, 4, 6, 8, 10]].mean(0))
