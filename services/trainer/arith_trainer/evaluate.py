"""Exact-match accuracy: the share of problems whose whole output greedy decoding would produce."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from arith_shared.problems import Encoded
from arith_trainer.joined import NO_LOSS, join, learnt_tokens

#: Tokens per evaluation batch: small enough for any device that can train at all.
_BATCH_TOKENS = 32_768


@torch.no_grad()
def accuracy(model: nn.Module, encoded: Encoded, device: torch.device, problems_per_text: int = 1) -> float:
    """Teacher-forced: at every output token and at EOS the most likely token must be the gold one.

    That is the case exactly if greedy decoding from the question produces the gold output. Of a text of several
    problems the last one counts; those before it are its demonstrations. Dropout is off meanwhile, and nothing is
    rounded to a lower precision.
    """
    asked = learnt_tokens(encoded, whole_text=False)
    asked[np.arange(len(asked)) % problems_per_text != problems_per_text - 1] = False
    texts = join(encoded, asked, problems_per_text)
    ids, labels = torch.from_numpy(texts.ids), torch.from_numpy(texts.labels)
    rows = max(1, _BATCH_TOKENS // ids.shape[1])
    was_training = model.training
    model.eval()
    solved = 0
    for start in range(0, len(ids), rows):
        batch = slice(start, start + rows)
        solved += _solved(model, ids[batch].to(device), labels[batch].to(device))
    model.train(was_training)
    return solved / len(ids)


def _solved(model: nn.Module, ids: Tensor, labels: Tensor) -> int:
    predicted = model(input_ids=ids, use_cache=False).logits.argmax(dim=-1)
    right = (predicted == labels) | (labels == NO_LOSS)
    return int(right.all(dim=1).sum())
