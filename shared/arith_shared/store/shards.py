"""Shards of hidden states: Parquet files of which a probe reads exactly its own bytes.

A shard is a folder: `problems.parquet` (every problem tried) and one `layer=LL.parquet` per layer with one
row per kept problem and one column per position (`t00`, `t01`, ...), each cell the 2 x width bytes of one
hidden state, little-endian. Fixed-size binary is written and read without a pass over the numbers: as lists
of floats the same file costs 4 to 12 times the CPU time. There is no dictionary, no statistics and no
compression: the low bits of hidden states are noise, and bytes are read faster than they are decompressed.
Each page has a checksum, so that no probe is ever fitted on a flipped bit. Row groups have as many problems as
make `COLUMN_BYTES` of a column, so that a shard is written while it grows, in memory that does not grow with it;
how many those are depends on the width alone, so equal states make equal files whatever the batches were. The
cost: other programs see bytes, and turn them into numbers with the three lines of docs/states.md. The
schema metadata of every file names dtype, width, layers, position labels, variables and the LM's digest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arith_shared.errors import ArtifactError
from arith_shared.store.halves import Half

#: Key of the schema metadata under which a file describes itself.
_HEADER = b"arith.shard"
#: Least bytes of one column in a row group but the last: its header and its place in the footer take 0.05 % of it.
COLUMN_BYTES = 2**18


def group_rows(width: int) -> int:
    """Problems of a row group, for hidden states of `width` features."""
    return math.ceil(COLUMN_BYTES / (2 * width))


@dataclass(frozen=True, slots=True)
class ProblemTable:
    """Every problem of a shard that was tried, in index order."""

    #: int64[problem]: place in the split, strictly increasing.
    index: NDArray[np.int64]
    #: bool[problem]: greedy decoding gives exactly the gold text.
    solved: NDArray[np.bool_]
    #: bool[problem]: the hidden states are in the shard.
    kept: NDArray[np.bool_]
    #: int64[problem, variable]: the value of each variable.
    values: NDArray[np.int64]
    #: Question and gold output, as text.
    text: list[str]

    def __post_init__(self) -> None:
        sizes = {len(self.index), len(self.solved), len(self.kept), len(self.values), len(self.text)}
        if len(sizes) != 1 or not len(self.index):
            raise ValueError(
                f"a problem table needs columns of one length, at least 1; found {sorted(sizes)}"
            )
        if (np.diff(self.index) <= 0).any():
            raise ValueError("a problem table must be in index order, without repetition")


@dataclass(frozen=True, slots=True)
class Header:
    """What all files of a shard agree on, and all shards that are read together."""

    model: str
    dtype: Half
    width: int
    layers: list[int]
    labels: list[str]
    variables: list[str]
    #: The position of each column, where not all were written; None: column 0 is position 0, and so on.
    positions: list[int] | None = None

    def columns(self) -> dict[int, str]:
        """The name of each position's column."""
        positions = range(len(self.labels)) if self.positions is None else self.positions
        digits = max(2, len(str(max(positions, default=0))))
        return {position: f"t{position:0{digits}d}" for position in positions}

    def metadata(self, extra: Mapping[str, str]) -> dict[bytes, bytes]:
        """The schema metadata of a file with this header and more, in the form that pyarrow wants."""
        facts = {name: value for name, value in asdict(self).items() if value is not None}
        own = {_HEADER: json.dumps(facts).encode()}
        return {name.encode(): text.encode() for name, text in extra.items()} | own


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard on disk: its problems are in memory, its hidden states are read column by column."""

    folder: Path
    header: Header
    table: ProblemTable
    #: The layer file read last and its layer: with many of its columns to read, each costs its own bytes alone.
    _open: dict[int, pq.ParquetFile] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path) -> Shard:
        """Read header and problems. Raises ArtifactError when they are missing or damaged."""
        path = folder / "problems.parquet"
        with _told_of(path), _parquet(path) as file:
            header = Header(**json.loads(file.schema_arrow.metadata[_HEADER]))
            columns = file.read()
        values = [columns[name].to_numpy() for name in header.variables]
        index, solved, kept = (columns[name].to_numpy() for name in ("index", "solved", "kept"))
        table = ProblemTable(index, solved, kept, np.stack(values, axis=1), columns["text"].to_pylist())
        return cls(folder, header, table)

    @property
    def rows(self) -> int:
        """Kept problems."""
        return int(self.table.kept.sum())

    def check_follows(self, before: Shard) -> None:
        """Raise ArtifactError unless this shard may be read after `before`: same header, later problems."""
        mine, theirs = asdict(self.header), asdict(before.header)
        for name, expected in theirs.items():
            if mine[name] != expected:
                raise ArtifactError(
                    f"shard {self.folder}: expected {name} {expected} (shard {before.folder}), "
                    f"found {mine[name]}; extract again"
                )
        first, last = int(self.table.index[0]), int(before.table.index[-1])
        if first <= last:
            raise ArtifactError(
                f"shard {self.folder}: expected problems after {last} (shard {before.folder}), "
                f"found {first}; give each range of problems once"
            )

    def column(self, layer: int, position: int, rows: int) -> Iterator[NDArray[np.uint16]]:
        """The first `rows` hidden states of one column, as uint16[row, width] per row group: their bits.

        Raises ArtifactError when the file is damaged.
        """
        path, width = _layer_file(self.folder, layer), self.header.width
        name = self.header.columns()[position]
        with _told_of(path):
            file = self._layer(layer, path)
            for group in range(file.num_row_groups):
                if rows <= 0:
                    return
                cells = file.read_row_group(group, columns=[name], use_threads=False).column(0)
                for chunk in cells.chunks:
                    count = min(len(chunk), rows)
                    # A chunk may begin within its buffer.
                    begin = chunk.offset * 2 * width
                    bits = np.frombuffer(chunk.buffers()[1], "<u2", count=count * width, offset=begin)
                    yield bits.reshape(-1, width)
                    rows -= count

    def _layer(self, layer: int, path: Path) -> pq.ParquetFile:
        """The file of a layer, opened once while its columns are read."""
        if layer not in self._open:
            for file in self._open.values():
                file.close(force=True)
            self._open.clear()
            file = _parquet(path)
            if file.metadata.num_rows != self.rows:
                file.close(force=True)
                raise ArtifactError(
                    f"{path}: expected {self.rows} rows, found {file.metadata.num_rows}; extract again"
                )
            self._open[layer] = file
        return self._open[layer]


class ShardFiles:
    """The files of a shard that is being written to `folder`, which must exist.

    `extra` goes to the schema metadata beside the header. After an error the files are not whole: close, and throw
    the folder away.
    """

    def __init__(self, folder: Path, header: Header, extra: Mapping[str, str]) -> None:
        self._folder, self._header, self._extra = folder, header, dict(extra)
        self._cell = pa.binary(2 * header.width)
        self._layers: list[tuple[pa.Schema, pq.ParquetWriter]] = []
        try:
            for layer in header.layers:
                self._layers.append(self._begin(layer))
        except BaseException:
            self.close()
            raise

    def append(self, bits: Sequence[NDArray[np.uint16]]) -> None:
        """Write a row group to each layer's file.

        `bits` has uint16[position, row, width] for each layer of the header; each position of it must be
        contiguous, so that nothing is copied.
        """
        for (schema, writer), rows in zip(self._layers, bits, strict=True):
            count = rows.shape[1]
            columns = [
                pa.FixedSizeBinaryArray.from_buffers(self._cell, count, [None, pa.py_buffer(position)])
                for position in rows
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=count)

    def finish(self, problems: ProblemTable) -> None:
        """Write the problems, and the end of each file."""
        variables = dict(zip(self._header.variables, problems.values.T, strict=True))
        flags: dict[str, Any] = {"index": problems.index, "solved": problems.solved, "kept": problems.kept}
        table = pa.table(flags | variables | {"text": problems.text})
        pq.write_table(
            table.replace_schema_metadata(self._header.metadata(self._extra)),
            self._folder / "problems.parquet",
            write_page_checksum=True,
        )
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        while self._layers:
            self._layers.pop()[1].close()

    def _begin(self, layer: int) -> tuple[pa.Schema, pq.ParquetWriter]:
        metadata = self._header.metadata({**self._extra, "layer": str(layer)})
        fields = [pa.field(name, self._cell, nullable=False) for name in self._header.columns().values()]
        schema = pa.schema(fields, metadata)
        writer = pq.ParquetWriter(
            _layer_file(self._folder, layer),
            schema,
            use_dictionary=False,
            write_statistics=False,
            compression="none",
            write_page_checksum=True,
        )
        return schema, writer


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Turn what pyarrow says of a missing or damaged file into ArtifactError."""
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ArtifactError(
            f"{path}: expected a file of a shard of hidden states, found {error}; extract again"
        ) from error


def _parquet(path: Path) -> pq.ParquetFile:
    # Reading ahead in threads costs more than it gains where one column is wanted.
    return pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)


def _layer_file(folder: Path, layer: int) -> Path:
    return folder / f"layer={layer:02d}.parquet"
