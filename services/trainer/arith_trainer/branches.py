"""Several questions about one definition, in one row: the definition is read once, each question is a branch of it.

    P  definition    D  token of a definition    B  branch    T  token of a branch    N = D + B * T

A branch sees the definition and itself, at the positions that it would have in a text of its own. So its predictions,
and their gradients, are those of that text (Cai et al. 2024 and others attend to trees of continuations so), at the
price of its own few tokens. Padding between definition and branches is seen by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_shared.problems import Encoded
from arith_trainer.joined import NO_LOSS, Texts, learnt_tokens


@dataclass(frozen=True, slots=True, eq=False)
class Branching:
    """Where the branches of each row begin."""

    #: int64[P]: tokens of the definition, its separator included.
    definition: NDArray[np.int64]
    #: D, B and T.
    width: int
    branches: int
    tokens: int

    def geometry(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Positions, int64[P, N], and what each token sees, bool[P, 1, N, N], of the definitions `rows`."""
        length = torch.from_numpy(self.definition[rows])
        place = torch.arange(self.width + self.branches * self.tokens)
        branch = torch.where(place < self.width, -1, (place - self.width) // self.tokens)
        step = torch.where(branch < 0, place, (place - self.width) % self.tokens)
        positions = step + length[:, None] * (branch >= 0)
        same = (branch[:, None] == branch) & (step[:, None] >= step)
        stem = (branch[:, None] >= 0) & (branch == -1)
        return positions, (same | stem & (place < length[:, None])[:, None, :])[:, None]


def branch(
    asked: Sequence[Encoded], there: NDArray[np.bool_], question_tokens: int
) -> tuple[Texts, Branching]:
    """Rows of a definition and its questions; the last `question_tokens` of a question are its branch's own.

    Loss is on output and end of the branches that are `there`, bool[B, P]. A definition shorter than the longest of
    all is followed by its padding; positions of padding stay below the longest text's.
    """
    first = asked[0]
    definition = first.question_length - question_tokens
    width = int(definition.max(initial=0))
    tokens = max(int((each.length - definition).max(initial=1)) for each in asked) - 1
    ids, labels = np.zeros((2, len(definition), width + len(asked) * tokens), np.int64)
    labels += NO_LOSS
    stem = np.arange(width)
    ids[:, :width] = np.where(stem < definition[:, None], first.ids[:, :width], 0)
    for number, each in enumerate(asked):
        own = slice(width + number * tokens, width + (number + 1) * tokens)
        learnt = learnt_tokens(each, whole_text=False) & there[number][:, None]
        wanted = np.pad(
            np.where(learnt, each.ids, NO_LOSS), ((0, 0), (0, tokens + 1)), constant_values=NO_LOSS
        )
        read = np.pad(each.ids, ((0, 0), (0, tokens + 1)))
        place = definition[:, None] + np.arange(tokens)
        ids[:, own] = np.take_along_axis(read, place, axis=1)
        labels[:, own] = np.take_along_axis(wanted, place + 1, axis=1)
    return Texts(ids, labels), Branching(definition, width, len(asked), tokens)
