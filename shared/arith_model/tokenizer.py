"""The vocabulary as a Hugging Face tokenizer, so that a saved LM can be used without this code.

Whole numbers are single tokens: the number embeddings of the paper need one id per number. Spaces only
separate tokens, and decoding writes none.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arith_shared.problems import Vocabulary
from arith_shared.problems.prompts import END


def build_tokenizer(vocabulary: Vocabulary, *, line_ends: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with the ids of `vocabulary`; what is not in it becomes `<pad>`.

    With `line_ends` a line break in the text is the end of a sequence, so that several problems, one to a line, are
    one text. Batches are padded on the left, as generation needs it.
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
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [spaces, pre_tokenizers.Split(Regex(r"\d+|\D"), behavior="isolated")]
    )
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
