"""Splits that cannot overlap: a text's hash decides to which split it may belong.

The hash sees the text of definition and question, token by token, and nothing else: neither seed nor layout
nor range. So no text is in two splits, whatever the seeds, the number of workers, or the distributions; a
general training text that happens to read like an evaluation text can never be in `train`. The cost:
candidates of other splits are thrown away, half of them for `train`, fifteen of sixteen for `valid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.counters import Words, mix, stream, word
from arith_shared.problems.grammar import Layout, question_tokens
from arith_shared.problems.rendering import Shape, columns, plan
from arith_shared.problems.vocabulary import SIGNS, Vocabulary

Integers = NDArray[np.int64]

#: LM training, LM validation, evaluation of LM and probes, fitting of probes, few-shot pool.
Split = Literal["train", "valid", "test", "probe", "demos"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: The first residue of the text hash that a split owns, and the first that it no longer owns; 16 in all.
_RESIDUES: dict[Split, tuple[int, int]] = {
    "train": (0, 8),
    "valid": (8, 9),
    "test": (9, 11),
    "probe": (11, 15),
    "demos": (15, 16),
}

#: The residue is the hash's top four bits.
_RESIDUE_SHIFT = np.uint64(60)


def share(split: Split) -> float:
    """The share of texts that `split` owns."""
    first, end = _RESIDUES[split]
    return (end - first) / 16


#: Ids as if every name and number were in use: a text's hash must not depend on the range of its run.
_CODES = Vocabulary(max_number=999, names=26)


@dataclass(frozen=True, slots=True, eq=False)
class TextHash:
    """The hash of a text: the sum over positions of a token's id times the position's random word, finalised.

    What a layout prints whatever the numbers, signs and names is added up beforehand, and so are the words of
    all positions that show the same slot. Padding has id 0 and leaves no trace.
    """

    #: uint64[layout]: the sum for numbers 0, operators + and names a.
    blank: Words
    #: uint64[field, layout]: what numbers, operators and names add to it.
    weights: Words

    @classmethod
    def of(cls, layouts: Sequence[Layout], shape: Shape) -> TextHash:
        """Prepare the hash of all `layouts`."""
        zeros = np.zeros((shape.numbers + shape.operators + shape.variables, 1), dtype=np.int64)
        numbers, operators, names = np.split(zeros, np.cumsum([shape.numbers, shape.operators]))
        ids = columns(numbers, operators, names, names, _CODES).astype(np.uint64)
        weights = np.zeros((len(ids), len(layouts)), dtype=np.uint64)
        # However a text is written, with commas or question marks, the problem stays in its split.
        plain = [replace(layout, separator=";", question_end="=") for layout in layouts]
        texts = plan([question_tokens(layout) for layout in plain], shape)
        for position, chosen in enumerate(texts.T):
            weights[chosen, np.arange(len(layouts))] += word(stream(0), position)
        return cls((ids * weights).sum(axis=0), weights[len(SIGNS) :][: len(zeros)])

    def owned(
        self, split: Split, layout: NDArray[np.intp], numbers: Integers, operators: Integers, names: Integers
    ) -> NDArray[np.bool_]:
        """bool[problem]: whether `split` owns the texts.

        `layout` is intp[problem], or intp[1] for all problems; the rest is int64[slot or variable, problem].
        """
        fields = np.concatenate((numbers, operators < 0, names)).astype(np.uint64)
        hashes = mix((fields * self.weights[:, layout]).sum(axis=0) + self.blank[layout])
        first, end = _RESIDUES[split]
        residues = hashes >> _RESIDUE_SHIFT
        owns: NDArray[np.bool_] = (residues >= first) & (residues < end)
        return owns
