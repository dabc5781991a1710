"""Greedy decoding of the few outputs that are not the gold ones, for those who ask for the final answer alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arith_extractor.capture import Prefix
from arith_shared.problems.prompts import END

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

#: How much longer than the gold output an output may be, as a factor.
PATIENCE = 2


@torch.inference_mode()
def greedy(model: PreTrainedModel, questions: Tensor, prefix: Prefix, steps: int, end: int) -> Tensor:
    """int64[problem, step]: what the LM writes after int64[problem, token], up to where all wrote `end`."""
    cache = prefix.repeated(len(questions))
    start, ids = prefix.length, questions
    written: list[Tensor] = []
    ended = torch.zeros(len(questions), dtype=torch.bool, device=questions.device)
    while len(written) < steps and not ended.all():
        positions = torch.arange(start, start + ids.shape[1], device=ids.device).expand_as(ids)
        result = model(ids, cache=cache, use_cache=True, position_ids=positions, logits_to_keep=1)
        cache = result.cache
        start += ids.shape[1]
        ids = result.logits[:, -1:].argmax(dim=-1).to(questions.device)
        written.append(ids)
        ended |= ids[:, 0] == end
    return torch.cat(written, dim=1)


def answers(tokenizer: PreTrainedTokenizerFast, outputs: Tensor) -> list[str]:
    """What follows the last `=` of each output's first line, without spaces; the whole line where there is none."""
    lines: Sequence[str] = [
        tokenizer.decode(row, skip_special_tokens=False).partition(END)[0].replace(" ", "")
        for row in outputs.tolist()
    ]
    return [line.rpartition("=")[2] for line in lines]
