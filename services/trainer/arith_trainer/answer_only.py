"""The forward pass of a training step without what no loss looks at: the last block's work on the question.

    P  text    N  token    A  token with loss in some text of the batch

With loss on the answer alone, the last block's output matters at a few tokens of each text; at the others only its
keys and values do. Its queries, its feed-forward half and the head are then computed for those few: the loss and its
gradients are those of the whole pass, but for the order of sums, and of three blocks a quarter of the work is left
out. The block itself stays the library's: it is told of the other tokens as of a cache.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import OPTForCausalLM
from transformers.models.opt.modeling_opt import OPTAttention, OPTDecoder

#: Above this share of the tokens the whole pass costs no more.
_WORTH_IT = 0.5


def fits(model: nn.Module) -> bool:
    """Whether a model can be read so: an OPT decoder without dropout, whose masks would be drawn for other tokens."""
    if not isinstance(model, OPTForCausalLM):
        return False
    config = model.config
    return not (config.dropout or config.attention_dropout or config.layerdrop)


def answer_tokens(learnt: Tensor) -> Tensor | None:
    """From bool[P, N], int64[A]; None where they are too many to be worth it."""
    columns = learnt.any(dim=0).nonzero().flatten()
    return columns if 0 < len(columns) <= _WORTH_IT * learnt.shape[1] else None


def answer_logits(
    model: OPTForCausalLM,
    ids: Tensor,
    columns: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The logits of int64[P, N] at `columns`, int64[A]: floating[P, A, token].

    `mask` is added to the products of queries and keys, floating[P or 1, 1, N, N]; None = causal.
    """
    decoder = model.model.decoder
    hidden = _all_but_the_last(decoder)(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    last = decoder.layers[-1]
    if mask is None:
        unseen = torch.arange(ids.shape[1], device=ids.device) > columns[:, None]
        seen_from = torch.zeros(unseen.shape, device=ids.device)
        rows = seen_from.masked_fill(unseen, torch.finfo(torch.float32).min)[None, None]
    else:
        rows = mask[:, :, columns]
    normed = last.self_attn_layer_norm(hidden) if last.do_layer_norm_before else hidden
    hidden = last(hidden[:, columns], attention_mask=rows, cache=_OfAllTokens.of(last.self_attn, normed))
    for head in (decoder.final_layer_norm, decoder.project_out, model.lm_head):
        hidden = hidden if head is None else head(hidden)
    logits: Tensor = hidden
    return logits


@dataclass(frozen=True, slots=True)
class _OfAllTokens:
    """Stands where a block looks for the keys and values of earlier tokens: those of all tokens of the text."""

    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, attention: OPTAttention, hidden: Tensor) -> _OfAllTokens:
        """Keys and values floating[P, head, N, feature] of what the attention reads, floating[P, N, width]."""
        split = (*hidden.shape[:2], attention.num_heads, attention.head_dim)
        keys, values = (
            projection(hidden).view(split).transpose(1, 2)
            for projection in (attention.k_proj, attention.v_proj)
        )
        return cls(keys, values)

    def update(self, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """What attention is paid to, in place of the few tokens that it is asked for."""
        return self.keys, self.values


def _all_but_the_last(decoder: OPTDecoder) -> OPTDecoder:
    """The decoder up to its last block, sharing its weights: the residual stream comes out."""
    trunk = copy.copy(decoder)
    kept = {"layers": nn.ModuleList(decoder.layers[:-1]), "final_layer_norm": None, "project_out": None}
    trunk._modules = {**decoder._modules, **kept}
    return trunk
