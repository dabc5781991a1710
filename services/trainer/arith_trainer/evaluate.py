"""Exact-match accuracy: the share of problems whose whole output greedy decoding would produce."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from arith_shared.problems import Encoded
from arith_trainer.batches import NO_LOSS, Batches

#: Tokens per evaluation batch: small enough for any device that can train at all.
_BATCH_TOKENS = 32_768


@torch.no_grad()
def accuracy(model: nn.Module, encoded: Encoded, device: torch.device) -> float:
    """Teacher-forced: at every output token and at EOS the most likely token must be the gold one.

    That is the case exactly if greedy decoding from the question produces the gold output.
    """
    was_training = model.training
    model.eval()
    budget = max(_BATCH_TOKENS, encoded.ids.shape[1])
    batches = Batches(encoded, batch_tokens=budget, epochs=1, seed=0, whole_text=False)
    solved = []
    for step in range(batches.steps):
        batch = batches[step].to(device)
        predicted = model(input_ids=batch.ids_PN, use_cache=False).logits.argmax(dim=-1)
        right = (predicted == batch.labels_PN) | (batch.labels_PN == NO_LOSS)
        solved.append(right.all(dim=1).cpu().numpy())
    model.train(was_training)
    return float(np.concatenate(solved).mean())
