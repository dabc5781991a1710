"""One teacher-forced pass over gold text: hidden states and the LM's own next tokens.

A causal LM that reads the gold text has, at every position, the hidden states that it would have when
generating that text itself, so one pass replaces a generation of many steps. States come from the library's
own `output_hidden_states`, which costs no more than hooks and is what others compare with. Its last entry is
after the final norm, the others are the bare residual stream; `LAST_LAYER` says so in each shard.

Nothing is padded: all texts of a batch are equally long, positions count from 0, and no attention mask is
needed. On a CPU in float32 a problem's states depend on the shape of its batch (matrix kernels differ in
the last bit) but never on the other problems in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: What the states of the last layer are, as it stands in a shard's metadata.
LAST_LAYER = "after the final norm"


@dataclass(frozen=True, slots=True)
class Captured:
    """What one pass gives."""

    #: floating[layer, problem, position, width], in the LM's compute dtype and on its device.
    states: Tensor
    #: int64[problem, output]: the most likely token at each place of the output, EOS included.
    predicted: Tensor


@torch.inference_mode()
def capture(
    model: PreTrainedModel, ids: Tensor, question_length: int, layers: Sequence[int], positions: int
) -> Captured:
    """Read int64[problem, token], question and output and EOS, and keep `layers` at the first `positions`."""
    outputs = ids.shape[1] - question_length
    # EOS is predicted but never read: nothing follows it.
    result = model(ids[:, :-1], output_hidden_states=True, use_cache=False, logits_to_keep=outputs)
    states = torch.stack([result.hidden_states[layer][:, :positions] for layer in layers])
    return Captured(states, result.logits.argmax(dim=-1))
