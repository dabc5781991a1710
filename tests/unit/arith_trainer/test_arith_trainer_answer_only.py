"""What no loss looks at is left out of a training step, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from arith_model.transformer import build_for
from arith_shared.problems import encode, every_question, sample, sample_definitions
from arith_trainer import loop
from arith_trainer.answer_only import answer_logits, answer_tokens, fits
from arith_trainer.batches import Batches
from arith_trainer.branches import branch
from arith_trainer.joined import NO_LOSS, solved_texts
from arith_trainer.loop import batch_loss


def one_after_the_other(spec):
    distribution = spec.task.training_distribution()
    texts = solved_texts(encode(sample(distribution, "train", 0, 24, 3), distribution), whole_text=False)
    return Batches(texts, batch_tokens=10_000, epochs=1, seed=0)[0]


def branching(spec):
    distribution = spec.task.training_distribution()
    rows, where = branch(
        *every_question(sample_definitions(distribution, "train", 24, 3), distribution, "none"), 2
    )
    return Batches(rows, batch_tokens=10_000, epochs=1, seed=0, branching=where)[0]


def mask_of(batch):
    if batch.sees is None:
        return None
    return torch.zeros(batch.sees.shape).masked_fill(~batch.sees, torch.finfo(torch.float32).min)


def whole_pass(model, batch):
    where = {"position_ids": batch.positions, "attention_mask": mask_of(batch)}
    logits = model(input_ids=batch.ids, **where).logits.float()
    return cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=NO_LOSS)


def gradients(model):
    found = [None if weight.grad is None else weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_of", [one_after_the_other, branching])
def test_loss_and_gradient_are_those_of_the_whole_pass(spec_with, layers, precision, batch_of):
    spec = spec_with(
        task={"training": "general", "max_number": 9, "names": 5, "layout": "eq1"},
        lm={"dropout": 0.0, "layers": layers},
    )
    batch = batch_of(spec)
    model = build_for(spec).train()
    columns = torch.arange(batch.ids.shape[1])[(batch.labels != NO_LOSS).any(dim=0)]
    half = precision == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = whole_pass(model, batch)
    expected.backward()
    whole = gradients(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = answer_logits(model, batch.ids, columns, batch.positions, mask_of(batch)).float()
        found = cross_entropy(logits.flatten(0, 1), batch.labels[:, columns].flatten(), ignore_index=NO_LOSS)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-2 if half else 1e-6)
    for ours, theirs in zip(gradients(model), whole, strict=True):
        if half:
            assert (ours is None) == (theirs is None)
            if theirs is not None and theirs.norm() > 1e-6:
                assert (ours - theirs).norm() <= 0.05 * theirs.norm()
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_a_step_with_loss_on_the_answer_alone_takes_the_short_way(spec_with, monkeypatch):
    spec = spec_with(lm={"dropout": 0.0})
    batch, taken = one_after_the_other(spec), []
    monkeypatch.setattr(
        loop, "answer_logits", lambda *given: taken.append(given[2].tolist()) or answer_logits(*given)
    )
    model = build_for(spec).train()
    assert batch_loss(model, batch).item() == pytest.approx(whole_pass(model, batch).item(), rel=1e-6)
    last = batch.ids.shape[1] - 1
    assert taken == [[last - 1, last]]


@pytest.mark.parametrize("fields", [{"dropout": 0.1}, {"dropout": 0.0, "attention_dropout": 0.1}])
def test_with_dropout_the_whole_pass_draws_the_masks(spec_with, fields):
    assert not fits(build_for(spec_with(lm=fields)))
    assert fits(build_for(spec_with(lm={"dropout": 0.0})))


def test_texts_that_are_learnt_as_a_whole_are_read_as_a_whole():
    assert answer_tokens(torch.ones(3, 10, dtype=torch.bool)) is None
    assert answer_tokens(torch.zeros(3, 10, dtype=torch.bool)) is None
    some = torch.zeros(3, 10, dtype=torch.bool)
    some[0, 4] = some[2, 9] = True
    assert answer_tokens(some).tolist() == [4, 9]
