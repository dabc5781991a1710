"""From Python the same run gives the same numbers, and the example in the document works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arith_shared.errors import MissingExtraError, RunNotFoundError, SpecError, UserError
from arithctl import api, recipes
from harness.documents import blocks
from harness.recipes import SMALL
from harness.tiny import ENV, Tiny

#: The first test to ask for the runs waits for them, on a busy machine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def there(tiny: Tiny, monkeypatch) -> Tiny:
    """The deployment as the working folder, with nothing else configured."""
    monkeypatch.chdir(tiny.folder)
    monkeypatch.setenv("ARITH_MODE", "embedded")
    return tiny


def python(folder: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=ENV, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_the_document_works_and_loads_no_torch(tmp_path):
    (example,) = blocks("docs/python.md", "python")
    # The document's recipe takes minutes; a file with the same recipe in small takes seconds.
    spec = recipes.load("tiny-specialized").resolve(list(SMALL.items()))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json")), encoding="utf-8")
    assert '"tiny-specialized"' in example
    program = example.replace('"tiny-specialized"', '"small.yaml"')
    said = python(tmp_path, program + "\nimport sys\nprint('torch' in sys.modules, len(scores), run)\n")
    head, *_, last = said.splitlines()
    assert head.split() == ["variable", "A", "B", "C"]
    loaded, rows, run = last.split()
    assert loaded == "False"
    assert re.fullmatch(r"small-\w{5}", run)
    assert int(rows) > 100
    assert (tmp_path / "fig2.pdf").read_bytes().startswith(b"%PDF")


def test_the_scores_are_those_of_the_database_in_the_columns_of_the_command(there):
    import pandas as pd

    frame = api.scores(there.run, there.other)
    there.arithctl("results", there.run, there.other, "--table", "scores", "--format", "csv", "-o", "s.csv")
    csv = pd.read_csv(there.folder / "s.csv")
    assert list(frame.columns) == list(csv.columns)
    pd.testing.assert_frame_equal(frame.astype(csv.dtypes.to_dict()), csv)
    ((count,),) = there.query("SELECT count(*) FROM scores WHERE run_id IN (?, ?)", there.run, there.other)
    assert len(frame) == count


def test_a_cell_without_a_correlation_has_no_number(there):
    frame = api.scores(there.run)
    failed = frame[frame.status != "ok"]
    assert len(failed)
    assert failed.value.isna().all()
    assert frame[frame.status == "ok"].value.notna().all()


def test_a_figure_is_a_figure_and_what_there_is_not_is_named(there):
    figure = api.figure(there.other, kind="heatmaps", width="single")
    figure.savefig(there.folder / "heatmaps.png")
    assert (there.folder / "heatmaps.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="expected a probe family among ridge, found 'mlp'"):
        api.figure(there.other, family="mlp")
    with pytest.raises(UserError, match="expected a kind among paper, heatmaps, found 'pie'"):
        api.figure(there.other, kind="pie")


def test_mistakes_are_told_as_the_commands_tell_them(there):
    with pytest.raises(SpecError, match=re.escape("probe.epoch")):
        api.submit("tiny-specialized", {"probe.epoch": 3})
    with pytest.raises(RunNotFoundError, match="nothing-like-it"):
        api.scores("nothing-like-it")
    with pytest.raises(RunNotFoundError, match="is active and has no scores yet"):
        api.scores(there.waiting)


def test_waiting_ends_with_the_run_with_an_error_if_it_was_stopped_and_in_time_if_asked(home, monkeypatch):
    monkeypatch.setenv("ARITH_MODE", "embedded")
    run = api.submit("tiny-specialized")
    with pytest.raises(TimeoutError, match=f"{run} is active after 0 seconds"):
        api.wait(run, timeout_s=0)
    subprocess.run(
        [sys.executable, "-m", "arithctl", "cancel", run], env=ENV, check=True, capture_output=True
    )
    with pytest.raises(api.RunFailedError, match=f"{run} cancelled: .*arithctl resume {run} --wait"):
        api.wait()


def test_without_pandas_the_extra_is_named(there, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'arithctl[api]'")):
        api.scores(there.run)
