"""Hidden states in and out of memory: a writer of one shard, a reader over many.

`ShardWriter` keeps a row group as it will lie on disk, so that writing copies nothing. `StateReader` gives
one matrix per (layer, position) and reads nothing else; which problems it gives depends on their indices
only, never on how they were cut into shards or which worker was first. The files themselves: `shards.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arith_shared.errors import ArtifactError, HalfPrecisionError, UserError
from arith_shared.store.halves import Half, decode_half, encode_half, first_misfit, fits
from arith_shared.store.shards import Header, ProblemTable, Shard, ShardFiles, group_rows

__all__ = ["ProblemTable", "ShardWriter", "StateReader"]


class ShardWriter:
    """Context manager; writes hidden states as one shard, row group by row group.

    Memory: 2 bytes x layers x positions x problems of a row group x width, committed by the system only as it fills.
    A block that ends without `finish` leaves files that nobody can read.
    """

    def __init__(
        self,
        folder: Path,
        layers: Sequence[int],
        labels: Sequence[str],
        width: int,
        dtype: Half,
        variables: Sequence[str],
        meta: Mapping[str, str],
        positions: Sequence[int] | None = None,
    ) -> None:
        """Write to `folder`, which must exist.

        `labels` has one entry per column; `positions` says which positions they are, where not all. `meta`, with
        the LM's digest as "model", goes to the schema metadata.
        """
        chosen = None if positions is None else list(positions)
        extra = dict(meta)
        self._header = Header(
            extra.pop("model"), dtype, width, list(layers), list(labels), list(variables), chosen
        )
        self._room = group_rows(width)
        self._bits = [np.empty((len(labels), self._room, width), np.uint16) for _ in layers]
        self._waiting = self._rows = 0
        self._files = ShardFiles(folder, self._header, extra)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, states: NDArray[np.float32]) -> None:
        """Append float32[layer, problem, position, width], the states of kept problems in index order.

        Raises HalfPrecisionError when a value is not finite or does not fit, and ValueError for a wrong shape.
        """
        self._expect(states, np.float32)
        self.check(states)
        bits = np.empty(states.shape, np.uint16)
        for layer, values in zip(bits, states, strict=True):
            encode_half(values, self._header.dtype, out=layer)
        self.add_bits(bits)

    def add_bits(self, states: NDArray[np.uint16]) -> None:
        """As `add`, for states that were found to fit and rounded elsewhere: their bits."""
        self._expect(states, np.uint16)
        start, count = 0, states.shape[1]
        while start < count:
            taken = min(count - start, self._room - self._waiting)
            place = slice(self._waiting, self._waiting + taken)
            for bits, values in zip(self._bits, states, strict=True):
                bits[:, place] = values[start : start + taken].swapaxes(0, 1)
            self._waiting += taken
            start += taken
            if self._waiting == self._room:
                self._write_group()

    def check(self, states: NDArray[np.float32]) -> None:
        """Raise HalfPrecisionError, saying where, when a value of `add`'s states is not finite or does not fit."""
        for layer, values in zip(self._header.layers, states, strict=True):
            if not fits(values, self._header.dtype):
                raise self._misfit(layer, values)

    def finish(self, problems: ProblemTable) -> None:
        """Write what is left, and the problems.

        Raises ValueError when the table keeps another number of problems than were added.
        """
        kept, added = int(problems.kept.sum()), self._rows + self._waiting
        if kept != added:
            raise ValueError(f"the table keeps {kept} problems; {added} were added")
        if self._waiting:
            self._write_group()
        self._files.finish(problems)

    def _write_group(self) -> None:
        self._files.append([bits[:, : self._waiting] for bits in self._bits])
        self._rows += self._waiting
        self._waiting = 0

    def _expect(self, states: NDArray[Any], dtype: type[np.generic]) -> None:
        """Raise ValueError unless the states have the right shape and dtype."""
        header = self._header
        expected = (len(header.layers), states.shape[1], len(header.labels), header.width)
        if states.shape != expected or states.dtype != dtype:
            raise ValueError(
                f"expected {dtype.__name__}{list(expected)}, found {states.dtype}{list(states.shape)}"
            )

    def _misfit(self, layer: int, values: NDArray[np.float32]) -> HalfPrecisionError:
        place = first_misfit(values, self._header.dtype)
        found, token = values[place], self._header.labels[place[1]]
        position = list(self._header.columns())[place[1]]
        remedy = (
            "set extract.dtype=bfloat16"
            if np.isfinite(found)
            else "check the LM's weights and extract.precision"
        )
        return HalfPrecisionError(
            f"layer {layer}, position {position} ({token}): expected a hidden state within "
            f"{self._header.dtype}, found {found:g}; {remedy}"
        )


class StateReader:
    """The first `limit` kept problems, in index order, over shards given in any order."""

    def __init__(self, shards: Sequence[Path], limit: int) -> None:
        """Read the problems and headers of all `shards`; hidden states are read when asked for.

        Raises ArtifactError when a shard is damaged, or does not fit the others: another LM, layout of
        columns or dtype, or an overlapping range of problems.
        """
        if not shards:
            raise ArtifactError("expected at least one shard of hidden states, found none; extract first")
        opened = sorted(
            (Shard.open(folder) for folder in shards), key=lambda shard: int(shard.table.index[0])
        )
        for before, shard in itertools.pairwise(opened):
            shard.check_follows(before)
        self._header = opened[0].header
        self._shards: list[tuple[Shard, int]] = []
        for shard in opened:
            self._shards.append((shard, min(limit, shard.rows)))
            limit -= self._shards[-1][1]

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that were written; 0 is the embedding output."""
        return tuple(self._header.layers)

    @property
    def labels(self) -> tuple[str, ...]:
        """Generic label of each column, as in `A=1+B`."""
        return tuple(self._header.labels)

    def label(self, position: int) -> str:
        """Generic label of a position. Raises UserError when it was not extracted."""
        return self._header.labels[_place(list(self._header.columns()), position, "position")]

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables by role."""
        return tuple(self._header.variables)

    @property
    def width(self) -> int:
        """Features of a hidden state."""
        return self._header.width

    @property
    def n(self) -> int:
        """Problems at hand: `limit`, or fewer when the shards keep fewer."""
        return sum(take for _, take in self._shards)

    @property
    def indices(self) -> NDArray[np.int64]:
        """int64[problem]: place of each problem in its split, increasing."""
        return np.concatenate([shard.table.index[shard.table.kept][:take] for shard, take in self._shards])

    def values(self, variable: str) -> NDArray[np.float64]:
        """float64[problem]: the value of `variable`, named by role. Raises UserError for an unknown one."""
        column = _place(self._header.variables, variable, "variable")
        return np.concatenate(
            [shard.table.values[shard.table.kept, column][:take] for shard, take in self._shards]
        ).astype(np.float64)

    def matrix(self, layer: int, position: int) -> NDArray[np.float32]:
        """float32[problem, width]: the hidden states at one cell; reads only that column of each shard.

        Raises UserError when the layer or position was not extracted, ArtifactError when a file is damaged.
        """
        _place(self._header.layers, layer, "layer")
        _place(list(self._header.columns()), position, "position")
        result = np.empty((self.n, self.width), np.float32)
        start = 0
        for shard, take in self._shards:
            if take:
                for bits in shard.column(layer, position, take):
                    decode_half(bits, self._header.dtype, out=result[start : start + len(bits)])
                    start += len(bits)
        return result


def _place(known: Sequence[Any], wanted: Any, what: str) -> int:
    if wanted not in known:
        raise UserError(
            f"{what} {wanted} is not in the shards; valid are {', '.join(str(item) for item in known)}"
        )
    return known.index(wanted)
