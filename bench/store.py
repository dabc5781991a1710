"""Hidden states on disk: bytes written, and reading what one probe needs, beside other layouts."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from arith_shared.store.shards import Shard
from arith_shared.store.states import ProblemTable, ShardWriter, StateReader
from bench.command import Options, main
from bench.machine import Machine, installed
from bench.race import OURS, Contestant, race
from bench.report import Report, Table, at_least, at_most, lap_rows, not_measured, ratio

LISTS, OPEN = "Parquet, fixed-size lists", "Parquet, fixed-size lists, file kept open"
DATASETS, FILES = "datasets, Array2D", "torch.save per problem and layer"
POSITIONS = 20
WHY = (
    "the checksum of every page binds, then the way into new memory; tried: files kept "
    "open, no reading ahead in threads, float16 turned into float32 by whole arrays"
)
BITS = "left in float16"

States = NDArray[np.float32]


def measure(options: Options, machine: Machine) -> Report:
    """The states of an OPT decoder of width 256: write all of them, then read single columns."""
    layers, problems, width = (2, 50, 16) if options.quick else (5, 1_000, 256)
    report = Report(
        "Hidden states on disk: size, and reading one (layer, position)",
        f"{layers} layers x {problems:,} problems x {POSITIONS} positions x {width} wide, float16. `{FILES}` is the "
        "layout of keitokudo/TTT, each file a view of all layers, written for 100 problems only.",
    )
    rng = np.random.default_rng(0)
    states = rng.standard_normal((layers, problems, POSITIONS, width), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        layouts = _layouts(Path(folder), states)
        writing, reading, sizes = (
            Table("Writing"),
            Table("Reading one (layer, position), page cache warm"),
            Table("Size"),
        )
        payload = {layout.name: 2 * layout.problems * layers * POSITIONS * width for layout in layouts}
        threads = options.threads[0]
        laps = race(
            [Contestant(a.name, a.write, payload[a.name] / 1e6) for a in layouts if a.write is not None],
            options.rounds,
            threads,
        )
        floor = 1e-3 / machine["disk_write_cached_gb_per_s"]
        writing.rows += lap_rows(laps, "MB", threads, floor)
        column = {a.name: 2 * a.problems * width for a in layouts}
        cells = [(layer, position) for layer in range(layers) for position in range(POSITIONS)]
        reads = [
            Contestant(a.name, _each(a.read, cells[: a.reads]), a.reads * column[a.name] / 1e6)
            for a in layouts
        ]
        reads += [
            Contestant(f"{a.name}, {BITS}", _each(a.bits, cells[: a.reads]), a.reads * column[a.name] / 1e6)
            for a in layouts
            if a.bits is not None
        ]
        read_laps = race(reads, options.rounds, threads)
        reading.rows += lap_rows(read_laps, "MB", threads, 1e-3 / machine["disk_read_cached_gb_per_s"])
        report.targets.append(
            at_least(
                "reading one (layer, position): CPU time of fixed-size lists / ours",
                5,
                ratio(read_laps, LISTS),
                WHY,
            )
        )
        for layout in layouts:
            _check(layout, states)
            sizes.rows.append(_size(layout, payload[layout.name], column[layout.name]))
    ours = next(row for row in sizes.rows if row["layout"] == OURS)
    report.targets += [
        at_most("bytes on disk / payload", 1.01, ours["bytes / payload"]),
        at_most("bytes read for one (layer, position) / payload", 1.02, ours["read / needed"]),
        at_most(
            "files: layers x shards, and one table of problems per shard", layers + 1, ours["files"], unit=""
        ),
    ]
    if installed("datasets") is None:
        report.targets.append(
            not_measured(DATASETS, "-", "`datasets` is not installed; `make bench` installs it")
        )
    report.tables += [sizes, writing, reading]
    report.notes += [
        "Floor: bytes over the rate of plain file writes to, and reads from, the page cache.",
        "Bytes read are those the process asked the system for (rchar of /proc/self/io); datasets maps its files "
        "into memory, where no such count exists.",
        "arithctl checks a checksum for every page that it reads, turns float16 into float32 and returns a matrix of "
        "its own; the others return what a probe could be fitted on, float32 too. It keeps the file of a layer open "
        f"while its columns are read, as `{OPEN}` does; `{LISTS}` calls read_table.",
    ]
    return report


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay states on disk."""

    name: str
    folder: Path
    problems: int
    #: None where another one writes the same files.
    write: Callable[[], object] | None
    #: (layer, position) to float32[problem, width].
    read: Callable[[int, int], States]
    #: False where files are mapped into memory.
    counted: bool = True
    #: As `read`, without the turn to float32.
    bits: Callable[[int, int], NDArray[Any]] | None = None
    #: Columns that a turn reads, layer after layer, as probe units do.
    reads: int = 40


def _layouts(root: Path, states: States) -> list[Layout]:
    found = [
        _ours(root / "ours", states),
        *_lists(root / "lists", states),
        _files(root / "files", states[:, :100]),
    ]
    return [*found, *([_datasets(root / "datasets", states)] if installed("datasets") else [])]


def _ours(folder: Path, states: States) -> Layout:
    layers, problems, positions, width = states.shape
    labels = [f"token {position}" for position in range(positions)]
    index = np.arange(problems)
    table = ProblemTable(index, index >= 0, index >= 0, index[:, None], [""] * problems)

    def write() -> None:
        folder.mkdir(exist_ok=True)
        with ShardWriter(folder, range(layers), labels, width, "float16", ["A"], {"model": "none"}) as writer:
            for start in range(0, problems, 500):
                writer.add(states[:, start : start + 500])
            writer.finish(table)

    @cache
    def shard() -> Shard:
        return Shard.open(folder)

    @cache
    def reader() -> StateReader:
        # A probe unit opens its shards once and then reads column after column.
        return StateReader([folder], problems)

    def read(layer: int, position: int) -> States:
        return reader().matrix(layer, position)

    def bits(layer: int, position: int) -> NDArray[np.uint16]:
        return np.concatenate([*shard().column(layer, position, problems)])

    return Layout(OURS, folder, problems, write, read, bits=bits)


def _lists(folder: Path, states: States) -> list[Layout]:
    layers, problems, positions, width = states.shape

    def write() -> None:
        folder.mkdir(exist_ok=True)
        for layer in range(layers):
            half = states[layer].astype(np.float16)
            columns = {
                f"t{position:02d}": pa.FixedSizeListArray.from_arrays(
                    pa.array(np.ascontiguousarray(half[:, position]).reshape(-1)), width
                )
                for position in range(positions)
            }
            pq.write_table(
                pa.table(columns),
                folder / f"{layer}.parquet",
                use_dictionary=False,
                write_statistics=False,
                compression="none",
                row_group_size=problems,
            )

    def bits(layer: int, position: int) -> NDArray[np.float16]:
        path = folder / f"{layer}.parquet"
        return numbers(pq.read_table(path, columns=[f"t{position:02d}"], use_threads=False))

    @lru_cache(1)
    def opened(layer: int) -> pq.ParquetFile:
        return pq.ParquetFile(folder / f"{layer}.parquet", pre_buffer=False)

    def open_bits(layer: int, position: int) -> NDArray[np.float16]:
        return numbers(opened(layer).read([f"t{position:02d}"], use_threads=False))

    def numbers(table: pa.Table) -> NDArray[np.float16]:
        cells = table.column(0).combine_chunks()
        return np.asarray(cells.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)

    def floats(bits: Callable[[int, int], NDArray[np.float16]]) -> Callable[[int, int], States]:
        return lambda layer, position: bits(layer, position).astype(np.float32)

    return [
        Layout(LISTS, folder, problems, write, floats(bits), bits=bits),
        Layout(OPEN, folder, problems, None, floats(open_bits), bits=open_bits),
    ]


def _files(folder: Path, states: States) -> Layout:
    layers, problems, _, _ = states.shape

    def write() -> None:
        folder.mkdir(exist_ok=True)
        for problem in range(problems):
            whole = torch.from_numpy(states[:, problem]).half()
            for layer in range(layers):
                # A view: the file gets the storage behind it, which is that of all layers.
                torch.save(whole[layer], folder / f"{problem}-{layer}.pt")

    def read(layer: int, position: int) -> States:
        rows = [
            torch.load(folder / f"{problem}-{layer}.pt", weights_only=True)[position]
            for problem in range(problems)
        ]
        return torch.stack(rows).float().numpy()

    return Layout(FILES, folder, problems, write, read, reads=2)


def _datasets(folder: Path, states: States) -> Layout:
    import datasets

    datasets.disable_progress_bars()
    layers, problems, positions, width = states.shape
    features = datasets.Features(
        {f"layer_{layer}": datasets.Array2D((positions, width), "float16") for layer in range(layers)}
    )

    def write() -> None:
        halves = states.astype(np.float16)
        columns = {f"layer_{layer}": halves[layer] for layer in range(layers)}
        datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(folder))

    @cache
    def opened() -> Any:
        return datasets.load_from_disk(str(folder))

    def read(layer: int, position: int) -> States:
        found = opened().select_columns([f"layer_{layer}"]).with_format("numpy")
        whole: NDArray[Any] = np.asarray(found[:][f"layer_{layer}"])
        return whole[:, position].astype(np.float32)

    return Layout(DATASETS, folder, problems, write, read, counted=False, reads=2)


def _each(read: Callable[[int, int], NDArray[Any]], cells: Sequence[tuple[int, int]]) -> Callable[[], None]:
    def run() -> None:
        for layer, position in cells:
            read(layer, position)

    return run


def _check(layout: Layout, states: States) -> None:
    """What is read is what was written: a fast reader of something else proves nothing."""
    expected = states[1, : layout.problems, 3].astype(np.float16).astype(np.float32)
    if not np.array_equal(layout.read(1, 3), expected):
        raise ValueError(f"{layout.name}: reading gives other states than were written")


def _size(layout: Layout, payload: int, column: int) -> dict[str, Any]:
    files = [path for path in layout.folder.rglob("*") if path.is_file()]
    before = _asked_for()
    layout.read(1, 3)
    read = _asked_for() - before
    return {
        "layout": layout.name,
        "payload MB": payload / 1e6,
        "files": len(files),
        "bytes / payload": round(sum(path.stat().st_size for path in files) / payload, 5),
        "read / needed": round(read / column, 4) if layout.counted else "mapped",
    }


def _asked_for() -> int:
    """Bytes that this process has asked the system to read."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(lines[0].removeprefix("rchar: "))


if __name__ == "__main__":
    sys.exit(main("store", measure))
