"""Rows survive the formats for programs, read well in those for people, and files appear whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from arith_shared.errors import UserError
from arithctl.output import (
    COLUMNS,
    FORMATS,
    ago,
    human_bytes,
    human_duration,
    human_rate,
    print_table,
    replacing,
    write_rows,
)
from arithctl.output.columns import TYPES
from arithctl.output.text import csv_text, json_text, latex_text, markdown_text, plain_text

SCORES = [
    {
        "run": "tiny-7kq2m",
        "layer": 2,
        "position": 15,
        "token": ",",
        "variable": "C",
        "family": "mlp",
        "metric": "pearson",
        "value": 0.1 + 0.2,  # needs all 17 digits
        "ci_low": -0.25,
        "ci_high": 1 / 3,
        "n_train": 10_000,
        "n_eval": 2_000,
        "ceiling": 0.675,
        "control": -1e-9,
        "given": False,
        "status": "ok",
    },
    {
        "run": "tiny-7kq2m",
        "layer": 0,
        "position": 0,
        "token": 'A "quoted"\nname',
        "variable": "A",
        "family": "mlp",
        "metric": "pearson",
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "n_train": 10_000,
        "n_eval": 2_000,
        "ceiling": 0.0,
        "control": None,
        "given": True,
        "status": "diverged",
    },
]


def parsed(cell: str, column: str) -> object:
    """A CSV cell as the value it was written from, by the column's published type."""
    if cell == "":
        return None
    return {"text": str, "integer": int, "real": float, "flag": lambda text: text == "true"}[TYPES[column]](
        cell
    )


def test_csv_gives_back_every_digit_every_flag_and_every_gap(tmp_path: Path) -> None:
    write_rows(SCORES, COLUMNS["scores"], "csv", tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = [{name: parsed(cell, name) for name, cell in row.items()} for row in csv.DictReader(file)]
    assert rows == SCORES


def test_json_gives_back_the_rows(tmp_path: Path) -> None:
    write_rows(SCORES, COLUMNS["scores"], "json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == SCORES


def test_parquet_gives_back_the_rows_and_keeps_types_of_columns_without_a_number(tmp_path: Path) -> None:
    write_rows(SCORES, COLUMNS["scores"], "parquet", tmp_path / "scores.parquet")
    assert pq.read_table(tmp_path / "scores.parquet").to_pylist() == SCORES
    write_rows(SCORES[1:], COLUMNS["scores"], "parquet", tmp_path / "gaps.parquet")
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "gaps.parquet")}
    assert types["value"] == "double"
    assert types["layer"] == "int64"
    assert types["given"] == "bool"
    assert types["token"] == "string"


def test_no_rows_still_have_columns(tmp_path: Path) -> None:
    write_rows([], COLUMNS["emergence"], "parquet", tmp_path / "none.parquet")
    assert tuple(pq.read_schema(tmp_path / "none.parquet").names) == COLUMNS["emergence"]
    assert csv_text([], ["a", "b"]) == "a,b\n"
    assert json.loads(json_text([], ["a"])) == []
    assert plain_text([], ["a", "b"]) == "a  b\n"
    assert markdown_text([], ["a"]).count("\n") == 2
    assert r"\midrule" in latex_text([], ["a"])


def test_nan_is_a_gap_in_every_format(tmp_path: Path) -> None:
    rows = [{"value": math.nan}, {"value": np.float64("nan")}, {"value": None}]
    assert json.loads(json_text(rows, ["value"])) == [{"value": None}] * 3
    assert csv_text(rows, ["value"]) == 'value\n""\n""\n""\n'
    assert plain_text(rows, ["value"]).split() == ["value", "-", "-", "-"]
    assert markdown_text(rows, ["value"]).count("\N{EN DASH}") == 3
    assert latex_text(rows, ["value"]).splitlines().count(r"-- \\") == 3
    write_rows(rows, ["value"], "parquet", tmp_path / "nan.parquet")
    assert pq.read_table(tmp_path / "nan.parquet")["value"].null_count == 3


def test_json_has_no_infinity_and_csv_keeps_it() -> None:
    rows = [{"value": math.inf}]
    assert json.loads(json_text(rows, ["value"])) == [{"value": None}]
    assert csv_text(rows, ["value"]) == "value\ninf\n"


def test_scalars_of_numpy_are_plain_numbers() -> None:
    rows = [{"n": np.int64(3), "given": np.bool_(True), "value": np.float64(0.5)}]
    assert json.loads(json_text(rows, ["n", "given", "value"])) == [{"n": 3, "given": True, "value": 0.5}]


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("50% & more", r"50\% \& more"),
        ("ci_low #1 $x$", r"ci\_low \#1 \$x\$"),
        ("a\\b", r"a\textbackslash{}b"),
        ("{x}^~", r"\{x\}\textasciicircum{}\textasciitilde{}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
    ],
)
def test_latex_prints_every_special_sign_as_itself(raw: str, escaped: str) -> None:
    assert f"{escaped} \\\\" in latex_text([{"why": raw}], ["why"]).splitlines()


def test_latex_sets_numbers_right_and_a_minus_sign_as_such() -> None:
    text = latex_text([{"name": "C", "value": -0.5}, {"name": "D", "value": None}], ["name", "value"])
    assert r"\begin{tabular}{lr}" in text
    assert r"C & $-$0.500 \\" in text
    assert r"D & -- \\" in text


def test_markdown_columns_line_up_and_a_bar_does_not_split_a_cell() -> None:
    lines = markdown_text(
        [{"why": "a|b", "n": 7}, {"why": "two\nlines", "n": 1234}], ["why", "n"]
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert r"a\|b" in lines[2]
    assert "two lines" in lines[3]
    assert lines[1].endswith("-: |")


def test_a_pipe_gets_ascii_that_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "x" * 300, "value": 0.98765}, {"name": "short", "value": None}]
    write_rows(rows, ["name", "value"], "table")
    lines = capsys.readouterr().out.splitlines()
    assert "".join(lines).isascii()
    assert [line.split() for line in lines] == [["name", "value"], ["x" * 300, "0.988"], ["short", "-"]]


def test_a_stream_without_the_sign_gets_a_replacement_instead_of_an_error() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_table([{"name": "算術"}], ["name"], console=Console(file=stream))
    stream.flush()
    assert raw.getvalue().splitlines()[1] == b"??"


def test_a_narrow_terminal_folds_and_keeps_every_letter() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=24, color_system=None)
    print_table(
        [{"name": "abcdefghijklmnopqrstuvwxyz0123456789", "value": 1.0}], ["name", "value"], console=console
    )
    shown = stream.getvalue()
    assert "…" not in shown
    assert set("abcdefghijklmnopqrstuvwxyz0123456789") <= set(shown)


def test_a_token_in_brackets_is_not_taken_for_markup() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)
    print_table([{"token": "[bold]"}], ["token"], console=console)
    assert "[bold]" in stream.getvalue()


def test_an_unknown_format_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match="'xlsx' is unknown; choose one of table, json, csv, parquet"):
        write_rows([], ["a"], "xlsx")  # type: ignore[arg-type]


def test_parquet_is_not_sent_to_a_terminal() -> None:
    with pytest.raises(UserError, match="-o FILE"):
        write_rows([], ["a"], "parquet")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "rows"
    destination.write_text("old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_rows(SCORES, COLUMNS["scores"], format_, destination)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert destination.read_text() == "old"


def test_half_written_content_is_thrown_away(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "new" / "file.txt") as path:
            path.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_link_keeps_pointing_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    write_rows([{"a": 1}], ["a"], "csv", link)
    assert link.is_symlink()
    assert target.read_text() == "a\n1\n"


def test_a_device_is_written_and_not_replaced() -> None:
    write_rows([{"a": 1}], ["a"], "csv", Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


def test_every_published_column_has_a_type() -> None:
    assert {name for columns in COLUMNS.values() for name in columns} == set(TYPES)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (human_bytes(0), "0 B"),
        (human_bytes(999), "999 B"),
        (human_bytes(1_200_000_000), "1.2 GB"),
        (human_bytes(999_950), "1 MB"),
        (human_bytes(123_456_789), "123 MB"),
        (human_bytes(None), "-"),
        (human_duration(0.44), "0.4 s"),
        (human_duration(5.0), "5 s"),
        (human_duration(9.97), "10 s"),
        (human_duration(192.4), "3 m 12 s"),
        (human_duration(3_599.7), "1 h"),
        (human_duration(90_000), "1 d 1 h"),
        (human_duration(None), "-"),
        (human_rate(41_234, "tokens"), "41.2k tokens/s"),
        (human_rate(0.25, "units"), "0.25 units/s"),
        (human_rate(3.0, "problems"), "3 problems/s"),
        (human_rate(None, "problems"), "-"),
        (ago(12.3), "12 s ago"),
        (ago(5.4), "5 s ago"),
        (ago(-0.5), "just now"),
        (ago(192), "3 m 12 s ago"),
        (ago(None), "-"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected
