"""Texts of several solved problems, one after the other, as an LM reads them behind demonstrations.

    P  problem    T  text    N  token

A text is `per_text` neighbouring problems, each with its end; problems that are left over are not used. The LM learns
from every problem of a text: from the first what an output looks like, from the later ones that it goes on so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arith_shared.errors import SpecError
from arith_shared.problems import Encoded

Integers = NDArray[np.int64]

#: A label that carries no loss, by PyTorch's convention.
NO_LOSS = -100


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Input tokens, and at each the one to predict: the last token of a text is read by nobody."""

    #: int64[T, N], right-padded.
    ids: Integers
    #: int64[T, N]; `NO_LOSS` where nothing is to be learnt.
    labels: Integers


def learnt_tokens(encoded: Encoded, *, whole_text: bool) -> NDArray[np.bool_]:
    """bool[P, N]: the tokens to learn: output and end, with `whole_text` the question too; padding never."""
    position = np.arange(encoded.ids.shape[1])
    first = 0 if whole_text else encoded.question_length[:, None]
    return (position >= first) & (position < encoded.length[:, None])


def join(encoded: Encoded, learnt: NDArray[np.bool_], per_text: int) -> Texts:
    """Put `per_text` problems into each text; `learnt`, bool[P, N], goes with its tokens."""
    count = len(encoded.ids) // per_text * per_text
    used = np.arange(encoded.ids.shape[1]) < encoded.length[:count, None]
    length = encoded.length[:count].reshape(-1, per_text).sum(axis=1)
    place = np.arange(length.max(initial=0)) < length[:, None]
    ids, labels = np.zeros(place.shape, np.int64), np.full(place.shape, NO_LOSS, np.int64)
    # Row by row both masks run through the same tokens in the same order.
    ids[place] = encoded.ids[:count][used]
    labels[place] = np.where(learnt, encoded.ids, NO_LOSS)[:count][used]
    return Texts(ids[:, :-1], labels[:, 1:])


def solved_texts(encoded: Encoded, *, whole_text: bool, problems_per_text: int = 1) -> Texts:
    """Texts to train on; `whole_text` puts loss on every token, else on output and end alone.

    Raises SpecError when there are fewer problems than one text needs.
    """
    if len(encoded.ids) < problems_per_text:
        raise SpecError(
            f"lm.training.problems: expected at least the {problems_per_text} of one text, found "
            f"{len(encoded.ids)}; raise it"
        )
    return join(encoded, learnt_tokens(encoded, whole_text=whole_text), problems_per_text)
