"""Small random LMs of six families with tokenizers of the kinds that those families have, built on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

#: What tokenizers are made from: signs, digits, names and line breaks as they stand in problems, and some words.
CORPUS = [
    "a = 1 + b , b = 2 + 3 ; a =? a = 1 + b , b = 5 , a = 6\n",
    "z=0+o, o=4+5; z=? z=0+o, o=9, z=9\n",
    "when and where are the parts of a problem worked out?\n",
    *(
        f"{letter} = {digit} - {letter} ; {letter}={digit}\n"
        for digit in range(10)
        for letter in "abcdefghijklmn"
    ),
    *(f"{letter}, {letter}; {letter}\n" for letter in "opqrstuvwxy"),
]


def byte_level(*, bos: bool = False, single_digits: bool = False) -> PreTrainedTokenizerFast:
    """GPT-2's kind: bytes with merges, a space belongs to the word after it; OPT puts a token first, Qwen2 splits
    digits."""
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(r"\d"), "isolated")] if single_digits else []
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="</s> $A", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
        )
    return _wrapped(tokenizer, eos_token="</s>")


def metaspace_bpe() -> PreTrainedTokenizerFast:
    """Llama's kind: spaces are a letter of their own, one is put in front, unknown characters become bytes, and a
    token begins every text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split(Regex(r"\d"), "isolated")]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    # No line break among the characters: it is written as a byte, as Llama does.
    tokenizer.train_from_iterator((line.strip() for line in CORPUS), trainer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return _wrapped(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def metaspace_unigram() -> PreTrainedTokenizerFast:
    """SentencePiece's other kind: pieces with probabilities, spaces at their front; ends every text with a token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d|\n"), "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return _wrapped(tokenizer, eos_token="</s>", unk_token="<unk>")


def single_characters(characters: str, *, unknown: str = "§") -> PreTrainedTokenizerFast:
    """A token for each character, spaces too; what is not among `characters` is `unknown`."""
    vocabulary = {character: index for index, character in enumerate(dict.fromkeys(unknown + characters))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _wrapped(tokenizer, unk_token=unknown)


def _wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


_SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "max_position_embeddings": 256}
_GATED = {**_SHAPE, "intermediate_size": 64, "num_key_value_heads": 2}

#: Each family with a tokenizer of its kind.
FAMILIES = {
    "llama": (LlamaConfig, _GATED, metaspace_bpe),
    "mistral": (MistralConfig, {**_GATED, "sliding_window": 4096}, metaspace_unigram),
    "qwen2": (Qwen2Config, _GATED, lambda: byte_level(single_digits=True)),
    "gpt-neox": (GPTNeoXConfig, {**_SHAPE, "intermediate_size": 64}, byte_level),
    "gpt2": (GPT2Config, {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 256}, byte_level),
    "opt": (OPTConfig, {**_SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32}, lambda: byte_level(bos=True)),
}
#: Dropout is off, so that training for a few steps needs no luck.
_QUIET = ("dropout", "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop")


def family(name: str):
    """A random LM of the family and its tokenizer."""
    config_class, shape, tokenizer_of = FAMILIES[name]
    tokenizer = tokenizer_of()
    end = tokenizer.eos_token_id
    config = config_class(
        **shape, vocab_size=len(tokenizer), pad_token_id=None, bos_token_id=end, eos_token_id=end
    )
    for field in _QUIET:
        if hasattr(config, field):
            setattr(config, field, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model, tokenizer


def learn_by_heart(model, rows: list[list[int]], first: int, steps: int = 500) -> None:
    """Train on a few texts of equal length, from the token `first` on, until greedy decoding gives them back.

    Most take 70 steps and a Mistral 150, more or fewer with the order in which a processor adds.
    """
    ids = torch.tensor(rows)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        logits = model(ids[:, :-1]).logits[:, first - 1 :]
        if bool((logits.argmax(dim=-1) == ids[:, first:]).all()):
            break
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, first:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def save(model, tokenizer, folder: Path) -> Path:
    """Write both as a folder that transformers opens."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
