"""The loop is Adam as PyTorch has it, and an interruption changes nothing."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest
import torch

from arith_model import checkpoint
from arith_model.transformer import build_for
from arith_shared.errors import CancelledError, DivergedError, DrainError
from arith_shared.vitals import VITALS
from arith_trainer import loop
from arith_trainer.loop import make_optimizer

STEPS = 12


def drain_at(*steps):
    """A progress that tells the worker to stop after each of `steps`, once."""
    left = set(steps)

    def progress(done, total, unit, note=""):
        if done in left:
            left.remove(done)
            raise DrainError

    return progress


def equal_weights(one, two):
    return all(torch.equal(one.state_dict()[name], weight) for name, weight in two.state_dict().items())


def snapshot(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.fixture
def every_line(monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


@pytest.mark.usefixtures("every_line")
@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"betas": [0.9, 0.98]}, torch.optim.Adam),
        ({"optimizer": "adamw", "weight_decay": 0.3, "clip": 0.5}, torch.optim.AdamW),
        ({"loss": "sequence", "weight_decay": 0.3, "eps": 1e-3}, torch.optim.Adam),
    ],
    ids=["answer", "adamw", "sequence"],
)
def test_five_steps_are_those_of_a_plain_loop(spec_with, training_of, options, reference):
    spec = spec_with(lm={"dropout": 0.0}, **options)
    training = training_of(spec)
    plain, given = build_for(spec), spec.lm.training
    weights = [weight for weight in plain.parameters() if weight.requires_grad]
    optimizer = reference(
        weights, lr=given.lr, betas=given.betas, eps=given.eps, weight_decay=given.weight_decay, fused=False
    )
    # Warm-up over 3 of 12 steps, then a cosine to zero.
    factors = [1 / 3, 2 / 3, 1.0] + [0.5 * (1 + math.cos(math.pi * done / 9)) for done in (1, 2)]
    losses, norms = [], []
    for step, factor in enumerate(factors):
        batch = training.course[step]
        probability = plain(batch.ids).logits.log_softmax(dim=-1)
        learnt = batch.labels >= 0
        chosen = probability[learnt].gather(1, batch.labels[learnt][:, None])
        loss = -chosen.mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([weight.grad.flatten() for weight in weights]).norm()
        for weight in weights:
            weight.grad *= min(1.0, given.clip / norm.item())
        optimizer.param_groups[0]["lr"] = given.lr * factor
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    training.progress = drain_at(5)
    with pytest.raises(DrainError):
        training.run()
    assert [line["loss"] for line in training.log] == pytest.approx(losses, abs=1e-5)
    assert [line["grad_norm"] for line in training.log] == pytest.approx(norms, rel=1e-4)
    assert max(norms) > given.clip, "clipping was never put to the test"
    for name, weight in plain.state_dict().items():
        # Softmax ignores the bias of the keys: its gradient is rounding error, which Adam blows up.
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(
                training.model.state_dict()[name], weight, rtol=1e-4, atol=1e-5, msg=name
            )


def test_bfloat16_is_for_the_products_only(spec_with, training_of):
    exact, rounded = (training_of(spec_with(precision=name)) for name in ("float32", "bfloat16"))
    for training in (exact, rounded):
        training.run()
    assert {weight.dtype for weight in rounded.model.parameters()} == {torch.float32}
    one, two = exact.log[-1]["loss"], rounded.log[-1]["loss"]
    assert one != two
    assert one == pytest.approx(two, rel=0.1)


def test_a_small_model_learns_a_trivial_task(spec_with, training_of):
    training = training_of(spec_with(problems=512, epochs=30, batch_tokens=1024, lm={"dropout": 0.0}))
    training.run()
    first, last = training.log[0]["loss"], training.log[-1]["loss"]
    assert last < 0.1 < 0.5 < first


def test_training_moves_everything_but_the_frozen_embeddings(spec_with, training_of):
    training = training_of(spec_with())
    before = snapshot(training.model)
    training.run()
    for name, weight in training.model.state_dict().items():
        assert torch.equal(weight, before[name]) is name.endswith("embed_tokens.weight"), name


def test_unfrozen_embeddings_are_trained_too(spec_with, training_of):
    training = training_of(spec_with(lm={"freeze_embeddings": False}))
    before = snapshot(training.model)
    training.run()
    assert not torch.equal(
        training.model.get_input_embeddings().weight, before["model.decoder.embed_tokens.weight"]
    )


def test_the_optimiser_holds_what_is_trained_and_the_options_of_the_spec(spec_with):
    spec = spec_with(optimizer="adamw", weight_decay=0.02, betas=[0.8, 0.95], eps=1e-7)
    model = build_for(spec)
    optimizer = make_optimizer(model, spec.lm.training)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.AdamW
    assert type(make_optimizer(model, spec_with().lm.training)) is torch.optim.Adam
    assert (group["weight_decay"], group["betas"], group["eps"]) == (0.02, (0.8, 0.95), 1e-7)
    assert len(group["params"]) == len(list(model.parameters())) - 1


@pytest.fixture
def uninterrupted(spec_with, training_of):
    """A training that drains after its last step, so that its final checkpoint holds all it came to."""
    training = training_of(spec_with(), progress=drain_at(STEPS))
    with pytest.raises(DrainError):
        training.run()
    assert training.step == training.course.steps == STEPS
    return training


def final_checkpoint(training):
    """Name and bytes of the newest file: weights, optimiser state and log; the name has their checksum."""
    path = max(training.scratch.glob("step-*"))
    return path.name, path.read_bytes()


@pytest.mark.parametrize("cuts", [(1,), (5,), (6,), (8,), (11,), tuple(range(1, STEPS))], ids=str)
def test_interrupted_anywhere_it_ends_with_the_same_bytes(
    spec_with, training_of, uninterrupted, tmp_path, cuts
):
    scratch, progress = tmp_path / "shared", drain_at(*cuts, STEPS)
    for attempt in range(len(cuts) + 1):
        # Whatever happened in the process before must not matter.
        torch.manual_seed(attempt)
        training = training_of(spec_with(), scratch=scratch, progress=progress)
        with pytest.raises(DrainError):
            training.run()
        assert training.step == (*cuts, STEPS)[attempt]
    assert final_checkpoint(training) == final_checkpoint(uninterrupted)
    assert equal_weights(training.model, uninterrupted.model)
    assert json.dumps(training.log) == json.dumps(uninterrupted.log)


def test_dropout_would_differ_if_it_hung_on_the_process(spec_with, training_of, monkeypatch, uninterrupted):
    """The test above can fail: without the seeding of each step it does."""
    training = training_of(spec_with(), progress=drain_at(STEPS))
    monkeypatch.setattr(loop.torch, "manual_seed", lambda seed: None)
    with pytest.raises(DrainError):
        training.run()
    assert final_checkpoint(training) != final_checkpoint(uninterrupted)


def test_each_step_and_each_seed_drops_other_units(spec_with, training_of, monkeypatch):
    seeds = []
    monkeypatch.setattr(loop.torch, "manual_seed", seeds.append)
    training_of(spec_with()).run()
    training_of(spec_with(), seed=7).run()
    assert len(set(seeds)) == len(seeds) == 2 * STEPS


@pytest.mark.parametrize("how", ["truncated", "one flipped bit"])
def test_a_damaged_checkpoint_costs_steps_but_changes_nothing(
    spec_with, training_of, uninterrupted, tmp_path, caplog, how
):
    scratch = tmp_path / "shared"
    for step in (4, 7):
        with pytest.raises(DrainError):
            training_of(spec_with(), scratch=scratch, progress=drain_at(step)).run()
    newest = max(scratch.glob("step-*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 0x10
    newest.write_bytes(data[:-100] if how == "truncated" else data)
    seen = []
    training = training_of(spec_with(), scratch=scratch, progress=lambda done, *rest: seen.append(done))
    training.run()
    assert seen[0] == 5
    assert "does not match its checksum" in caplog.text
    assert equal_weights(training.model, uninterrupted.model)
    assert training.log == uninterrupted.log


def test_checkpoints_are_written_as_time_passes_and_change_nothing(
    spec_with, training_of, uninterrupted, monkeypatch
):
    training = training_of(spec_with(checkpoint_every_s=2.5))
    clock = iter(range(1000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    steps, write = [], checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda folder, of: steps.append(of.step) or write(folder, of))
    training.run()
    # The clock advances by one at every look, and one look is taken when a checkpoint has been written.
    assert steps == [3, 6, 9, 12]
    assert equal_weights(training.model, uninterrupted.model)


def test_a_cancelled_training_leaves_no_checkpoint(spec_with, training_of):
    def cancel(done, total, unit, note=""):
        raise CancelledError

    training = training_of(spec_with(), progress=cancel)
    with pytest.raises(CancelledError):
        training.run()
    assert checkpoint.newest(training.scratch) is None


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_named_and_never_taken(spec_with, training_of, what):
    kept, calls = {}, []
    training = training_of(spec_with(), progress=lambda *report: kept.update(snapshot(training.model)))

    def spoil(value):
        calls.append(value)
        return value * math.nan if len(calls) == 4 else value

    head = training.model.lm_head
    if what == "loss":
        head.register_forward_hook(lambda module, inputs, logits: spoil(logits))
    else:
        head.weight.register_hook(spoil)
    with pytest.raises(
        DivergedError, match=r"step 4: expected finite .* found .*nan.*; lower lm.training.lr"
    ):
        training.run()
    assert training.step == 3
    assert all(torch.equal(kept[name], weight) for name, weight in training.model.state_dict().items())


def test_it_stops_at_the_evaluation_that_reaches_the_target(spec_with, training_of):
    accuracies = iter([0.2, 0.8, 0.9, 1.0])
    training = training_of(
        spec_with(stop_at_accuracy=0.9, evaluate_every=3), validate=lambda: next(accuracies)
    )
    training.run()
    assert training.step == 9
    assert [(line["step"], line["accuracy"]) for line in training.log] == [(3, 0.2), (6, 0.8), (9, 0.9)]
    assert next(accuracies) == 1.0


def test_without_a_target_it_trains_to_the_end(spec_with, training_of):
    training = training_of(spec_with(), validate=lambda: 1.0)
    training.run()
    assert training.step == STEPS
    assert [line["step"] for line in training.log] == [5, 10, 12]


def test_the_log_has_a_line_at_regular_steps_and_at_evaluations(spec_with, training_of, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    training = training_of(spec_with())
    training.run()
    assert [line["step"] for line in training.log] == [4, 5, 8, 10, 12]
    assert [line["step"] for line in training.log if "accuracy" in line] == [5, 10, 12]
    assert all(line["lr"] <= 1e-2 for line in training.log)


def test_progress_is_reported_at_every_step_with_loss_and_accuracy(spec_with, training_of):
    reports = []
    training = training_of(spec_with(), validate=lambda: 0.5, progress=lambda *report: reports.append(report))
    training.run()
    assert [report[:3] for report in reports] == [(step, STEPS, "steps") for step in range(1, STEPS + 1)]
    notes = [report[3] for report in reports]
    assert all(note.startswith("loss ") for note in notes)
    assert [note.endswith(", accuracy 0.500") for note in notes] == [False] * 4 + [True] * 8


def test_tokens_are_counted_for_the_steps_that_this_process_did(spec_with, training_of, tmp_path):
    scratch = tmp_path / "counted"
    scratch.mkdir()
    before = VITALS.tokens
    with pytest.raises(DrainError):
        training_of(spec_with(), scratch=scratch, progress=drain_at(5)).run()
    training = training_of(spec_with(), scratch=scratch)
    first = VITALS.tokens - before
    training.run()
    of_steps = [training.course[step].ids.numel() for step in range(training.course.steps)]
    assert first == sum(of_steps[:5])
    assert VITALS.tokens - before - first == sum(of_steps[5:])


@pytest.mark.slow
def test_compiled_steps_learn_the_same_and_an_interruption_still_changes_nothing(
    spec_with, training_of, monkeypatch
):
    plain = training_of(spec_with(lm={"dropout": 0.0}))
    plain.run()
    monkeypatch.setenv("ARITH_COMPILE", "default")
    # Traced, cut and differentiated as ever, but the kernels are PyTorch's own: making them takes minutes here.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))

    def in_a_new_process(spec, **fields):
        torch.compiler.reset()
        return training_of(spec, **fields)

    same = in_a_new_process(spec_with(lm={"dropout": 0.0}))
    same.run()
    assert same.log[-1]["loss"] == pytest.approx(plain.log[-1]["loss"], rel=1e-4)
    # With dropout, whose masks the compiler draws in its own way, and the short batch at the end of each epoch.
    spec = spec_with()
    whole = in_a_new_process(spec)
    whole.run()
    first = in_a_new_process(spec, progress=drain_at(3))
    with pytest.raises(DrainError):
        first.run()
    second = in_a_new_process(spec, scratch=first.scratch)
    second.run()
    assert second.step == STEPS
    assert equal_weights(whole.model, second.model)
    assert second.log == whole.log


def test_a_model_is_compiled_only_where_that_was_asked_for(training_of, spec_with, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.append(options) or model)
    assert training_of(spec_with())._read is not None
    monkeypatch.setenv("ARITH_COMPILE", "")
    training_of(spec_with())
    assert asked == []
    monkeypatch.setenv("ARITH_COMPILE", "reduce-overhead")
    training_of(spec_with())
    assert asked == [{"mode": "reduce-overhead", "dynamic": False}]
