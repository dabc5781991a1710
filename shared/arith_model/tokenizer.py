"""The vocabulary as a Hugging Face tokenizer, so that a saved LM can be used without this code.

Whole numbers are single tokens: the number embeddings of the paper need one id per number. Where the spec spells
numbers in digits (gap a), every character is a token. Spaces only separate tokens, and decoding writes none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arith_shared.problems import Vocabulary
from arith_shared.problems.prompts import END

if TYPE_CHECKING:
    from arith_shared.specs import Spec

#: A minus sign after one of these, with or without a space between, belongs to the number behind it.
_NEGATIVE = "|".join(rf"(?<=[=?+\-]{space})-\d+" for space in ("", " "))


def tokenizer_for(spec: Spec) -> PreTrainedTokenizerFast:
    """The tokenizer of the LM that a spec trains."""
    return build_tokenizer(
        spec.task.training_distribution().vocabulary,
        line_ends=spec.lm.kind == "mistral",
        digits=spec.task.number_tokens == "digit",
    )


def build_tokenizer(
    vocabulary: Vocabulary, *, line_ends: bool = False, digits: bool = False
) -> PreTrainedTokenizerFast:
    """A tokenizer with the ids of `vocabulary`; what is not in it becomes `<pad>`.

    With `line_ends` a line break in the text is the end of a sequence, so that several problems, one to a line, are
    one text. With `digits` numbers are split. Batches are padded on the left, as generation needs it.
    """
    tokens = list(vocabulary.tokens)
    if line_ends:
        tokens[vocabulary.eos] = END
    pad, eos = tokens[vocabulary.pad], tokens[vocabulary.eos]
    tokenizer = Tokenizer(
        models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=pad)
    )
    spaces = (
        pre_tokenizers.Split(Regex(" +"), behavior="removed")
        if line_ends
        else pre_tokenizers.WhitespaceSplit()
    )
    if vocabulary.min_number < 0:
        # What precedes a sign tells what it is, so words are found before spaces go.
        steps = [pre_tokenizers.Split(Regex(rf"{_NEGATIVE}|\d+|\D"), behavior="isolated"), spaces]
    else:
        word = r"\d|\D" if digits else r"\d+|\D"
        steps = [spaces, pre_tokenizers.Split(Regex(word), behavior="isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=eos,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer beside its model."""
    tokenizer.save_pretrained(folder)
