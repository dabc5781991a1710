"""The vocabulary as a Hugging Face tokenizer, so that a saved LM can be used without this code.

Whole numbers are single tokens: the number embeddings of the paper need one id per number. Spaces only
separate tokens, and decoding writes none.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from arith_shared.problems import Vocabulary


def build_tokenizer(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """A tokenizer with the ids of `vocabulary`; what is not in it becomes `<pad>`.

    Batches are padded on the left, as generation needs it.
    """
    tokens = vocabulary.tokens
    pad, eos = tokens[vocabulary.pad], tokens[vocabulary.eos]
    tokenizer = Tokenizer(
        models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=pad)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\d+|\D"), behavior="isolated")]
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
