"""One teacher-forced pass over gold text: hidden states and the LM's own next tokens.

A causal LM that reads the gold text has, at every position, the hidden states that it would have when
generating that text itself, so one pass replaces a generation of many steps. States come from the library's
own `output_hidden_states`, which costs no more than hooks and is what others compare with. Its last entry is
after the final norm, the others are the bare residual stream; `last_layer` says so in each shard.

What all texts begin with, the demonstrations, is read once: a causal LM's keys and values there depend on nothing
that follows, so every batch starts from a copy of them.

Nothing is padded: all texts of a batch are equally long, positions are given explicitly and count on from the
prefix, and no attention mask is needed. On a CPU in float32 a problem's states depend on the shape of its batch
(matrix kernels differ in the last bit) but never on the other problems in it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def last_layer(model: PreTrainedModel) -> str:
    """What the states of the last layer are, as it stands in a shard's metadata."""
    # Every family has a norm after its last block, but for the one OPT that norms after each block instead.
    if getattr(model.config, "do_layer_norm_before", True):
        return "after the final norm"
    return "as the last block leaves it: this LM has no final norm"


@dataclass(frozen=True, slots=True)
class Prefix:
    """What every text of a batch begins with, read once."""

    #: Keys and values of the tokens, for a batch of one; None where there are none.
    cache: DynamicCache | None
    #: Tokens.
    length: int

    def repeated(self, batch: int) -> DynamicCache | None:
        """Keys and values for `batch` texts; a copy, since an LM that reads on writes into them."""
        if self.cache is None:
            return None
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(batch)
        return cache


#: Nothing stands before the texts.
NO_PREFIX = Prefix(None, 0)


@dataclass(frozen=True, slots=True)
class Captured:
    """What one pass gives."""

    #: floating[layer, problem, position, width], in the LM's compute dtype and on its device.
    states: Tensor
    #: int64[problem, output]: the most likely token at each place of the output, its end included.
    predicted: Tensor


@torch.inference_mode()
def read_prefix(model: PreTrainedModel, tokens: Sequence[int]) -> Prefix:
    """Read what all texts begin with."""
    if not tokens:
        return NO_PREFIX
    cache = DynamicCache(config=model.config)
    ids = torch.tensor([list(tokens)], device=model.device)
    model(ids, cache=cache, use_cache=True, position_ids=_positions(ids, 0), logits_to_keep=1)
    _check_read(cache, len(tokens))
    return Prefix(cache, len(tokens))


@torch.inference_mode()
def capture(
    model: PreTrainedModel,
    ids: Tensor,
    question_length: int,
    layers: Sequence[int],
    where: Sequence[int],
    prefix: Prefix = NO_PREFIX,
) -> Captured:
    """Read int64[problem, token], question and output and end, and keep `layers` at the tokens `where`."""
    outputs = ids.shape[1] - question_length
    # The end is predicted but never read, unless it is one token with the last of the output.
    read = ids[:, : max(ids.shape[1] - 1, max(where) + 1)]
    cache = prefix.repeated(len(ids))
    result = model(
        read,
        cache=cache,
        use_cache=cache is not None,
        position_ids=_positions(read, prefix.length),
        output_hidden_states=True,
        logits_to_keep=read.shape[1] - question_length + 1,
    )
    if cache is not None:
        _check_read(cache, prefix.length + read.shape[1])
    chosen = torch.tensor(list(where), device=ids.device)
    # An LM spread over several devices has its layers there.
    kept = [result.hidden_states[layer].to(ids.device)[:, chosen] for layer in layers]
    return Captured(torch.stack(kept), result.logits[:, :outputs].argmax(dim=-1).to(ids.device))


def _check_read(cache: DynamicCache, tokens: int) -> None:
    """Keys and values stand for the tokens of one text and nothing else: no padding, no other batch's tokens."""
    if cache.get_seq_length() != tokens:
        raise ValueError(f"expected keys and values of {tokens} tokens, found {cache.get_seq_length()}")


def _positions(ids: Tensor, first: int) -> Tensor:
    """int64[problem, token]: the place of each token in the whole text."""
    count = ids.shape[1]
    return torch.arange(first, first + count, device=ids.device).expand(len(ids), count)
