"""Shards of hidden states: Parquet files of which a probe reads exactly its own bytes.

A shard is a folder: `problems.parquet` (every problem tried) and one `layer=LL.parquet` per layer with one
row per kept problem and one column per position (`t00`, `t01`, ...), each cell the 2 x width bytes of one
hidden state, little-endian. Fixed-size binary is written and read without a pass over the numbers: as lists
of floats the same file costs 4 to 12 times the CPU time. There is one row group, without dictionary,
statistics or compression: the low bits of hidden states are noise, and bytes are read faster than they are
decompressed. Each page has a checksum, so that no probe is ever fitted on a flipped bit. The cost: other
programs see bytes, and turn them into numbers with the three lines of docs/states.md. The
schema metadata of every file names dtype, width, layers, position labels, variables and the LM's digest.
"""

from __future__ import annotations

import json
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
    #: Footers of the layer files read so far: with many columns of one file to read, each costs its own bytes alone.
    _footers: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path) -> Shard:
        """Read header and problems. Raises ArtifactError when they are missing or damaged."""
        with _reading(folder / "problems.parquet") as file:
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

    def column(self, layer: int, position: int) -> NDArray[np.uint16]:
        """uint16[row, width]: the bits of one column. Raises ArtifactError when the file is damaged."""
        path, width = _layer_file(self.folder, layer), self.header.width
        with _reading(path, self._footers.get(layer)) as file:
            self._footers[layer] = file.metadata
            if file.metadata.num_rows != self.rows:
                raise ArtifactError(
                    f"{path}: expected {self.rows} rows, found {file.metadata.num_rows}; extract again"
                )
            name = self.header.columns()[position]
            cells = file.read(columns=[name], use_threads=False).column(0).combine_chunks()
        return np.frombuffer(cells.buffers()[1], "<u2", count=self.rows * width).reshape(-1, width)


def write_shard(
    folder: Path,
    header: Header,
    problems: ProblemTable,
    bits: Sequence[NDArray[np.uint16]],
    extra: Mapping[str, str],
) -> None:
    """Write a shard to `folder`.

    `bits` has uint16[position, row, width] for each layer of the header; each position of it must be
    contiguous, so that nothing is copied. `extra` goes to the schema metadata beside the header.
    """
    _write_problems(folder / "problems.parquet", problems, header, header.metadata(extra))
    for layer, rows in zip(header.layers, bits, strict=True):
        _write_layer(
            _layer_file(folder, layer), rows, header, header.metadata({**extra, "layer": str(layer)})
        )


@contextmanager
def _reading(path: Path, footer: Any = None) -> Iterator[Any]:
    """Open a Parquet file, by its `footer` if that was read before.

    Turns what pyarrow says of a missing or damaged file into ArtifactError.
    """
    try:
        # Reading ahead in threads costs more than it gains where one column is wanted.
        with pq.ParquetFile(path, metadata=footer, pre_buffer=False, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ArtifactError(
            f"{path}: expected a file of a shard of hidden states, found {error}; extract again"
        ) from error


def _layer_file(folder: Path, layer: int) -> Path:
    return folder / f"layer={layer:02d}.parquet"


def _write_layer(
    path: Path, bits: NDArray[np.uint16], header: Header, metadata: Mapping[bytes, bytes]
) -> None:
    rows, cell = bits.shape[1], pa.binary(2 * header.width)
    fields = [pa.field(name, cell, nullable=False) for name in header.columns().values()]
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(cell, rows, [None, pa.py_buffer(position)]) for position in bits
    ]
    pq.write_table(
        pa.table(columns, schema=pa.schema(fields, metadata)),
        path,
        use_dictionary=False,
        write_statistics=False,
        compression="none",
        row_group_size=max(1, rows),
        write_page_checksum=True,
    )


def _write_problems(
    path: Path, problems: ProblemTable, header: Header, metadata: Mapping[bytes, bytes]
) -> None:
    variables = dict(zip(header.variables, problems.values.T, strict=True))
    columns: dict[str, Any] = {"index": problems.index, "solved": problems.solved, "kept": problems.kept}
    table = pa.table(columns | variables | {"text": problems.text})
    pq.write_table(table.replace_schema_metadata(metadata), path, write_page_checksum=True)
