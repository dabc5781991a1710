"""The LM trained from scratch: Hugging Face's OPT decoder with the paper's embeddings (appendix A.2).

    W  width    T  tokens of the vocabulary

The architecture is the library's, unchanged, so a saved model opens with `AutoModelForCausalLM` and without
this code. Ours is only where its weights start: numbers are embedded by the sinusoids of "Attention is all
you need" at the number's place, all other tokens at random, and neither is trained; hence the output head
cannot be tied to them. Two things are not kept by a saved folder, because the format has no place for them:
that the embeddings were frozen, and how the weights were drawn. The spec has both.

Weights are drawn twice: first by the library, which offers no public way not to, then by us.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel
from transformers.utils import logging

from arith_model import mistral
from arith_model.attention import SHORT_TEXTS
from arith_model.seeds import derive_seed
from arith_shared.problems import Vocabulary, longest_text

if TYPE_CHECKING:
    from arith_shared.specs import OptSpec, Spec


def build(lm: OptSpec, vocabulary: Vocabulary, max_tokens: int, seed: int) -> OPTForCausalLM:
    """An untrained LM for texts of up to `max_tokens` tokens; its weights follow from the arguments alone."""
    config = OPTConfig(
        vocab_size=vocabulary.size,
        num_hidden_layers=lm.layers,
        num_attention_heads=lm.heads,
        hidden_size=lm.width,
        word_embed_proj_dim=lm.width,
        ffn_dim=lm.ffn,
        max_position_embeddings=max_tokens,
        dropout=lm.dropout,
        attention_dropout=lm.attention_dropout,
        layerdrop=0.0,
        init_std=lm.init_std,
        tie_word_embeddings=lm.tie_head,
        pad_token_id=vocabulary.pad,
        bos_token_id=vocabulary.eos,
        eos_token_id=vocabulary.eos,
    )
    # The library draws from the global generator, which is not ours to advance.
    with torch.random.fork_rng(devices=[]):
        model = OPTForCausalLM._from_config(config, attn_implementation=SHORT_TEXTS, dtype=torch.float32)
    _initialise(model, lm, vocabulary, torch.Generator().manual_seed(derive_seed(seed, "weights")))
    return model


def build_for(spec: Spec) -> PreTrainedModel:
    """The untrained LM of a spec: where its training starts, and what the untrained control reads.

    Raises ValueError for a pretrained LM, which is not built from a spec.
    """
    distribution = spec.task.training_distribution()
    longest = max(longest_text(each, spec.task.chain) for each in (distribution, spec.task.evaluation()))
    if spec.lm.kind == "opt":
        return build(spec.lm, distribution.vocabulary, longest, spec.seed)
    if spec.lm.kind == "mistral":
        problems = max(spec.lm.problems_per_text, 1 + spec.lm.prompt.demonstrations)
        return mistral.build(spec.lm, distribution.vocabulary, longest * problems, spec.seed)
    raise ValueError(f"a {spec.lm.kind} LM is loaded, not built")


def sinusoids(count: int, width: int, first: int = 0) -> Tensor:
    """float32[count, W]: the position vectors of the numbers from `first` on, sines in even columns, cosines in odd.

    Vaswani et al. 2017, section 3.5.
    """
    number = torch.arange(first, first + count, dtype=torch.float64)[:, None]
    pair = torch.arange(0, width, 2, dtype=torch.float64)
    angle = number * torch.exp(-math.log(10_000.0) * pair / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).reshape(count, width).float()


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write config and weights (safetensors only) to `folder`."""
    with _without_progress_bars():
        model.save_pretrained(folder)


def load_model(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    device_map: str | None = None,
    attention: str | None = SHORT_TEXTS,
) -> PreTrainedModel:
    """Open a saved LM for reading hidden states: no download, no foreign code, safetensors only.

    With `device_map` the library spreads the weights; else all are on `device`. `attention` is one of
    arith_model.attention.
    """
    with _without_progress_bars():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            device_map=device_map,
        )
    return (model if device_map else model.to(device)).eval()


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    # They would be drawn into the worker's log.
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@torch.no_grad()
def _initialise(
    model: OPTForCausalLM, lm: OptSpec, vocabulary: Vocabulary, generator: torch.Generator
) -> None:
    decoder = model.model.decoder
    embeddings = decoder.embed_tokens.weight
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, lm.init_std, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    decoder.embed_positions.weight.normal_(0.0, lm.position_std, generator=generator)
    embeddings.normal_(0.0, lm.embedding_std, generator=generator)
    if lm.number_embeddings == "sinusoidal":
        numbers = torch.from_numpy(vocabulary.numbers)
        embeddings[numbers] = sinusoids(len(numbers), lm.width, vocabulary.min_number)
    embeddings.requires_grad_(not lm.freeze_embeddings)
