"""Questions that share a definition: the same numbers as texts of their own, and no text of another split."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arith_model.transformer import build_for
from arith_shared.problems import encode, every_question, general_distribution, sample, texts
from arith_trainer.batches import Batch, Batches
from arith_trainer.branches import branch
from arith_trainer.joined import NO_LOSS
from arith_trainer.loop import batch_loss

GENERAL = {"training": "general", "max_number": 9, "names": 5, "layout": "eq1"}


def separately(asked):
    """The owned questions, each as a text of its own, with loss on output and end."""
    rows = []
    for each in asked:
        for problem in np.flatnonzero(each.owned):
            length, question = int(each.encoded.length[problem]), int(each.encoded.question_length[problem])
            ids = each.encoded.ids[problem, :length].tolist()
            rows.append((ids[:-1], [NO_LOSS] * (question - 1) + ids[question:]))
    return rows


@pytest.mark.parametrize(("chain", "question"), [("none", "="), ("short", "=?")])
def test_loss_and_gradient_are_those_of_texts_of_their_own(spec_with, chain, question):
    spec = spec_with(task=GENERAL | {"chain": chain, "question": question}, lm={"dropout": 0.0})
    distribution = spec.task.training_distribution()
    problems = sample(distribution, "train", 0, 40, 3)
    asked = every_question(problems, distribution, "train", chain)
    rows, branching = branch(asked, 1 + len(question))
    batch = Batches(rows, batch_tokens=10_000, epochs=1, seed=0, branching=branching)[0]
    model = build_for(spec).eval()
    together = batch_loss(model, batch)
    together.backward()
    found = [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]
    model.zero_grad()
    own = separately(asked)
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


def test_every_question_is_answered_as_its_own_layout_answers_it():
    distribution = general_distribution(max_number=9, names=5)
    problems = sample(distribution, "train", 0, 300, 1)
    vocabulary = distribution.vocabulary
    for variable, each in enumerate(every_question(problems, distribution, "train")):
        for problem in np.flatnonzero(each.owned):
            row, end = each.encoded.ids[problem], int(each.encoded.length[problem])
            assert row[end - 2] == vocabulary.numbers[problems.values[problem, variable]]
            assert (
                row[each.encoded.question_length[problem] - 2]
                == vocabulary.first_name + problems.names[problem, variable]
            )


def test_a_question_is_asked_where_the_split_owns_its_text_and_the_drawn_one_always():
    distribution = general_distribution(max_number=9, names=5)
    problems = sample(distribution, "train", 0, 2_000, 1)
    asked = every_question(problems, distribution, "train")
    drawn = np.array([layout.question for layout in distribution.layouts])[problems.layout]
    assert all(asked[variable].owned[problem] for problem, variable in enumerate(drawn))
    there = np.array([len(layout.variables) for layout in distribution.layouts])[problems.layout]
    others = sum(int(each.owned.sum()) for each in asked) - len(problems)
    assert others / (there - 1).sum() == pytest.approx(0.5, abs=0.03)
    # No text of them is drawn for another split.
    held_out = {question for question, _ in texts(sample(distribution, "valid", 0, 3_000, 2), distribution)}
    for each in asked:
        for problem in np.flatnonzero(each.owned):
            length = int(each.encoded.question_length[problem])
            assert spelt(each.encoded.ids[problem, :length], distribution) not in held_out


def spelt(ids, distribution):
    signs = {",": ", ", ";": "; "}
    words = [distribution.vocabulary.tokens[token] for token in ids]
    return "".join(signs.get(word, word) for word in words)


def test_held_out_texts_are_spelt_the_way_they_are_compared():
    distribution = general_distribution(max_number=9, names=5)
    problems = sample(distribution, "valid", 0, 50, 2)
    encoded = encode(problems, distribution)
    expected = [question for question, _ in texts(problems, distribution)]
    assert [
        spelt(row[:n], distribution) for row, n in zip(encoded.ids, encoded.question_length, strict=True)
    ] == expected
