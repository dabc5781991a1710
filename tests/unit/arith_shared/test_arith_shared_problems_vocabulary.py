"""Tokens and ids are each other's inverse, and numbers are ids in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arith_shared.problems import Vocabulary

vocabularies = st.builds(Vocabulary, st.integers(1, 999), st.integers(1, 26))


@given(vocabularies)
def test_every_token_has_one_id_and_comes_back_from_it(vocabulary):
    tokens = list(vocabulary.tokens)
    assert vocabulary.encode(tokens) == list(range(vocabulary.size))
    assert vocabulary.decode(range(vocabulary.size)) == tokens


@given(vocabularies)
def test_the_ids_of_numbers_decode_to_the_numbers_in_order(vocabulary):
    expected = [str(number) for number in range(vocabulary.max_number + 1)]
    assert vocabulary.decode(vocabulary.numbers) == expected


def test_the_paper_has_a_hundred_numbers_and_twenty_five_names():
    vocabulary = Vocabulary(99, 25)
    assert vocabulary.size == 2 + 5 + 25 + 100
    assert vocabulary.decode([vocabulary.pad, vocabulary.eos]) == ["<pad>", "<eos>"]
    assert "y" in vocabulary.tokens
    assert "z" not in vocabulary.tokens


@pytest.mark.parametrize("token", ["10", "d", "*", ""])
def test_an_unknown_token_is_named_with_what_was_expected(token):
    with pytest.raises(ValueError, match=r"not in the vocabulary: expected 0 to 9, a to c") as error:
        Vocabulary(9, 3).encode(["1", token])
    assert repr(token) in str(error.value)
