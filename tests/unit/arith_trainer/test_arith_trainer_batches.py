"""A batch follows from seed and step, and carries loss where it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arith_shared.errors import SpecError
from arith_shared.problems import Encoded, encode, general_distribution, sample
from arith_trainer.batches import Batches
from arith_trainer.joined import NO_LOSS, join, learnt_tokens, solved_texts


def encoded_of(lengths: list[tuple[int, int]]) -> Encoded:
    """Problems with (question, output and EOS) tokens; token 1000 * (p + 1) + n is the n-th of problem p."""
    length = np.array([question + output for question, output in lengths])
    ids = np.zeros((len(lengths), length.max()), np.int64)
    for problem, tokens in enumerate(length):
        ids[problem, :tokens] = 1000 * (problem + 1) + np.arange(tokens)
    return Encoded(ids, np.array([question for question, _ in lengths]), length)


@st.composite
def trainings(draw):
    """Problems of mixed lengths and a budget that fits at least one."""
    length = st.tuples(st.integers(1, 9), st.integers(2, 5))
    encoded = encoded_of(draw(st.lists(length, min_size=1, max_size=30)))
    return encoded, draw(st.integers(encoded.ids.shape[1], 200)), draw(st.integers(0, 2**63 - 1))


def all_batches(encoded, budget, seed=0, epochs=3, *, whole_text=False):
    batches = Batches(
        solved_texts(encoded, whole_text=whole_text), batch_tokens=budget, epochs=epochs, seed=seed
    )
    return batches, [batches[step] for step in range(batches.steps)]


@settings(max_examples=60, deadline=None)
@given(trainings())
def test_every_epoch_reads_each_problem_once(training):
    encoded, budget, seed = training
    batches, read = all_batches(encoded, budget, seed)
    per_epoch = len(read) // 3
    assert per_epoch * 3 == batches.steps == len(read)
    for epoch in range(3):
        ids = torch.cat([batch.ids for batch in read[epoch * per_epoch : (epoch + 1) * per_epoch]])
        assert sorted(ids[:, 0].tolist()) == encoded.ids[:, 0].tolist()
        # A text is read whole, but for its last token, which is only predicted.
        problem = ids[:, 0].numpy() // 1000 - 1
        np.testing.assert_array_equal(ids, encoded.ids[problem, :-1])


@settings(max_examples=60, deadline=None)
@given(trainings())
def test_a_batch_fills_the_budget_counted_with_padding_and_never_exceeds_it(training):
    encoded, budget, seed = training
    batches, read = all_batches(encoded, budget, seed)
    longest = encoded.ids.shape[1]
    sizes = [len(batch.ids) for batch in read]
    fits = budget // longest
    last = len(encoded.ids) - fits * (len(sizes) // 3 - 1)
    assert sizes == [*[fits] * (len(sizes) // 3 - 1), last] * 3
    assert 1 <= last <= fits
    for steps in range(len(sizes) + 1):
        assert batches.tokens(steps) == sum(sizes[:steps]) * longest


@settings(max_examples=30, deadline=None)
@given(trainings(), st.randoms(use_true_random=False))
def test_any_step_can_be_had_at_any_time(training, random):
    encoded, budget, seed = training
    _, expected = all_batches(encoded, budget, seed)
    again = Batches(solved_texts(encoded, whole_text=False), batch_tokens=budget, epochs=3, seed=seed)
    steps = list(range(again.steps)) * 2
    random.shuffle(steps)
    for step in steps:
        batch = again[step]
        assert torch.equal(batch.ids, expected[step].ids)
        assert torch.equal(batch.labels, expected[step].labels)


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    encoded = encoded_of([(2, 2)] * 50)
    orders = set()
    for seed in (0, 1, 2, 2**32, 2**63 - 1):
        for epoch in range(3):
            _, read = all_batches(encoded, 200, seed)
            orders.add(tuple(read[epoch].ids[:, 0].tolist()))
    assert len(orders) == 15
    assert tuple(encoded.ids[:, 0]) not in orders


@settings(max_examples=60, deadline=None)
@given(trainings(), st.booleans())
def test_loss_lies_on_output_and_eos_or_on_every_token_but_padding(training, whole_text):
    encoded, budget, seed = training
    _, read = all_batches(encoded, budget, seed, 1, whole_text=whole_text)
    ids, labels = torch.cat([batch.ids for batch in read]), torch.cat([batch.labels for batch in read])
    assert ids.dtype == labels.dtype == torch.int64
    for row, predicted in zip(ids.tolist(), labels.tolist(), strict=True):
        problem = row[0] // 1000 - 1
        text = encoded.ids[problem].tolist()
        for position, label in enumerate(predicted):
            target = position + 1
            learnt = target < encoded.length[problem] and (
                whole_text or target >= encoded.question_length[problem]
            )
            assert label == (text[target] if learnt else NO_LOSS)


def test_a_real_problem_is_asked_for_its_answer_and_for_stopping():
    distribution = general_distribution(max_number=9, names=5)
    problems = sample(distribution, "train", 0, 200, 0)
    encoded = encode(problems, distribution)
    labels = join(encoded, learnt_tokens(encoded, whole_text=False), 1).labels
    vocabulary = distribution.vocabulary
    for row, answer in zip(labels, problems.answer, strict=True):
        assert row[row != NO_LOSS].tolist() == [vocabulary.numbers[answer], vocabulary.eos]


def test_a_budget_below_one_text_is_refused_with_the_remedy():
    with pytest.raises(
        SpecError, match=r"batch_tokens: expected at least one text of 6 .* found 5; raise it"
    ):
        Batches(
            solved_texts(encoded_of([(2, 2), (4, 2)]), whole_text=False), batch_tokens=5, epochs=1, seed=0
        )


def test_the_papers_budget_gives_the_papers_number_of_steps():
    """Kudo et al. 2024, table 2: 16,384 tokens a batch; equation 1 with answer and EOS has 22 tokens."""
    encoded = Encoded(np.zeros((200_000, 22), np.int8), np.full(200_000, 20), np.full(200_000, 22))
    batches = Batches(solved_texts(encoded, whole_text=False), batch_tokens=16_384, epochs=500, seed=0)
    assert len(batches[0].ids) == 744
    assert batches.steps == 500 * math.ceil(200_000 / 744)
