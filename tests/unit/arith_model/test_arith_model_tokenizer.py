"""The Hugging Face tokenizer speaks the vocabulary's language."""

from __future__ import annotations

import pytest

from arith_model.tokenizer import build_tokenizer, save_tokenizer
from arith_shared.problems import Vocabulary, encode, lines, sample, texts
from arith_shared.specs import parse_spec

VOCABULARY = Vocabulary(max_number=120, names=25)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(VOCABULARY)


def ids(tokenizer, text):
    return tokenizer(text)["input_ids"]


def test_a_whole_number_is_one_token(tokenizer):
    assert len(tokenizer) == VOCABULARY.size
    assert [ids(tokenizer, str(number)) for number in range(121)] == [[n] for n in VOCABULARY.numbers]


@pytest.mark.parametrize("chain", ["none", "short", "backtrack"])
@pytest.mark.parametrize("training", ["same", "general"])
def test_the_text_of_a_problem_gives_the_ids_that_the_lm_was_trained_on(tokenizer, training, chain):
    task = parse_spec({"task": {"max_number": 120, "training": training, "chain": chain}}).task
    distribution = task.training_distribution()
    problems = sample(distribution, "train", 0, 50, 0)
    encoded = encode(problems, distribution, chain)
    for row, length, (question, output) in zip(
        encoded.ids, encoded.length, texts(problems, distribution, chain), strict=True
    ):
        assert ids(tokenizer, question + output) == row[: length - 1].tolist()
        # Decoding writes no spaces, and special tokens can be left out.
        text = (question + output).replace(" ", "")
        assert tokenizer.decode(row) == text + "<eos>" + "<pad>" * (len(row) - length)
        assert tokenizer.decode(row, skip_special_tokens=True) == text


@pytest.mark.parametrize("chain", ["none", "short"])
@pytest.mark.parametrize("training", ["same", "general"])
@pytest.mark.parametrize(
    ("number_tokens", "values"),
    [("number", "unrestricted"), ("digit", "in_range"), ("digit", "unrestricted")],
)
def test_digits_and_negative_numbers_give_the_ids_too_however_the_text_is_spaced(
    number_tokens, values, training, chain
):
    task = parse_spec(
        {
            "task": {
                "max_number": 120, "values": values, "number_tokens": number_tokens,
                "training": training, "chain": chain, "question": "=?",
            }
        }
    ).task  # fmt: skip
    distribution = task.training_distribution()
    alone, line = (
        build_tokenizer(distribution.vocabulary, line_ends=ends, digits=number_tokens == "digit")
        for ends in (False, True)
    )
    problems = sample(distribution, "train", 0, 200, 0)
    encoded = encode(problems, distribution, chain)
    expected = [row[: length - 1].tolist() for row, length in zip(encoded.ids, encoded.length, strict=True)]
    written = texts(problems, distribution, chain)
    assert [ids(alone, question + output) for question, output in written] == expected
    assert [alone.decode(row, skip_special_tokens=True) for row in encoded.ids] == [
        (question + output).replace(" ", "") for question, output in written
    ]
    for spacing in ("spaced", "compact"):
        found = [ids(line, each.text) for each in lines(problems, distribution, chain, spacing)]
        assert found == [[*row, distribution.vocabulary.eos] for row in expected]


def test_spaces_separate_tokens_and_mean_nothing_else(tokenizer):
    spaced = ids(tokenizer, " a =\t1 + b ,\n")
    assert spaced == ids(tokenizer, "a=1+b,") == VOCABULARY.encode("a=1+b,")
    assert ids(tokenizer, "1 2") == VOCABULARY.encode(["1", "2"])


@pytest.mark.parametrize("stranger", ["?", "z", "121", "007", "A", "é"])
def test_what_the_vocabulary_lacks_becomes_padding_and_shifts_nothing(tokenizer, stranger):
    pad = VOCABULARY.pad
    assert ids(tokenizer, f"a={stranger}+1") == [*VOCABULARY.encode("a="), pad, *VOCABULARY.encode("+1")]


def test_the_special_tokens_are_read_as_such(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (VOCABULARY.pad, VOCABULARY.eos)
    assert ids(tokenizer, "1<eos><pad>") == [*VOCABULARY.encode("1"), VOCABULARY.eos, VOCABULARY.pad]


def test_batches_are_padded_on_the_left_so_that_an_lm_can_go_on_from_them(tokenizer):
    batch = tokenizer(["a=1; a=", "a="], padding=True)
    assert batch["input_ids"][1] == [VOCABULARY.pad] * 4 + VOCABULARY.encode("a=")
    assert batch["attention_mask"] == [[1] * 6, [0] * 4 + [1] * 2]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_equal_vocabularies_are_saved_to_equal_bytes(tmp_path):
    for name in ("one", "two"):
        save_tokenizer(build_tokenizer(VOCABULARY), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["tokenizer.json", "tokenizer_config.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
