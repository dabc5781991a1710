"""A text of several problems has every token of each, and loss where each problem alone would have it."""

from __future__ import annotations

import numpy as np
import pytest

from arith_shared.errors import SpecError
from arith_shared.problems import Encoded, encode, general_distribution, sample
from arith_trainer.joined import NO_LOSS, join, learnt_tokens, solved_texts


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    distribution = general_distribution(max_number=9, names=5)
    return encode(sample(distribution, "train", 0, 50, 0), distribution, "short")


@pytest.mark.parametrize("per_text", [1, 3, 4])
@pytest.mark.parametrize("whole_text", [False, True])
def test_a_text_is_its_problems_one_after_the_other(encoded, per_text, whole_text):
    texts = join(encoded, learnt_tokens(encoded, whole_text=whole_text), per_text)
    assert len(texts.ids) == len(encoded.ids) // per_text
    for number, (ids, labels) in enumerate(zip(texts.ids.tolist(), texts.labels.tolist(), strict=True)):
        tokens, learnt = [], []
        for problem in range(number * per_text, (number + 1) * per_text):
            length, question = int(encoded.length[problem]), int(encoded.question_length[problem])
            tokens += encoded.ids[problem, :length].tolist()
            learnt += [whole_text or place >= question for place in range(length)]
        assert ids[: len(tokens)] == tokens[: len(ids)]
        assert set(ids[len(tokens) :]) <= {0}
        expected = [token if wanted else NO_LOSS for token, wanted in zip(tokens, learnt, strict=True)][1:]
        assert labels[: len(expected)] == expected
        assert set(labels[len(expected) :]) <= {NO_LOSS}


def test_fewer_problems_than_one_text_needs_are_refused_with_the_remedy(encoded):
    few = Encoded(encoded.ids[:3], encoded.question_length[:3], encoded.length[:3])
    with pytest.raises(SpecError, match=r"problems: expected at least the 4 of one text, found 3; raise it"):
        solved_texts(few, whole_text=False, problems_per_text=4)


def test_only_one_problem_of_each_text_is_asked_in_an_evaluation(encoded):
    asked = learnt_tokens(encoded, whole_text=False)
    asked[np.arange(50) % 5 != 4] = False
    texts = join(encoded, asked, 5)
    outputs = (encoded.length - encoded.question_length)[4::5]
    assert (texts.labels != NO_LOSS).sum(axis=1).tolist() == outputs.tolist()
