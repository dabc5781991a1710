"""Shards hold what was added, give it back whichever way they were cut, and are read column by column."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arith_shared.errors import ArtifactError, HalfPrecisionError, UserError
from arith_shared.store import shards
from arith_shared.store.shards import group_rows
from arith_shared.store.states import ProblemTable, ShardWriter, StateReader
from harness.documents import blocks

LAYERS = (0, 3)
LABELS = ("A", "=", "1", "+", "B", ";")
VARIABLES = ("A", "B")


def problem_table(start, kept):
    index = np.arange(start, start + len(kept))
    values = np.stack([index % 7, index % 11], axis=1)
    return ProblemTable(index, kept, kept, values, [f"problem {i}" for i in index])


def states_of(index, width=4):
    """float32[layer, problem, position, width] that depend on the problem alone, as a pure LM's would."""
    shape = (len(LAYERS), len(LABELS), width)
    rows = [np.random.default_rng(int(i)).normal(size=shape) for i in index]
    return np.array(rows, np.float32).reshape(len(rows), *shape).swapaxes(0, 1)


def write(folder, start, kept, *, width=4, dtype="float16", labels=LABELS, model="abc", layers=LAYERS):
    kept = np.asarray(kept, bool)
    table = problem_table(start, kept)
    states = states_of(table.index[kept], width)[: len(layers), :, : len(labels)]
    folder.mkdir(parents=True)
    meta = {"model": model, "last_layer": "after the final norm"}
    with ShardWriter(folder, layers, labels, width, dtype, VARIABLES, meta) as writer:
        for part in np.array_split(np.arange(states.shape[1]), 3):
            writer.add(states[:, part])
        writer.finish(table)
    return folder


def write_all(folder, states, labels, dtype="float16", layers=(0,)):
    """A shard of float32[layer, problem, position, width], all problems kept."""
    with ShardWriter(folder, layers, labels, states.shape[-1], dtype, VARIABLES, {"model": "abc"}) as writer:
        writer.add(states)
        writer.finish(problem_table(0, np.ones(states.shape[1], bool)))


@pytest.fixture
def writer(tmp_path):
    with ShardWriter(tmp_path, LAYERS, LABELS, 4, "float16", VARIABLES, {"model": "abc"}) as writer:
        yield writer


@given(
    kept=st.lists(st.booleans(), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29), max_size=4),
    limit=st.integers(0, 35),
    order=st.randoms(use_true_random=False),
)
@example(kept=[True] * 6, cuts={2, 4}, limit=3, order=random.Random(0))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_first_kept_problems_come_back_however_they_were_cut_into_shards(kept, cuts, limit, order):
    bounds = [0, *sorted(cut for cut in cuts if cut < len(kept)), len(kept)]
    expected = np.flatnonzero(kept)[:limit]
    with tempfile.TemporaryDirectory() as root:
        folders = [
            write(Path(root) / str(start), start, kept[start:end])
            for start, end in itertools.pairwise(bounds)
        ]
        order.shuffle(folders)
        reader = StateReader(folders, limit)
        cells = {cell: reader.matrix(*cell) for cell in itertools.product(LAYERS, range(len(LABELS)))}
    states = states_of(expected).astype(np.float16).astype(np.float32)
    assert reader.n == len(expected)
    np.testing.assert_array_equal(reader.indices, expected)
    np.testing.assert_array_equal(reader.values("B"), expected % 11.0)
    for (layer, position), matrix in cells.items():
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix, states[LAYERS.index(layer), :, position])


def test_bfloat16_keeps_what_float16_cannot(tmp_path):
    write_all(tmp_path, np.array([1e30, -3.0], np.float32).reshape(1, 1, 1, 2), ["A"], "bfloat16")
    np.testing.assert_allclose(StateReader([tmp_path], 1).matrix(0, 0), [[1e30, -3.0]], rtol=2**-8)


def test_states_rounded_elsewhere_give_the_same_files(tmp_path):
    kept = np.array([True, True, False])
    states = states_of(np.arange(2))
    bits = states.astype(np.float16).view(np.uint16)
    for name, fill in (("states", lambda b: b.add(states)), ("bits", lambda b: b.add_bits(bits))):
        (tmp_path / name).mkdir()
        with ShardWriter(
            tmp_path / name, LAYERS, LABELS, 4, "float16", VARIABLES, {"model": "abc"}
        ) as writer:
            fill(writer)
            writer.finish(problem_table(0, kept))
    for path in (tmp_path / "states").iterdir():
        assert path.read_bytes() == (tmp_path / "bits" / path.name).read_bytes()
    with pytest.raises(ValueError, match="expected uint16"):
        writer.add_bits(states)


def test_a_cell_is_read_without_its_neighbours(tmp_path):
    width, problems = 512, 4_000
    payload = 2 * width * problems
    write_all(tmp_path, np.ones((1, problems, 8, width), np.float32), ["A"] * 8)
    reader = StateReader([tmp_path], problems)
    before = characters_read()
    reader.matrix(0, 5)
    # pyarrow reads the last 64 KiB of a file at once, since the footer usually lies within them.
    assert payload <= characters_read() - before <= 1.02 * payload + 2**16
    assert (tmp_path / "layer=00.parquet").stat().st_size <= 1.002 * 8 * payload
    # The footer is kept, so that a further column of the same layer costs its own bytes alone.
    before = characters_read()
    reader.matrix(0, 6)
    assert payload <= characters_read() - before <= 1.01 * payload


def characters_read():
    """Bytes that this process has had from read calls so far."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("this system does not count the bytes that a process reads")
    return int(counters.read_text().split()[1])


def test_the_documented_lines_for_pyarrow_open_a_shard(tmp_path, monkeypatch):
    folder = write(tmp_path / "shard", 0, [True, False, True])
    (lines,) = (block for block in blocks("docs/states.md", "python") if "read_table" in block)
    monkeypatch.chdir(folder)
    names = {}
    exec(lines.replace("layer=01", "layer=03"), names)  # noqa: S102 - the lines that the document promises
    np.testing.assert_array_equal(names["states"], StateReader([folder], 9).matrix(3, 5))


def test_a_file_of_a_shard_explains_itself(tmp_path):
    folder = write(tmp_path / "shard", 0, [True])
    schema = pyarrow.parquet.read_schema(folder / "layer=03.parquet")
    header = json.loads(schema.metadata[b"arith.shard"])
    assert schema.names == ["t00", "t01", "t02", "t03", "t04", "t05"]
    assert schema.metadata[b"layer"] == b"3"
    assert schema.metadata[b"last_layer"] == b"after the final norm"
    assert header == {
        "model": "abc",
        "dtype": "float16",
        "width": 4,
        "layers": [0, 3],
        "labels": list(LABELS),
        "variables": ["A", "B"],
    }


def test_column_names_sort_in_the_order_of_positions_beyond_a_hundred(tmp_path):
    write_all(tmp_path, np.arange(101, dtype=np.float32).reshape(1, 1, 101, 1), ["A"] * 101)
    names = pyarrow.parquet.read_schema(tmp_path / "layer=00.parquet").names
    assert names == sorted(names)
    assert StateReader([tmp_path], 1).matrix(0, 100) == 100.0


def test_every_problem_tried_is_listed_with_its_verdict(tmp_path):
    table = pyarrow.parquet.read_table(write(tmp_path / "shard", 40, [True, False]) / "problems.parquet")
    assert table.to_pydict() == {
        "index": [40, 41],
        "solved": [True, False],
        "kept": [True, False],
        "A": [5, 6],
        "B": [7, 8],
        "text": ["problem 40", "problem 41"],
    }


def test_equal_states_give_equal_bytes(tmp_path):
    one, two = (write(tmp_path / name, 0, [True, True]) for name in ("one", "two"))
    for file in sorted(one.iterdir()):
        assert file.read_bytes() == (two / file.name).read_bytes()


@pytest.mark.parametrize("limit", [0, 1, 4, 5, 8, 11])
def test_problems_come_back_over_row_groups_whatever_the_batches_were(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(shards, "COLUMN_BYTES", 4 * 2 * 4)
    states = states_of(np.arange(11))
    for name, batches in (("one", [11]), ("some", [3, 7, 1]), ("each", [1] * 11)):
        (tmp_path / name).mkdir()
        with ShardWriter(
            tmp_path / name, LAYERS, LABELS, 4, "float16", VARIABLES, {"model": "abc"}
        ) as writer:
            for part in np.split(np.arange(11), np.cumsum(batches)[:-1]):
                writer.add(states[:, part])
            writer.finish(problem_table(0, np.ones(11, bool)))
    metadata = pyarrow.parquet.read_metadata(tmp_path / "one" / "layer=03.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 4, 3]
    for file in (tmp_path / "one").iterdir():
        assert {file.read_bytes()} == {
            (tmp_path / name / file.name).read_bytes() for name in ("some", "each")
        }
    matrix = StateReader([tmp_path / "one"], limit).matrix(3, 4)
    np.testing.assert_array_equal(matrix, states[1, :limit, 4].astype(np.float16))


def test_a_shard_is_on_disk_while_it_grows(tmp_path):
    width = 512
    payload = 3 * group_rows(width) * 2 * width
    with ShardWriter(tmp_path, [0], ["A"], width, "float16", VARIABLES, {"model": "abc"}) as writer:
        writer.add(np.ones((1, 3 * group_rows(width) + 1, 1, width), np.float32))
        assert payload <= (tmp_path / "layer=00.parquet").stat().st_size <= 1.001 * payload
    with pytest.raises(ArtifactError, match=r"expected a file of a shard"):
        StateReader([tmp_path], 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (65505.0, r"layer 3, position 4 \(B\): .* within float16, found 65505; set extract.dtype=bfloat16"),
        (np.inf, r"layer 3, position 4 \(B\): .* found inf; check the LM's weights"),
        (np.nan, r"layer 3, position 4 \(B\): .* found nan; check the LM's weights"),
    ],
)
def test_a_state_beyond_half_precision_is_refused_where_it_is(writer, value, message):
    states = np.zeros((len(LAYERS), 2, len(LABELS), 4), np.float32)
    states[1, 0, 4, 2] = value
    with pytest.raises(HalfPrecisionError, match=message):
        writer.add(states)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda reader: reader.matrix(1, 0), "layer 1 is not in the shards; valid are 0, 3"),
        (lambda reader: reader.matrix(0, 6), "position 6 is not in the shards; valid are 0, 1, 2, 3, 4, 5"),
        (lambda reader: reader.matrix(0, -1), "position -1 is not in the shards"),
        (lambda reader: reader.values("C"), "variable C is not in the shards; valid are A, B"),
    ],
)
def test_asking_for_what_was_not_extracted_names_what_was(tmp_path, ask, message):
    reader = StateReader([write(tmp_path / "shard", 0, [True])], 1)
    with pytest.raises(UserError, match=message):
        ask(reader)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 8}, r"two: expected width 4 \(shard .*one\), found 8; extract again"),
        ({"model": "xyz"}, r"two: expected model abc \(shard .*one\), found xyz; extract again"),
        ({"dtype": "bfloat16"}, r"two: expected dtype float16 .* found bfloat16; extract again"),
        ({"labels": LABELS[:2]}, r"two: expected labels .* found \['A', '='\]; extract again"),
        ({"layers": (0,)}, r"two: expected layers \[0, 3\] .* found \[0\]; extract again"),
        ({"start": 1}, r"two: expected problems after 1 \(shard .*one\), found 1; give each range"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(tmp_path, other, message):
    one = write(tmp_path / "one", 0, [True, True])
    two = write(tmp_path / "two", **({"start": 2, "kept": [True]} | other))
    with pytest.raises(ArtifactError, match=message):
        StateReader([two, one], 3)


@pytest.mark.parametrize("name", ["problems.parquet", "layer=03.parquet"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "foreign"])
def test_a_damaged_shard_is_refused_with_the_name_of_its_file(tmp_path, name, fault):
    folder = write(tmp_path / "shard", 0, [True, True])
    file = folder / name
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20] if fault == "truncated" else b"no Parquet")
    with pytest.raises(ArtifactError, match=rf"{name}: expected a file of a shard .*; extract again"):
        StateReader([folder], 2).matrix(3, 0)


def test_a_flipped_bit_of_a_hidden_state_is_never_read(tmp_path):
    folder = write(tmp_path / "shard", 0, [True, True])
    file = folder / "layer=03.parquet"
    data = file.read_bytes()
    cell = StateReader([folder], 2).matrix(3, 4).astype("<f2").tobytes()
    place = data.index(cell)
    file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    reader = StateReader([folder], 2)
    with pytest.raises(ArtifactError, match=r"layer=03.parquet: .*checksum"):
        reader.matrix(3, 4)
    reader.matrix(3, 3)  # its neighbour is as it was


def test_a_layer_with_other_rows_than_the_problems_is_refused(tmp_path):
    one, two = write(tmp_path / "one", 0, [True]), write(tmp_path / "two", 0, [True, True])
    (two / "layer=03.parquet").rename(one / "layer=03.parquet")
    with pytest.raises(ArtifactError, match=r"layer=03.parquet: expected 1 rows, found 2; extract again"):
        StateReader([one], 1).matrix(3, 0)


def test_no_shards_at_all_is_an_error_that_says_so():
    with pytest.raises(ArtifactError, match="expected at least one shard"):
        StateReader([], 1)


def test_the_writer_refuses_states_of_another_shape(writer):
    with pytest.raises(ValueError, match=r"expected float32\[2, 1, 6, 4\], found float32\[2, 1, 6, 5\]"):
        writer.add(np.zeros((2, 1, 6, 5), np.float32))


def test_the_table_must_keep_as_many_problems_as_were_added(writer):
    with pytest.raises(ValueError, match="the table keeps 1 problems; 0 were added"):
        writer.finish(problem_table(0, np.array([True, False])))


@pytest.mark.parametrize(
    ("index", "text", "message"),
    [
        ([0, 0], ["", ""], "in index order"),
        ([1, 0], ["", ""], "in index order"),
        ([0, 1], [""], "one length"),
    ],
)
def test_a_problem_table_is_complete_and_in_order(index, text, message):
    flags = np.ones(2, bool)
    with pytest.raises(ValueError, match=message):
        ProblemTable(np.array(index), flags, flags, np.zeros((2, 1), np.int64), text)
