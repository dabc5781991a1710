"""`probe.mlp.dtype: bfloat16` finds the correlations that float32 finds, to 1e-3.

Processors without bfloat16 instructions emulate it, so the sizes here are smaller than the paper's 10,000 problems.
"""

import numpy as np
import pytest
import torch

from arith_extractor.handler import handle as extract
from arith_prober.handler import handle as probe
from arith_prober.probes.mlp import Mlp, build_probe, train_probe
from arith_prober.probes.together import train_together
from arith_shared.work import Artifact, Context, Unit
from arith_trainer.handler import handle as train
from arithctl import recipes
from harness.recipes import SMALL

CPU = torch.device("cpu")


def no_pulse():
    pass


def states_and_values(width, problems):
    """States as a final norm leaves them; values to 99 that they determine half, a little, and not at all."""
    rng = np.random.default_rng(width)
    X = rng.standard_normal((problems, width)).astype(np.float32)
    read = np.maximum(X[:, : width // 2], 0) @ rng.standard_normal((width // 2, 3)) / np.sqrt(width)
    noise = rng.standard_normal(read.shape)
    return X, 50 + 20 * (read * [1.0, 0.2, 0.0] + noise * [0.3, 1.0, 1.0])


def correlations(predicted, truth):
    return np.array([np.corrcoef(*columns)[0, 1] for columns in zip(predicted.T, truth.T, strict=True)])


@pytest.mark.parametrize(
    ("width", "problems"), [(64, 2_000), (256, 500), pytest.param(1024, 250, marks=pytest.mark.slow)]
)
def test_r_is_that_of_float32_on_made_up_states(width, problems):
    X, Y = states_and_values(width, problems + 1_000)
    found = {
        dtype: Mlp(30, 1e-3, CPU, dtype).fit_predict(
            X[:problems], Y[:problems], X[problems:], [0, 1, 2], no_pulse
        )
        for dtype in ("float32", "bfloat16")
    }
    assert not np.array_equal(found["float32"], found["bfloat16"])
    expected = correlations(found["float32"], Y[problems:])
    np.testing.assert_allclose(correlations(found["bfloat16"], Y[problems:]), expected, rtol=0, atol=1e-3)


def test_the_weights_that_are_updated_are_float32():
    X, Y = (torch.tensor(values, dtype=torch.float32) for values in states_and_values(16, 50))
    before, after = build_probe(16, 0)[0].weight, build_probe(16, 0)
    train_probe(after, X, Y[:, 0], 1, 1e-6, no_pulse, "bfloat16")
    # A step smaller than the last bit of most bfloat16 weights.
    assert (after[0].weight != before).float().mean() > 0.5
    assert (after[0].weight.bfloat16() == before.bfloat16()).float().mean() > 0.9


def test_probes_fitted_together_in_bfloat16_are_those_fitted_one_by_one():
    X, Y = (torch.tensor(values, dtype=torch.float32) for values in states_and_values(32, 300))
    together, alone = ([build_probe(32, seed) for seed in range(3)] for _ in range(2))
    train_together(together, X, Y.T, 30, 1e-3, no_pulse, "bfloat16")
    for place, each in enumerate(alone):
        train_probe(each, X, Y[:, place].contiguous(), 30, 1e-3, no_pulse, "bfloat16")
    with torch.no_grad():
        found, expected = (torch.stack([each(X) for each in probes]) for probes in (together, alone))
    # Sums in another order round to another bfloat16 here and there: 2^-8 of a value.
    torch.testing.assert_close(found, expected, rtol=0, atol=2**-8 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A spec, and hidden states of a small LM that was trained on it for 500 steps."""
    root = tmp_path_factory.mktemp("lm")
    fields = SMALL | {"lm.layers": 2, "lm.width": 64, "extract.n_train": 1_000, "extract.n_eval": 1_000}
    fields |= {"extract.shard_problems": 1_000, "task.max_number": 99, "probe.families": ["mlp"]}
    spec = recipes.load("tiny-specialized").resolve(list(fields.items()))

    def do(handler, stage, name, payload, inputs):
        output, scratch = root / name, root / f"{name}-scratch"
        output.mkdir()
        scratch.mkdir()
        outcome = handler(spec, Unit("run", stage, name, 1, payload), Context(inputs, output, scratch))
        return Artifact(name, stage, output, "0" * 32, outcome.meta)

    lm = do(train, "train", "model", {}, {})
    ranges = {"weights": "trained", "start": 0, "count": 1_000}
    return spec, [
        do(extract, "extract", split, {**ranges, "split": split}, {"train": [lm]})
        for split in ("probe", "test")
    ]


@pytest.mark.slow
def test_r_is_that_of_float32_on_the_states_of_a_small_lm(shards, tmp_path):
    spec, states = shards
    payload = {"weights": "trained", "families": ["mlp"], "layer": 2, "positions": [4, 10, 16, 19]}
    unit, context = (
        Unit("run", "probe", "key", 1, payload),
        Context({"extract": states}, tmp_path, tmp_path),
    )
    half = spec.model_copy(
        update={
            "probe": spec.probe.model_copy(
                update={"mlp": spec.probe.mlp.model_copy(update={"dtype": "bfloat16"})}
            )
        }
    )
    plain, rounded = (probe(each, unit, context).rows["scores"] for each in (spec, half))
    assert [row["status"] for row in plain] == ["ok"] * 12
    assert max(row["value"] for row in plain) > 0.5
    for one, other in zip(plain, rounded, strict=True):
        assert other["value"] == pytest.approx(one["value"], abs=1e-3), (one["token"], one["variable"])
    assert any(one["value"] != other["value"] for one, other in zip(plain, rounded, strict=True))
