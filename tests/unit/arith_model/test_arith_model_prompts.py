"""Each position is read at the token that completes it, whatever the tokenizer does, or the problems are refused."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arith_model.prompts import Prompter, own_texts
from arith_model.tokenizer import build_tokenizer
from arith_shared.errors import PromptError
from arith_shared.problems import demonstrations, encode, lines, question_tokens, sample
from arith_shared.specs import parse_spec
from harness.pretrained import FAMILIES, byte_level, single_characters

COUNT = 20
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789=+-,;? \n"


def spec_of(task=None, **prompt):
    return parse_spec(
        {
            "task": {"layout": "level-1", "chain": "short", "question": "=?", "max_number": 9} | (task or {}),
            "lm": {"kind": "pretrained", "path": "x", "layers": 1, "width": 8, "prompt": prompt},
        }
    )


def problems_of(spec, count=COUNT):
    return sample(spec.task.evaluation(), "test", 0, count, 0)


def pieces(vocabulary: list[str], pattern: str) -> PreTrainedTokenizerFast:
    """A tokenizer that cuts texts by a pattern, and knows single characters and the given pieces."""
    tokens = {token: index for index, token in enumerate(dict.fromkeys(["§", *CHARACTERS, *vocabulary]))}
    tokenizer = Tokenizer(models.WordLevel(tokens, unk_token="§"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="§", clean_up_tokenization_spaces=False
    )


@pytest.mark.parametrize("spacing", ["spaced", "compact"])
@pytest.mark.parametrize("separator", [";", ","])
@pytest.mark.parametrize("question", ["=", "=?"])
@pytest.mark.parametrize("name", FAMILIES)
def test_reading_up_to_a_position_gives_the_text_up_to_there(name, spacing, separator, question):
    spec = spec_of(
        {"separator": separator, "question": question}, spacing=spacing, demonstrations=2, lengths="mixed"
    )
    tokenizer, problems = FAMILIES[name][2](), problems_of(spec, 5)
    texts = Prompter(spec, tokenizer).texts(problems)
    own = encode(problems, spec.task.evaluation(), "short")
    signs = spec.task.evaluation().vocabulary.tokens
    shown = demonstrations(spec.task.evaluation(), "short", spacing, count=2, seed=0)
    for row, (ids, where) in enumerate(zip(texts.ids.tolist(), texts.where.tolist(), strict=True)):
        written = [signs[token] for token in own.ids[row]]
        for position, place in enumerate(where):
            read = tokenizer.decode([*texts.prefix, *ids[: place + 1]], skip_special_tokens=True)
            expected = "".join((shown + "".join(written[: position + 1])).split())
            # Signs that are the same in every problem may come with the token: `=?`, `a=`.
            read = "".join(read.split())
            assert read.startswith(expected)
            assert read.removeprefix(expected) in ("", "?", "=")


def test_two_digits_are_read_at_the_second():
    spec = spec_of({"max_number": 99, "chain": "none", "question": "="}, spacing="compact", lengths="mixed")
    tokenizer = single_characters(CHARACTERS)
    texts, problems = Prompter(spec, tokenizer).texts(problems_of(spec)), problems_of(spec)
    assert len(set(texts.length.tolist())) > 1
    for ids, where, (first, _) in zip(
        texts.ids.tolist(), texts.where.tolist(), problems.numbers, strict=True
    ):
        number = tokenizer.decode(ids[where[1] + 1 : where[2] + 1])
        assert number == str(first)


def test_problems_of_different_lengths_are_refused_with_both_texts_and_the_remedy():
    spec = spec_of({"max_number": 99}, spacing="compact")
    with pytest.raises(
        PromptError, match=r"equally many tokens, found \d+ to \d+: '.*' and '.*' differ; set task"
    ):
        Prompter(spec, single_characters(CHARACTERS)).texts(problems_of(spec))


def test_groups_have_one_shape_each_and_every_row_once():
    spec = spec_of({"max_number": 99}, spacing="compact", lengths="mixed")
    texts = Prompter(spec, single_characters(CHARACTERS)).texts(problems_of(spec))
    groups = list(texts.groups(np.arange(3, COUNT)))
    assert sorted(np.concatenate(groups).tolist()) == list(range(3, COUNT))
    for group in groups:
        assert len(np.unique(texts.where[group], axis=0)) == 1
        assert len(set(texts.length[group].tolist())) == 1


def test_a_token_that_knows_the_next_number_is_refused_with_the_remedy():
    tokenizer = pieces([f"={digit}" for digit in range(10)], r"=\d|[\s\S]")
    spec = spec_of(spacing="compact")
    with pytest.raises(PromptError, match=r"joins '=' \(position 1\) with the '1' .*: set lm.prompt.spacing"):
        Prompter(spec, tokenizer).texts(problems_of(spec))
    assert Prompter(spec_of(), tokenizer).texts(problems_of(spec)).where.shape == (COUNT, 32)


def test_merged_signs_share_their_token():
    spec = spec_of(spacing="compact")
    texts = Prompter(spec, pieces(["=?"], r"=\?|[\s\S]")).texts(problems_of(spec))
    labels = [token.label for token in spec.task.probed_tokens()]
    asked = labels.index("?")
    assert (texts.where[:, asked] == texts.where[:, asked - 1]).all()
    assert (texts.question_length == texts.where[:, asked] + 1).all()


def test_a_tokenizer_that_drops_line_breaks_is_refused():
    tokenizer = single_characters(CHARACTERS)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")]
    )
    with pytest.raises(PromptError, match="drops the line break that ends an output"):
        Prompter(spec_of(), tokenizer).texts(problems_of(spec_of()))


def test_a_sign_that_the_tokenizer_does_not_know_is_refused():
    with pytest.raises(PromptError, match="does not know a sign of the problems and writes §"):
        Prompter(spec_of(), single_characters(CHARACTERS.replace(";", ""))).texts(problems_of(spec_of()))


def test_the_small_mistrals_tokenizer_gives_the_ids_that_it_was_trained_on():
    spec = spec_of({"layout": "eq1"})
    distribution, problems = spec.task.evaluation(), problems_of(spec)
    texts = Prompter(spec, build_tokenizer(distribution.vocabulary, line_ends=True)).texts(problems)
    own = own_texts(spec, problems)
    np.testing.assert_array_equal(texts.ids, own.ids)
    np.testing.assert_array_equal(texts.where, own.where)
    np.testing.assert_array_equal(texts.question_length, own.question_length)
    pool = sample(distribution, "demos", 0, 3, 0)
    assert list(texts.prefix) == encode(pool, distribution, "short").ids.reshape(-1).tolist()


def test_another_demonstration_seed_shows_other_problems_of_the_same_pool():
    spec = spec_of()
    distribution = spec.task.evaluation()
    pool = {
        line.text for line in lines(sample(distribution, "demos", 0, 100, 0), distribution, "short", "spaced")
    }
    shown = {
        seed: demonstrations(distribution, "short", "spaced", count=3, seed=seed).splitlines(keepends=True)
        for seed in range(4)
    }
    assert len({tuple(some) for some in shown.values()}) == 4
    for some in shown.values():
        assert len(some) == len(set(some)) == 3
        assert pool.issuperset(some)


def test_no_demonstration_is_ever_evaluated_probed_or_trained_on():
    spec = spec_of({"names": 3, "max_number": 3})
    distribution = spec.task.evaluation()
    pool = {
        line.text for line in lines(sample(distribution, "demos", 0, 100, 0), distribution, "short", "spaced")
    }
    for split in ("train", "valid", "test", "probe"):
        others = lines(sample(distribution, split, 0, 500, 7), distribution, "short", "spaced")
        assert pool.isdisjoint(line.text for line in others)


def test_how_a_question_is_written_changes_no_problem():
    plain, asked = spec_of({"question": "="}), spec_of({"question": "=?", "separator": ","})
    one, two = problems_of(plain), problems_of(asked)
    np.testing.assert_array_equal(one.numbers, two.numbers)
    np.testing.assert_array_equal(one.names, two.names)
    (layout,) = asked.task.evaluation().layouts
    assert "".join(token.label for token in question_tokens(layout)) == "A=1+B,B=2,A=?"


def test_without_demonstrations_only_the_first_token_stands_before():
    spec = spec_of(demonstrations=0)
    assert Prompter(spec, byte_level()).texts(problems_of(spec)).prefix == ()
    with_first = byte_level(bos=True)
    assert Prompter(spec, with_first).texts(problems_of(spec)).prefix == (with_first.eos_token_id,)
