"""A run leaves as one file that anybody can check, and that nobody can misuse."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from arithctl.exports.archive import Reader
from arithctl.main import main
from harness.tiny import ENV, Tiny

#: The first test to ask for the runs waits for them, on a busy machine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def exported(tiny: Tiny) -> Path:
    """The first run as a file, with everything."""
    tiny.arithctl("export", tiny.run, "-o", "whole.zip", "--states")
    return tiny.folder / "whole.zip"


@pytest.fixture
def verify(tmp_path, monkeypatch) -> Callable[[Path], tuple[int, str]]:
    """Check a file in an empty folder, where there is no database; returns exit code and output."""
    monkeypatch.chdir(tmp_path)

    def run(path: Path) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["verify", str(path)], catch_exceptions=False)
        return result.exit_code, result.output

    return run


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forge(path: Path, contents: Mapping[str, bytes], *, manifest: bool = True) -> Path:
    """A zip of these contents, with a manifest that fits them if wanted: what a careful forger would make."""
    files = dict(contents)
    if manifest:
        facts = json.loads(files.pop("manifest.json"))
        facts["files"] = [
            {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ]
        files["manifest.json"] = json.dumps(facts).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_run_is_the_same_bytes_whenever_it_is_exported_and_they_verify(tiny, exported, verify, tmp_path):
    tiny.arithctl("export", tiny.run, "-o", "again.zip", "--states")
    assert (tiny.folder / "again.zip").read_bytes() == exported.read_bytes()
    code, output = verify(exported)
    assert code == 0, output
    assert [line.split()[:2] for line in output.splitlines()[:6]] == [
        ["ok", name] for name in ("files", "formats", "summary", "emergence", "claims", "scores")
    ]
    assert f"whole.zip is what it says: run {tiny.run}, " in output
    assert list(tmp_path.iterdir()) == []


def test_the_file_holds_what_the_database_says_and_opens_without_this_program(tiny, exported):
    inside = members(exported)
    assert {name.split("/")[0] for name in inside} == {
        "README.md", "manifest.json", "run.json", "spec.json", "shards.json",
        "tables", "figures", "report.html", "states", "predictions",
    }  # fmt: skip
    parquet = pd.read_parquet(io.BytesIO(inside["tables/scores.parquet"]))
    csv = pd.read_csv(io.BytesIO(inside["tables/scores.csv"]))
    columns = ["layer", "position", "variable", "family", "value"]
    sql = "SELECT layer, position, variable, family, value FROM scores WHERE run_id = ?"
    rows = tiny.query(sql, tiny.run)
    expected = sorted((*row[:4], None if row[4] is None else float(row[4])) for row in rows)
    for table in (parquet, csv):
        found = table[columns].replace({np.nan: None}).itertuples(index=False, name=None)
        assert sorted(found) == expected
    assert json.loads(inside["run.json"])["run"] == tiny.run
    assert b"<!doctype html>" in inside["report.html"][:100].lower()
    names = [name for name in inside if name.startswith("figures/")]
    assert {Path(name).suffix for name in names} == {".png", ".pdf", ".csv"}


def test_without_states_the_file_is_small_and_says_what_was_not_done(tiny, exported, verify):
    tiny.arithctl("export", tiny.other, "-o", "small.zip")
    code, output = verify(tiny.folder / "small.zip")
    assert code == 0
    assert "not done  scores     no predictions are inside" in output
    assert (tiny.folder / "small.zip").stat().st_size < exported.stat().st_size / 2


READS_AND_ENDS = """
import sys, zipfile
from arithctl.exports.check import _parquet
content = zipfile.ZipFile(sys.argv[1]).read("tables/scores.parquet")
for _ in range(3):
    _parquet(content)
"""


def test_a_process_that_has_just_read_a_table_ends_without_a_crash(exported):
    """Where Arrow's threads read a Python file, about half of such processes aborted at their end."""
    command = [sys.executable, "-c", READS_AND_ENDS, str(exported)]
    for _ in range(8):
        ended = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_run_that_is_not_done_is_not_exported_and_nothing_is_left(tiny, tmp_path):
    command = [sys.executable, "-m", "arithctl", "export", tiny.waiting, "-o", str(tmp_path / "x.zip")]
    done = subprocess.run(command, cwd=tiny.folder, env=ENV, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is active: a run is exported when it is done" in done.stderr
    assert list(tmp_path.iterdir()) == []


def changed(content: bytes) -> bytes:
    """The same with one figure changed."""
    rows = json.loads(content)
    row = next(row for row in rows if row.get("value") is not None)
    row["value"] = row["value"] - 0.01
    return ("[\n" + ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n").encode()


def test_a_flipped_bit_anywhere_is_found(exported, verify, tmp_path):
    inside = members(exported)
    for name in ("tables/scores.csv", "report.html", next(name for name in inside if "layer=01" in name)):
        content = bytearray(inside[name])
        content[len(content) // 2] ^= 1
        code, output = verify(forge(tmp_path / "bad.zip", inside | {name: bytes(content)}, manifest=False))
        assert code == 1
        assert f"{name} has another SHA-256 than the manifest says" in output
        assert "is NOT what it says" in output


def test_a_damaged_zip_is_a_mismatch_and_no_traceback(exported, verify, tmp_path):
    content = bytearray(exported.read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(content)
    code, output = verify(tmp_path / "bad.zip")
    assert code == 1
    assert "mismatch  files" in output


def test_missing_and_added_files_are_found(exported, verify, tmp_path):
    inside = members(exported)
    less = {name: content for name, content in inside.items() if name != "spec.json"}
    code, output = verify(forge(tmp_path / "less.zip", less, manifest=False))
    assert (code, "spec.json is missing" in output) == (1, True)
    code, output = verify(forge(tmp_path / "more.zip", inside | {"extra.txt": b"x"}, manifest=False))
    assert (code, "extra.txt is not in the manifest" in output) == (1, True)


@pytest.mark.parametrize(
    ("table", "check"), [("summary", "summary"), ("scores", "scores"), ("scores", "formats")]
)
def test_a_forger_who_mends_the_hashes_is_found_by_computing_again(exported, verify, tmp_path, table, check):
    inside = members(exported)
    name = f"tables/{table}.json"
    code, output = verify(forge(tmp_path / "bad.zip", inside | {name: changed(inside[name])}))
    assert code == 1
    assert "ok        files" in output
    assert f"mismatch  {check:<9}" in output


def test_a_verdict_cannot_be_changed(exported, verify, tmp_path):
    inside = members(exported)
    claims = json.loads(inside["tables/claims.json"])
    claims[0]["verdict"] = "pass" if claims[0]["verdict"] != "pass" else "fail"
    code, output = verify(
        forge(tmp_path / "bad.zip", inside | {"tables/claims.json": json.dumps(claims).encode()})
    )
    assert code == 1
    assert f"mismatch  claims     {claims[0]['claim']}: verdict is '{claims[0]['verdict']}'" in output


def test_tables_that_are_missing_or_make_no_sense_are_named_and_no_traceback(exported, verify, tmp_path):
    inside = members(exported)
    less = {name: content for name, content in inside.items() if not name.startswith("tables/emergence")}
    code, output = verify(forge(tmp_path / "less.zip", less))
    assert (code, "tables/emergence.json is missing" in output) == (1, True)
    less = {name: content for name, content in inside.items() if name != "tables/scores.csv"}
    code, output = verify(forge(tmp_path / "less.zip", less))
    assert (code, "mismatch  formats    cannot be checked: ArtifactError" in output) == (1, True)
    scores = json.loads(inside["tables/scores.json"])
    for row in scores:
        row["layer"] = {"no": "number"}
    content = json.dumps(scores).encode()
    code, output = verify(forge(tmp_path / "bad.zip", inside | {"tables/scores.json": content}))
    assert (code, "mismatch  scores" in output) == (1, True)


def test_another_spec_is_not_taken_for_the_runs_own(exported, verify, tmp_path):
    inside = members(exported)
    spec = json.loads(inside["spec.json"])
    spec["seed"] = 12345
    code, output = verify(forge(tmp_path / "bad.zip", inside | {"spec.json": json.dumps(spec).encode()}))
    assert code == 1
    assert "spec.json is not the spec that run.json names" in output


HOSTILE = [
    "../evil",
    "/etc/evil",
    "a/../../evil",
    "C:\\evil",
    ".hidden",
    "a//b",
    "tables/\x1b[2Jx",
    "-rf",
    "x" * 300,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_before_anything_is_read(exported, verify, tmp_path, name):
    path = tmp_path / "zip" / "bad.zip"
    path.parent.mkdir()
    code, output = verify(forge(path, members(exported) | {name: b"evil"}))
    assert code == 2
    assert "was refused: its name is not one that this program gives" in output
    assert "\x1b" not in output
    assert [item for item in tmp_path.rglob("*") if item.is_file()] == [path]


def test_bombs_links_and_doubles_are_refused(exported, verify, tmp_path):
    inside = members(exported)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
        archive.writestr("bomb.csv", bytes(300 * 2**20))
    assert bomb.stat().st_size < 2 * exported.stat().st_size
    code, output = verify(bomb)
    assert (code, "it unpacks to far more than a table can" in output) == (2, True)
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    code, output = verify(link)
    assert (code, "it is no regular file" in output) == (2, True)
    double = forge(tmp_path / "double.zip", inside)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(double, "a") as archive:
        archive.writestr("spec.json", "{}")
    code, output = verify(double)
    assert (code, "stands in the zip twice" in output) == (2, True)


def test_a_member_that_lies_about_its_size_never_gives_more_than_it_says(exported, tmp_path):
    """The directory at the end of the zip says 10 bytes; the stream holds all of them."""
    path = forge(tmp_path / "lie.zip", members(exported))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"report.html")
    content[entry - 46 + 24 : entry - 46 + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    with Reader(path) as reader:
        assert reader.size("report.html") == 10
    code = CliRunner().invoke(main, ["verify", str(path)]).exit_code
    assert code == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"not a zip", None, {"a.txt": b"x"}, {"manifest.json": b"[]"}, {"manifest.json": b"{"}],
)
def test_what_is_no_export_is_told_so(verify, tmp_path, content):
    path = tmp_path / "file.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        forge(path, content, manifest=False)
    code, output = verify(path)
    assert code == 2
    assert output.startswith("Error: ")
    assert "expected" in output
