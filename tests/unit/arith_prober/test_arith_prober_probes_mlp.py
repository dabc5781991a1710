"""The paper's probe against `torch.nn` and `torch.optim`, and its promises on seeds and divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from arith_prober.probes import FAMILIES, mlp
from arith_prober.probes.mlp import Mlp, build_probe, predict, train_probe
from arith_prober.probes.together import train_together
from arith_shared.specs import parse_spec

CPU = torch.device("cpu")


def no_pulse():
    pass


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 16)).astype(np.float32)
    Y = np.stack([X @ rng.normal(size=16) * 5 + 40, rng.integers(0, 100, 300)], axis=1).astype(np.float64)
    return X, Y


def reference(X_train, y_train, X_eval, seed, epochs, lr):
    """Equations 2, 4 and 5 as one would write them with the parts PyTorch ships."""
    torch.manual_seed(seed)
    width = X_train.shape[1]
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    X, y = torch.tensor(X_train), torch.tensor(y_train, dtype=torch.float32)[:, None]
    for _ in range(epochs):
        optimizer.zero_grad()
        nn.MSELoss()(model(X), y).backward()
        optimizer.step()
    return model(torch.tensor(X_eval)).detach().double().numpy()[:, 0]


@pytest.mark.parametrize("epochs", [1, 2, 3, 30])
def test_predictions_equal_torch_optim_sgd_after_any_number_of_steps(data, epochs):
    X, Y = data
    found = Mlp(epochs, 1e-3, CPU).fit_predict(X[:200], Y[:200], X[200:], [11, 12], no_pulse)
    for column, seed in enumerate([11, 12]):
        expected = reference(X[:200], Y[:200, column], X[200:], seed, epochs, 1e-3)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-6)


def test_one_step_follows_the_gradient_of_the_paper_written_out_by_hand(data):
    X, Y = data
    probe = build_probe(16, seed=5)
    W1, b1, W2, b2 = (parameter.detach().double().numpy() for parameter in probe.parameters())
    y, n = Y[:200, 0], 200
    before = X[:200] @ W1.T + b1
    hidden = np.maximum(before, 0)
    slope = 2 * (hidden @ W2[0] + b2 - y) / n
    back = slope[:, None] * W2 * (before > 0)
    W1, b1 = W1 - 1e-3 * back.T @ X[:200], b1 - 1e-3 * back.sum(0)
    W2, b2 = W2 - 1e-3 * slope @ hidden, b2 - 1e-3 * slope.sum()
    expected = np.maximum(X[200:] @ W1.T + b1, 0) @ W2[0] + b2
    found = Mlp(1, 1e-3, CPU).fit_predict(X[:200], Y[:200, :1], X[200:], [5], no_pulse)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_the_probe_has_the_shapes_of_equation_4():
    shapes = [tuple(parameter.shape) for parameter in build_probe(8, seed=0).parameters()]
    assert shapes == [(8, 8), (8,), (1, 8), (1,)]


def test_building_a_probe_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build_probe(8, seed=99)
    assert torch.equal(torch.rand(3), expected)


def test_a_target_scores_the_same_alone_and_in_company(data):
    X, Y = data
    mlp = Mlp(5, 1e-3, CPU)
    together = mlp.fit_predict(X[:200], Y[:200], X[200:], [1, 2], no_pulse)
    alone = mlp.fit_predict(X[:200], Y[:200, 1:], X[200:], [2], no_pulse)
    np.testing.assert_array_equal(together[:, 1:], alone)


def test_another_seed_gives_another_probe(data):
    X, Y = data
    targets = Y[:, [0, 0]]
    found = Mlp(3, 1e-3, CPU).fit_predict(X[:200], targets[:200], X[200:], [1, 2], no_pulse)
    assert not np.allclose(found[:, 0], found[:, 1])


def test_a_diverged_fit_is_nan_and_its_neighbour_is_not(data):
    X, Y = data
    targets = np.stack([Y[:, 0] * 1e12, Y[:, 0]], axis=1)
    found = Mlp(30, 1e-3, CPU).fit_predict(X[:200], targets[:200], X[200:], [1, 2], no_pulse)
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_an_infinite_weight_is_seen_behind_a_dead_unit(data):
    probe, X = build_probe(16, seed=0), torch.tensor(np.abs(data[0]))
    assert np.isfinite(predict(probe, X)).all()
    with torch.no_grad():
        probe[0].weight[3] = -torch.inf
        assert probe(X).isfinite().all()
    assert np.isnan(predict(probe, X)).all()


def test_the_pulse_is_felt_between_updates_and_may_stop_the_fit(data):
    X, Y = data
    beats = iter(range(4))

    def pulse():
        if next(beats) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Mlp(30, 1e-3, CPU).fit_predict(X, Y, X, [1, 2], pulse)


@pytest.fixture
def several():
    """Five probes, their states and values."""
    rng = np.random.default_rng(8)
    X = torch.tensor(rng.normal(size=(400, 32)), dtype=torch.float32)
    # Small values: from large ones the first steps are so long that a last bit decides which hidden units live on.
    Y = torch.tensor(4 + X.numpy() @ rng.normal(size=(32, 5)) / 2, dtype=torch.float32).T.contiguous()
    return X, Y


def weights(probes):
    return [torch.cat([parameter.detach().flatten() for parameter in probe.parameters()]) for probe in probes]


def test_rows_that_stand_for_several_problems_weigh_as_much_alone_and_together(several):
    X, Y = several
    counts = torch.tensor(np.random.default_rng(3).integers(1, 6, len(X)), dtype=torch.float32)
    repeats = counts.long()
    every, together, alone = ([build_probe(32, seed) for seed in range(5)] for _ in range(3))
    train_together(together, X, Y, 30, 1e-3, no_pulse, "float32", counts)
    for place in range(5):
        train_probe(alone[place], X, Y[place], 30, 1e-3, no_pulse, "float32", counts)
        problems = X.repeat_interleave(repeats, 0), Y[place].repeat_interleave(repeats)
        train_probe(every[place], *problems, 30, 1e-3, no_pulse)
    for expected, *found in zip(weights(every), weights(alone), weights(together), strict=True):
        for one in found:
            torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_bytes", [1, 2 * 4 * 400 * 32 * 4, 2**32], ids=["one", "two", "all"])
@pytest.mark.parametrize("shared", [True, False], ids=["same states", "states of their own"])
def test_probes_fitted_together_are_those_fitted_one_by_one(several, shared, batch_bytes):
    X, Y = several
    states = X if shared else torch.stack([X + shift for shift in range(5)])
    together = [build_probe(32, seed) for seed in range(5)]
    train_together(together, states, Y, 30, 1e-3, no_pulse, "float32", None, batch_bytes)
    alone = [build_probe(32, seed) for seed in range(5)]
    for place, probe in enumerate(alone):
        train_probe(probe, X if shared else states[place], Y[place], 30, 1e-3, no_pulse)
    for found, expected in zip(weights(together), weights(alone), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_diverged_probe_does_not_spoil_those_fitted_with_it(several):
    X, Y = several
    Y[1] *= 1e12
    probes = [build_probe(32, seed) for seed in range(5)]
    train_together(probes, X, Y, 30, 1e-3, no_pulse)
    finite = [bool(found.isfinite().all()) for found in weights(probes)]
    assert finite == [True, False, True, True, True]


def test_the_pulse_is_felt_between_updates_of_probes_fitted_together(several):
    X, Y = several
    beats = []
    train_together([build_probe(32, 0)] * 5, X, Y, 3, 1e-3, lambda: beats.append(1), batch_bytes=1)
    assert len(beats) == 5 * 3


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_a_cell_s_probes_predict_the_same_together_as_one_by_one(data, dtype, rtol, monkeypatch):
    X, Y = data
    fitted = []
    monkeypatch.setattr(
        mlp,
        "train_together",
        lambda probes, *rest: fitted.append(len(probes)) or train_together(probes, *rest),
    )
    alone, together = (
        Mlp(30, 1e-3, CPU, dtype, together=together).fit_predict(X[:200], Y[:200], X[200:], [1, 2], no_pulse)
        for together in (False, True)
    )
    assert fitted == [2]
    np.testing.assert_allclose(together, alone, rtol=rtol, atol=rtol)


def test_probes_are_fitted_together_on_a_gpu_and_one_by_one_on_a_processor():
    options = parse_spec({}).probe
    assert FAMILIES["mlp"](options, torch.device("cuda")).together
    assert not FAMILIES["mlp"](options, CPU).together
