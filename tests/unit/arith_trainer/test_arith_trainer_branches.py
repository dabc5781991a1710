"""Questions that share a definition: the same numbers as texts of their own, and no text of another split."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arith_model.transformer import build_for
from arith_shared.problems import every_question, general_distribution, sample, sample_definitions, texts
from arith_trainer.batches import Batch, Batches
from arith_trainer.branches import branch
from arith_trainer.joined import NO_LOSS
from arith_trainer.loop import batch_loss

GENERAL = {"training": "general", "max_number": 9, "names": 5, "layout": "eq1"}


def separately(asked, there):
    """The questions, each as a text of its own, with loss on output and end."""
    rows = []
    for each, has in zip(asked, there, strict=True):
        for problem in np.flatnonzero(has):
            length, question = int(each.length[problem]), int(each.question_length[problem])
            ids = each.ids[problem, :length].tolist()
            rows.append((ids[:-1], [NO_LOSS] * (question - 1) + ids[question:]))
    return rows


@pytest.mark.parametrize(("chain", "question"), [("none", "="), ("short", "=?")])
def test_loss_and_gradient_are_those_of_texts_of_their_own(spec_with, chain, question):
    spec = spec_with(task=GENERAL | {"chain": chain, "question": question}, lm={"dropout": 0.0})
    distribution = spec.task.training_distribution()
    problems = sample_definitions(distribution, "train", 40, 3)
    asked, there = every_question(problems, distribution, chain)
    rows, branching = branch(asked, there, 1 + len(question))
    batch = Batches(rows, batch_tokens=10_000, epochs=1, seed=0, branching=branching)[0]
    model = build_for(spec).eval()
    together = batch_loss(model, batch)
    together.backward()
    found = [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]
    model.zero_grad()
    own = separately(asked, there)
    learnt = sum(label != NO_LOSS for _, labels in own for label in labels)
    assert learnt == int((batch.labels != NO_LOSS).sum())
    apart = torch.zeros(())
    for ids, labels in own:
        one = Batch(torch.tensor([ids]), torch.tensor([labels]))
        apart = apart + batch_loss(model, one) * sum(label != NO_LOSS for label in labels) / learnt
    apart.backward()
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)
    expected = [weight.grad for weight in model.parameters() if weight.requires_grad]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_every_question_is_answered_with_the_value_of_its_variable():
    distribution = general_distribution(max_number=9, names=5)
    problems = sample_definitions(distribution, "train", 300, 1)
    vocabulary = distribution.vocabulary
    asked, there = every_question(problems, distribution)
    for variable, (each, has) in enumerate(zip(asked, there, strict=True)):
        for problem in np.flatnonzero(has):
            row, end = each.ids[problem], int(each.length[problem])
            assert row[end - 2] == vocabulary.numbers[problems.values[problem, variable]]
            name = row[each.question_length[problem] - 2]
            assert name == vocabulary.first_name + problems.names[problem, variable]


def test_no_question_of_a_training_definition_is_a_text_of_another_split():
    distribution = general_distribution(max_number=3, names=3)
    problems = sample_definitions(distribution, "train", 3_000, 1)
    asked, there = every_question(problems, distribution)
    found = set()
    for each, has in zip(asked, there, strict=True):
        for row, length in zip(each.ids[has], each.question_length[has], strict=True):
            found.add(spelt(row[:length], distribution))
    for split in ("valid", "test", "probe"):
        others = {question for question, _ in texts(sample(distribution, split, 0, 3_000, 2), distribution)}
        assert not found & others
    own = {question for question, _ in texts(sample(distribution, "train", 0, 3_000, 2), distribution)}
    assert found & own


def test_layouts_are_as_frequent_among_definitions_as_in_their_distribution():
    distribution = general_distribution(max_number=9, names=25)
    problems = sample_definitions(distribution, "train", 20_000, 5)
    counts = np.array([len(layout.variables) for layout in distribution.layouts])
    for variables in (1, 2, 3):
        expected = distribution.weights[counts == variables].sum()
        found = (counts[problems.layout] == variables).mean()
        assert found == pytest.approx(expected, abs=0.015)


def test_definitions_are_the_same_however_many_are_wanted():
    distribution = general_distribution(max_number=9, names=5)
    few, many = (sample_definitions(distribution, "train", count, 1) for count in (50, 30_000))
    assert len(few) == 50
    assert len(many) == 30_000
    np.testing.assert_array_equal(many.numbers[:50], few.numbers)


def spelt(ids, distribution):
    """The text as `texts` writes it; a test that compares with it sees equal texts elsewhere."""
    signs = {",": ", ", ";": "; "}
    return "".join(signs.get(word, word) for word in (distribution.vocabulary.tokens[token] for token in ids))
