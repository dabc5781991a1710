"""A small Mistral trained from scratch: the architecture of the paper's section 4, unchanged, in a size for a laptop.

Weights are drawn by the library from a generator that is seeded for it alone. All of them are trained, the
embeddings too: the paper's frozen sinusoids belong to its OPT decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import MistralConfig, MistralForCausalLM

from arith_model.attention import SHORT_TEXTS
from arith_model.seeds import derive_seed

if TYPE_CHECKING:
    from arith_shared.problems import Vocabulary
    from arith_shared.specs import MistralSpec


def build(lm: MistralSpec, vocabulary: Vocabulary, max_tokens: int, seed: int) -> MistralForCausalLM:
    """An untrained LM for texts of up to `max_tokens` tokens; its weights follow from the arguments alone."""
    config = MistralConfig(
        vocab_size=vocabulary.size,
        hidden_size=lm.width,
        intermediate_size=lm.ffn,
        num_hidden_layers=lm.layers,
        num_attention_heads=lm.heads,
        num_key_value_heads=lm.kv_heads,
        max_position_embeddings=max_tokens,
        sliding_window=None,
        initializer_range=lm.init_std,
        tie_word_embeddings=False,
        pad_token_id=vocabulary.pad,
        bos_token_id=vocabulary.eos,
        eos_token_id=vocabulary.eos,
    )
    # The library draws from the global generator, which is not ours to advance.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return MistralForCausalLM._from_config(config, attn_implementation=SHORT_TEXTS, dtype=torch.float32)
