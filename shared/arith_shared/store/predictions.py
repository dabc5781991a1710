"""What probes predicted: one Parquet file per probe unit, with which scores can be checked, compared and drawn.

A row is an evaluation problem. Columns: `index` (its place in the split), `truth/A` (the value of each variable),
and `t05/ridge/A` (float32) for each cell: position, family, variable. All cells of a file are of one layer, which
stands in the schema metadata with what the problems were drawn from. A probe that gave no finite prediction has no
column, and neither has a position where all hidden states are equal: there is never a number in their place.

Any program that reads Parquet opens the files; with pandas, `pandas.read_parquet("predictions.parquet")`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from arith_shared.errors import ArtifactError, UserError

#: The file's name in the artifact of a probe unit.
PREDICTIONS_FILE = "predictions.parquet"
#: Key of the schema metadata under which a file describes itself.
_HEADER = b"arith.predictions"
_INDEX, _TRUTH = "index", "truth/"

Floats = NDArray[np.float32]


class Cell(NamedTuple):
    """Where a probe was fitted, and for what; as the columns of the same names in the table `scores`."""

    layer: int
    position: int
    variable: str
    family: str


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """The predictions of one cell on the problems that its unit was evaluated on."""

    #: float32[problem]
    predicted: Floats
    #: float32[problem]: the variable's value.
    truth: Floats
    #: int64[problem]: the problem's place in its split, increasing.
    index: NDArray[np.int64]
    #: What the problems were drawn from: equal sources and indices mean equal problems.
    source: Mapping[str, Any]


@dataclass
class PredictionsWriter:
    """Collects the predictions of one unit and writes them as one file."""

    layer: int
    source: Mapping[str, Any]
    #: int64[problem]
    index: NDArray[np.int64]
    #: float[problem] by variable.
    truth: Mapping[str, NDArray[np.floating[Any]]]
    _columns: dict[str, Floats] = field(default_factory=dict)

    def add(self, position: int, family: str, variable: str, predicted: NDArray[np.floating[Any]]) -> None:
        """Keep float[problem] of one cell, unless a value is not finite as float32."""
        with np.errstate(over="ignore"):
            values = predicted.astype(np.float32)
        if np.isfinite(values).all():
            self._columns[f"t{position:02d}/{family}/{variable}"] = values

    def write(self, folder: Path) -> None:
        """Write the file to `folder`; nothing is compressed, since the low bits of predictions are noise."""
        truth = {f"{_TRUTH}{name}": values.astype(np.float32) for name, values in self.truth.items()}
        header = json.dumps({"layer": self.layer, "source": dict(self.source)}, sort_keys=True)
        table = pa.table({_INDEX: self.index, **truth, **self._columns})
        pq.write_table(
            table.replace_schema_metadata({_HEADER: header.encode()}),
            folder / PREDICTIONS_FILE,
            use_dictionary=False,
            write_statistics=False,
            compression="none",
            row_group_size=max(1, len(self.index)),
            write_page_checksum=True,
        )


class Predictions:
    """The predictions of a run, over the artifacts of its probe units given in any order."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Read what columns there are; numbers are read when asked for.

        A folder without the file is of a run that keeps none (`probe.keep_predictions: false`), and is passed over.
        Raises ArtifactError when a file cannot be read.
        """
        self._files: dict[Cell, tuple[Path, str]] = {}
        for folder in folders:
            path = folder / PREDICTIONS_FILE
            if path.exists():
                self._files |= {cell: (path, column) for column, cell in _cells(path)}

    def __bool__(self) -> bool:
        return bool(self._files)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that has predictions, in order of layer, position, variable and family."""
        return tuple(sorted(self._files))

    def read(self, cell: Cell) -> Predicted:
        """The predictions of one cell. Raises UserError when it has none, ArtifactError when the file is damaged."""
        if cell not in self._files:
            raise UserError(
                f"layer {cell.layer}, position {cell.position}, {cell.variable}, {cell.family}: no predictions are "
                "kept of this cell; its probe diverged, all its states are equal, or probe.keep_predictions is false"
            )
        path, column = self._files[cell]
        truth = f"{_TRUTH}{cell.variable}"
        table = _read(path, [_INDEX, truth, column])
        return Predicted(
            predicted=table[column].to_numpy(),
            truth=table[truth].to_numpy(),
            index=table[_INDEX].to_numpy(),
            source=_header(path, table.schema)["source"],
        )


def _cells(path: Path) -> Iterable[tuple[str, Cell]]:
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    layer = _header(path, schema)["layer"]
    for column in schema.names:
        if column != _INDEX and not column.startswith(_TRUTH):
            position, family, variable = column.split("/")
            yield column, Cell(layer, int(position[1:]), variable, family)


def _header(path: Path, schema: pa.Schema) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads((schema.metadata or {})[_HEADER])
    except (KeyError, ValueError) as error:
        raise _damaged(path, error) from error
    return header


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=columns, use_threads=False)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected the predictions of a probe unit, found {error}; "
        "`arithctl resume RUN --repair` makes it again"
    )
