"""Training data: which problems a step reads is a pure function of seed and step, so resuming needs no state.

    P  problem    N  token

Every epoch reads each problem once, in an order of its own. A batch holds as many problems as fit into the
token budget when all are padded to the longest text of the training set: for mixed lengths that leaves part
of the budget to padding, and in return every step has the same shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_shared.problems import Encoded

#: A label that carries no loss, by PyTorch's convention.
NO_LOSS = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """Input tokens and, at each, the token to predict."""

    ids_PN: Tensor
    #: int64; `NO_LOSS` where nothing is to be learnt.
    labels_PN: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(self.ids_PN.to(device), self.labels_PN.to(device))


class Batches:
    """All batches of a training, by step."""

    def __init__(
        self, encoded: Encoded, *, batch_tokens: int, epochs: int, seed: int, whole_text: bool
    ) -> None:
        """`whole_text` puts loss on every token, else on output and EOS alone.

        Raises ValueError when not even one text fits into `batch_tokens`.
        """
        longest = int(encoded.length.max())
        self.problems_per_step = batch_tokens // longest
        if not self.problems_per_step:
            raise ValueError(
                f"batch_tokens {batch_tokens} is less than one text of {longest} tokens; raise it"
            )
        self._ids, self._labels = encoded.ids.astype(np.int32), _labels(encoded, whole_text)
        self._seed = seed
        self.steps_per_epoch = math.ceil(len(self._ids) / self.problems_per_step)
        self.steps = epochs * self.steps_per_epoch
        self.tokens_per_step = self.problems_per_step * longest
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __getitem__(self, step: int) -> Batch:
        """The batch of step number `step`; any step at any time."""
        epoch, place = divmod(step, self.steps_per_epoch)
        first = place * self.problems_per_step
        rows = self._epoch(epoch)[first : first + self.problems_per_step]
        ids = torch.from_numpy(self._ids[rows, :-1].astype(np.int64))
        return Batch(ids, torch.from_numpy(self._labels[rows].astype(np.int64)))

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            generator = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
            self._order = (epoch, generator.permutation(len(self._ids)))
        return self._order[1]


def _labels(encoded: Encoded, whole_text: bool) -> NDArray[np.int32]:
    """int32[P, N]: the next token where it is to be learnt (padding never is)."""
    position = np.arange(1, encoded.ids.shape[1])
    first = 1 if whole_text else encoded.question_length[:, None]
    learnt = (position >= first) & (position < encoded.length[:, None])
    return np.where(learnt, encoded.ids[:, 1:], NO_LOSS).astype(np.int32)
