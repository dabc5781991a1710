"""Training data: which problems a step reads is a pure function of seed and step, so resuming needs no state.

    P  text    N  token

Every epoch reads each text once, in an order of its own; a text is one problem, or several. A batch holds as many
texts as fit into the token budget when all are padded to the longest of the training set: for mixed lengths that
leaves part of the budget to padding, and in return every step has the same shape, except that an epoch's last one
takes the texts that are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arith_model.seeds import derive_seed
from arith_shared.errors import SpecError
from arith_trainer.branches import Branching
from arith_trainer.joined import Texts


@dataclass(frozen=True, slots=True)
class Batch:
    """Input tokens and, at each, the token to predict."""

    #: int64[P, N]
    ids: Tensor
    #: int64[P, N]; `NO_LOSS` where nothing is to be learnt.
    labels: Tensor
    #: int64[P, N] and bool[P, 1, N, N]: positions, and what each token sees; None = one after the other, causally.
    positions: Tensor | None = None
    sees: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        parts = (self.ids, self.labels, self.positions, self.sees)
        return Batch(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]


class Batches:
    """All batches of a training, by step."""

    def __init__(
        self, texts: Texts, *, batch_tokens: int, epochs: int, seed: int, branching: Branching | None = None
    ) -> None:
        """`branching` says where the branches of texts that have some begin.

        Raises SpecError when not even one text fits into `batch_tokens`.
        """
        # The last token of a text is read by nobody, but counts.
        self._texts, self._longest = len(texts.ids), int(texts.ids.shape[1]) + (branching is None)
        self._branching = branching
        self._per_step = batch_tokens // self._longest
        if not self._per_step:
            raise SpecError(
                f"lm.training.batch_tokens: expected at least one text of {self._longest} tokens, "
                f"found {batch_tokens}; raise it"
            )
        # Half the memory of int64, which only the batch at hand needs.
        self._ids = torch.from_numpy(texts.ids.astype(np.int32))
        self._labels = torch.from_numpy(texts.labels.astype(np.int32))
        self._seed = seed
        self._steps_per_epoch = math.ceil(self._texts / self._per_step)
        self.steps = epochs * self._steps_per_epoch
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __getitem__(self, step: int) -> Batch:
        """The batch of step number `step`; any step at any time."""
        epoch, place = divmod(step, self._steps_per_epoch)
        rows = self._epoch(epoch)[place * self._per_step :][: self._per_step]
        ids, labels = self._ids[rows].long(), self._labels[rows].long()
        if self._branching is None:
            return Batch(ids, labels)
        return Batch(ids, labels, *self._branching.geometry(rows.numpy()))

    def tokens(self, steps: int) -> int:
        """Tokens of the first `steps` steps, as `batch_tokens` counts them: padding and EOS included."""
        epochs, rest = divmod(steps, self._steps_per_epoch)
        return (epochs * self._texts + rest * self._per_step) * self._longest

    def _epoch(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = np.random.default_rng(derive_seed(self._seed, "order", epoch))
            self._order = (epoch, torch.from_numpy(generator.permutation(self._texts)))
        return self._order[1]
