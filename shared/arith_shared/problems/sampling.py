"""Problems at random, each a pure function of (distribution, split, seed, index).

Problem i of a split is the first acceptable candidate of its own stream, so any worker can make any shard
and nothing is coordinated. A candidate is acceptable when every value lies in 0..max_number (unless values are
unrestricted) and the split owns its text.

- Without the first condition the operator alone predicts a value (r = 0.77 for two numbers), and the
  "at most about 0.7" that Kudo et al. 2024 report for a value nobody needs cannot be its floor.
- A problem keeps its layout over its candidates. A layout redrawn with the numbers would favour short
  layouts, which are rejected less often. (Only after 4,096 candidates in vain is another drawn: with few
  names and numbers, some layouts have no text in a small split.)
- Draws are independent: a split may hold the same text twice. n problems out of T equally likely texts hold
  about n*n/(2T) such pairs. For equation 1 and 25 names in `train`, T is 7e13 with 0..99 (no pair in a
  million problems) and 9e8 with 0..9 (22 pairs in 200,000); the general ``a=1; a=`` has 1,250 texts and
  repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from arith_shared.errors import SpecError
from arith_shared.problems.arithmetic import Program
from arith_shared.problems.candidates import WORDS, draw_layouts, draw_names, draw_numbers, draw_operators
from arith_shared.problems.counters import Words, advanced, stream, streams
from arith_shared.problems.distributions import Distribution
from arith_shared.problems.grammar import Layout
from arith_shared.problems.rendering import Shape
from arith_shared.problems.splits import SPLITS, Split, TextHash

Integers = NDArray[np.int64]

#: Candidates before a problem's layout is drawn again. At the lowest acceptance of the paper's settings
#: (0.8 %, `valid`) so many fail with probability 1e-14: the shares of layouts are exact for all purposes.
_LAYOUT_ATTEMPTS = 4096

#: Candidates before the distribution is declared impossible.
_MAX_ATTEMPTS = 25 * _LAYOUT_ATTEMPTS

#: Problems made together, and candidates evaluated together: the working set stays in the second-level cache.
_BLOCK = 4096
_ROUND = 16_384

#: Candidates of one problem in one round, at most: a single problem should not pay for a whole round.
_WIDTH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Problems:
    """Accepted problems in index order; what a layout has no slot or variable for is 0."""

    #: int64[problem]: the problem's place in its split.
    index: Integers
    #: int64[problem]: its layout, as an index into the distribution's.
    layout: Integers
    #: int64[problem, slot]
    numbers: Integers
    #: int64[problem, slot]: +1 or -1.
    operators: Integers
    #: int64[problem, variable]: 0 for ``a``.
    names: Integers
    #: int64[problem, variable]
    values: Integers
    #: int64[problem]: the value of the variable that is asked for.
    answer: Integers

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | Integers) -> Problems:
        return Problems(*(getattr(self, name)[rows] for name in _FIELDS))


_FIELDS = tuple(field.name for field in fields(Problems))


def sample(distribution: Distribution, split: Split, start: int, count: int, seed: int) -> Problems:
    """Problems `start` to `start + count` of a split; the same whatever range they are sampled in.

    Raises ValueError for an unknown split or a negative start or count, and SpecError where the
    distribution has hardly any text that the split owns.
    """
    if split not in SPLITS or start < 0 or count < 0:
        raise ValueError(
            f"cannot sample {count} problems from {start} on of split {split!r}: "
            f"start and count must be at least 0, the split one of {', '.join(SPLITS)}"
        )
    sampler = _sampler(distribution)
    key = stream(seed, SPLITS.index(split))
    end = start + count
    # One block at least, so that no problems have the right shape too.
    starts = range(start, end, _BLOCK) or [start]
    blocks = [sampler.block(split, key, np.arange(first, min(first + _BLOCK, end))) for first in starts]
    return joined(blocks)


def joined(blocks: Sequence[Problems]) -> Problems:
    """Blocks of problems one after the other, at least one."""
    return Problems(*(np.concatenate([getattr(block, name) for block in blocks]) for name in _FIELDS))


@lru_cache(maxsize=8)
def _sampler(distribution: Distribution) -> _Sampler:
    layouts, shape = distribution.layouts, Shape.of(distribution.layouts)
    return _Sampler(
        distribution,
        shape,
        Program.of(layouts, shape),
        TextHash.of(layouts, shape),
        cumulative=np.cumsum(distribution.weights),
        question=np.array([layout.question for layout in layouts]),
        used=np.array([_used(layout, shape) for layout in layouts]).T,
    )


def _used(layout: Layout, shape: Shape) -> list[bool]:
    """Which of all fields (numbers, operators, names, values) the layout has."""
    own = Shape.of([layout])
    sizes = (
        (own.numbers, shape.numbers),
        (own.operators, shape.operators),
        *[(own.variables, shape.variables)] * 2,
    )
    return [slot < present for present, most in sizes for slot in range(most)]


@dataclass(frozen=True, slots=True, eq=False)
class _Sampler:
    """A distribution and its lookup tables."""

    distribution: Distribution
    shape: Shape
    program: Program
    text_hash: TextHash
    #: float64[layout]
    cumulative: NDArray[np.float64]
    #: intp[layout]: the variable that is asked for.
    question: NDArray[np.intp]
    #: bool[field, layout]: which slots and variables the layout has.
    used: NDArray[np.bool_]

    def block(self, split: Split, key: Words, index: Integers) -> Problems:
        """Problems `index`, int64[problem], of the stream `key`."""
        drawn = np.zeros(
            (self.shape.numbers + self.shape.operators + 2 * self.shape.variables, len(index)), np.int64
        )
        layout = np.zeros(len(index), dtype=np.intp)
        keys = streams(key, index.astype(np.uint64))
        pending, attempt = np.arange(len(index)), 0
        while pending.size:
            if attempt % _LAYOUT_ATTEMPTS == 0:
                self._check(split, attempt)
                layout[pending] = draw_layouts(keys[pending], attempt, self.cumulative)
            width = min(max(_ROUND // pending.size, 1), _WIDTH, _LAYOUT_ATTEMPTS - attempt % _LAYOUT_ATTEMPTS)
            done, candidates = self._round(split, keys[pending], layout[pending], attempt, width)
            drawn[:, pending[done]] = candidates
            pending = np.delete(pending, done)
            attempt += width
        return self._problems(index, layout, drawn)

    def _round(
        self, split: Split, keys: Words, layout: NDArray[np.intp], attempt: int, width: int
    ) -> tuple[NDArray[np.intp], Integers]:
        """Try candidates `attempt` to `attempt + width` of every problem.

        Returns the problems that have an acceptable one, and the first such of each as int64[field, problem]:
        numbers, operators, names, values.
        """
        counters = np.arange(attempt, attempt + width, dtype=np.uint64) * np.uint64(WORDS)
        candidates = advanced(keys[:, None], counters).ravel()
        top = self.distribution.max_number
        numbers = draw_numbers(candidates, self.shape.numbers, top + 1)
        operators = draw_operators(candidates, self.shape.operators)
        values = self.program.values(self._tables(layout.repeat(width)), numbers, operators)
        # Only what survives the range is worth names and a hash.
        low, high = self.distribution.value_range
        kept = np.flatnonzero(((values >= low) & (values <= high)).all(axis=0))
        drawn = (
            numbers[:, kept],
            operators[:, kept],
            draw_names(candidates[kept], self.shape.variables, self.distribution.names),
        )
        row = kept // width
        accepted = np.flatnonzero(self.text_hash.owned(split, self._tables(layout[row]), *drawn))
        done, first = np.unique(row[accepted], return_index=True)
        chosen = accepted[first]
        return done, np.concatenate([field[:, chosen] for field in (*drawn, values[:, kept])])

    def _tables(self, layout: NDArray[np.intp]) -> NDArray[np.intp]:
        """Index into per-layout tables: with a single layout one entry is broadcast, which is much faster."""
        return layout if len(self.distribution.layouts) > 1 else np.zeros(1, dtype=np.intp)

    def _check(self, split: Split, attempt: int) -> None:
        if attempt >= _MAX_ATTEMPTS:
            raise SpecError(
                f"no problem for split {split!r} in {attempt} candidates with numbers 0 to "
                f"{self.distribution.max_number} and {self.distribution.names} names: hardly any text "
                "belongs to this split; raise max_number or names"
            )

    def _problems(self, index: Integers, layout: NDArray[np.intp], drawn: Integers) -> Problems:
        shape = self.shape
        counts = np.cumsum([shape.numbers, shape.operators, shape.variables])
        used = self.used[:, layout]
        numbers, operators, names, values = np.split((drawn * used).T, counts, axis=1)
        question = self.question[layout]
        answer = np.take_along_axis(values, question[:, None], axis=1)[:, 0]
        return Problems(index, layout, numbers, operators, names, values, answer)
