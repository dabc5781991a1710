"""The report's data and page, from rows alone: sizes, failed cells, hostile names, what stands in for files."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shlex
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from arith_shared.ledger import runs
from arith_shared.store.predictions import Predictions, PredictionsWriter
from arithctl import report
from arithctl.figures.data import FigureData
from arithctl.report import tables
from arithctl.report.collect import curve_of
from arithctl.report.data import STATUSES, UNIT
from arithctl.report.grids import cell_index, grid_of
from arithctl.report.scatters import no_scatters, scatters_of

PACKAGE = Path(report.__file__).parent
VARIABLES = ("A", "B", "C")
TINY_BYTES, PAPER_BYTES = 5_000_000, 15_000_000


def score_rows(layers: int, positions: int, families, seed: int = 0) -> list[dict[str, object]]:
    """Random rows of a full grid; every fiftieth probe diverged."""
    random = np.random.default_rng(seed)
    rows = []
    for layer in range(layers):
        for position in range(positions):
            for variable in VARIABLES:
                for family in families:
                    failed = random.random() < 0.02
                    r = None if failed else float(random.uniform(-0.1, 1))
                    rows.append(
                        {
                            "run": "r", "layer": layer, "position": position, "token": "=", "variable": variable,
                            "family": family, "metric": "r", "value": r, "ci_low": None if failed else r - 0.01,
                            "ci_high": None if failed else r + 0.01, "n_train": 10_000, "n_eval": 2_000,
                            "ceiling": 0.9, "control": None if failed else 0.01, "given": position == 0,
                            "status": "diverged" if failed else "ok",
                        }
                    )  # fmt: skip
    return rows


def predictions(folder: Path, data: FigureData, problems: int = 2_000) -> Predictions:
    """Files as probe units write them, with random predictions of every cell."""
    random = np.random.default_rng(1)
    truth = {name: random.integers(0, 100, problems).astype(float) for name in data.variables}
    families = dict.fromkeys(str(row["family"]) for row in data.rows)
    folders = []
    for layer in data.layers:
        folders.append(folder / f"{layer}")
        folders[-1].mkdir()
        writer = PredictionsWriter(layer, {}, np.arange(problems), truth)
        for position in range(len(data.labels)):
            for family in families:
                for variable in data.variables:
                    writer.add(position, family, variable, truth[variable] + random.normal(size=problems))
        writer.write(folders[-1])
    return Predictions(folders)


@pytest.fixture
def waiting(cli, submitted, database) -> report.ReportData:
    """The report's data of a run that has only been submitted."""
    return report.collect(database, [submitted], None, unreadable="out of reach")


def with_grid(waiting: report.ReportData, data: FigureData, scatters) -> report.ReportData:
    (run,) = waiting.runs
    return replace(waiting, runs=[replace(run, grid=grid_of(data), scatters=scatters)])


@pytest.mark.parametrize(
    ("layers", "positions", "families", "limit"),
    [
        (3, 20, ("mlp", "ridge", "ridge@untrained"), TINY_BYTES),
        (9, 20, ("mlp", "ridge"), TINY_BYTES),
        pytest.param(
            33, 45, ("mlp", "ridge", "mlp@untrained", "ridge@untrained"), PAPER_BYTES, marks=pytest.mark.slow
        ),
    ],
    ids=["tiny", "opt", "mistral"],
)
def test_a_page_stays_within_its_size(waiting, tmp_path, layers, positions, families, limit):
    data = FigureData.from_rows("r", score_rows(layers, positions, families))
    scatters = scatters_of(data, predictions(tmp_path, data), report.POINTS)
    page = report.page(with_grid(waiting, data, scatters))
    assert len(scatters.cells) == sum(row["status"] == "ok" for row in data.rows)
    assert len(page.encode()) < limit


def test_every_cell_keeps_its_numbers_and_a_failed_one_has_none():
    rows = score_rows(2, 3, ("ridge", "ridge@untrained"))
    rows[4] |= {"value": None, "status": "diverged"}
    del rows[-1]
    data = FigureData.from_rows("r", rows)
    grid = grid_of(data)
    families = {family.name: family for family in grid.families}
    for row in rows:
        family = families[row["family"]]
        cell = cell_index(data, row["layer"], row["position"], row["variable"])
        assert STATUSES[family.status[cell]] == row["status"]
        for column, name in ((family.value, "value"), (family.low, "ci_low"), (family.control, "control")):
            found = column[cell]
            if row["status"] == "ok":
                assert found / UNIT == pytest.approx(row[name], abs=1e-6)
            else:
                assert found is None
    assert STATUSES[families["ridge@untrained"].status[-1]] == "absent"
    assert families["ridge"].n_eval == [2_000]


def test_points_are_the_first_problems_to_within_a_255th_of_their_range(tmp_path):
    data = FigureData.from_rows("r", score_rows(1, 2, ("ridge",)))
    kept = predictions(tmp_path, data, problems=500)
    scatters = scatters_of(data, kept, 200)
    for cell in kept.cells:
        key = f"{cell.family}|{cell_index(data, cell.layer, cell.position, cell.variable)}"
        if key in scatters.cells:
            point = scatters.cells[key]
            steps = np.frombuffer(base64.b64decode(point.bytes), np.uint8)
            restored = point.low + (point.high - point.low) * steps / 255
            true = kept.read(cell)
            np.testing.assert_allclose(restored, true.predicted[:200], atol=(point.high - point.low) / 400)
            assert scatters.truths[point.truth] == true.truth[:200].tolist()


def test_tables_mark_given_cells_and_write_words_for_failed_ones():
    rows = score_rows(1, 2, ("ridge",))
    by_place = {(row["position"], row["variable"]): row for row in rows}
    by_place[0, "A"] |= {"value": 0.25, "status": "ok"}
    by_place[1, "A"] |= {"value": None, "status": "constant"}
    grid = grid_of(FigureData.from_rows("r", rows))
    ((layer, entries),) = tables.matrix(grid, grid.families[0], 0)
    assert layer == 0
    assert entries == [tables.Entry(".25", True), tables.Entry("constant", False)]
    first, second = tables.best(grid, grid.families[0], 0)
    assert (first.r, first.given, first.layer) == (".25", True, "0")
    assert (second.r, second.layer, second.n) == ("constant", "\N{EN DASH}", "\N{EN DASH}")


class Scripts(HTMLParser):
    """All elements of a page, and the texts of its scripts by type."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self._type: str | None = None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._type = dict(attrs).get("type")

    def handle_data(self, data):
        if self.tags[-1:] == ["script"] and data.strip():
            self.scripts.append((self._type, data))


@pytest.mark.parametrize(
    "name",
    ["</script><script>alert(1)</script>", "<!--<script>", "\u2028\u2029&amp;", '"onload="x', "{{ 7*7 }}"],
)
def test_no_name_of_a_run_ends_its_element_or_adds_one(cli, database, name):
    run = cli("submit", "tiny-specialized", "--name", name, "--json").json["run"]
    data = report.collect(database, [run, run], None, unreadable="out of reach")
    parser, plain = Scripts(), Scripts()
    parser.feed(report.page(data))
    plain.feed(report.page(replace(data, runs=[replace(data.runs[0], name="a name")])))
    assert parser.tags == plain.tags
    found = [json.loads(text) for kind, text in parser.scripts if kind == "application/json"]
    assert [one["name"] for one in found[0]["runs"]] == [name]


def test_the_policy_names_the_hashes_of_the_scripts_that_the_page_has(waiting):
    page = report.page(waiting)
    parser = Scripts()
    parser.feed(page)
    scripts = [text for kind, text in parser.scripts if kind is None]
    hashes = {
        f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for text in scripts
    }
    assert len(scripts) == len(report.SCRIPTS)
    assert set(re.findall(r"sha256-[\w+/=]+", page[: page.index("</head>")])) == hashes
    assert "default-src 'none'" in unescape(page)


def test_what_a_run_has_not_yet_is_said_in_its_place(waiting):
    page = report.page(waiting)
    assert waiting.live
    assert "There are no scores yet" in page
    assert "accuracy: not known yet" in page
    assert "The curve appears when training is over" in page


def test_files_out_of_reach_are_named_in_the_place_of_the_points(waiting):
    data = FigureData.from_rows("r", score_rows(1, 2, ("ridge",)))
    page = report.page(with_grid(waiting, data, no_scatters("out of reach: run it in the cli container")))
    (text,) = re.findall(r'id="report-data">(.*?)</script>', page)
    assert json.loads(text)["runs"][0]["scatters"]["note"] == "out of reach: run it in the cli container"


def test_a_compose_stack_with_a_volume_is_told_where_to_run_the_report():
    from arith_shared.settings import Settings

    settings = Settings(_env_file=None, mode="compose")
    store, why = report.store_for(settings, ("last",))
    assert store is None
    assert "docker compose run --rm cli arithctl report last" in why


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["-s", "probe.families=[ridge]", "-s", "lm.layers=3", "--seed", "7"],
        ["-s", "lm.training.stop_at_accuracy=null", "-s", "extract.layers=[0, 2]"],
    ],
)
def test_the_command_of_a_report_resolves_to_the_same_spec(cli, database, overrides):
    run = cli("submit", "tiny-specialized", *overrides, "--json").json["run"]
    (shown,) = report.collect(database, [run], None).runs
    program, *words, wait = shlex.split(shown.command)
    assert (program, wait, shown.command_note) == ("arithctl", "--wait", "")
    again = cli(*words, "--json").json["run"]
    with database.reading() as session:
        first, second = (runs.find(session, one).spec_key for one in (run, again))
    assert first == second


def test_a_recipe_of_the_users_own_is_repeated_from_the_spec_in_the_report(cli, database, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("title: Mine\nlm: {layers: 2, heads: 2, width: 32, ffn: 64}\n", encoding="utf-8")
    run = cli("submit", str(own), "--json").json["run"]
    (shown,) = report.collect(database, [run], None).runs
    assert shown.command == "arithctl submit mine.yaml --wait"
    own.write_text(shown.spec, encoding="utf-8")
    again = cli("submit", str(own), "--json").json["run"]
    with database.reading() as session:
        first, second = (runs.find(session, one).spec_key for one in (run, again))
    assert first == second


def test_a_curve_keeps_every_measured_accuracy_and_the_last_step():
    lines = [
        {"step": step, "loss": 1 / step} | ({"accuracy": step / 5_000} if step % 700 == 0 else {})
        for step in range(1, 5_001)
    ]
    curve = curve_of(lines)
    assert len(curve.step) <= 420
    measured = {
        step: value for step, value in zip(curve.step, curve.accuracy, strict=True) if value is not None
    }
    assert list(measured) == list(range(700, 5_001, 700))
    assert curve.step[-1] == 5_000
    assert curve.loss[-1] == pytest.approx(1 / 5_000)
    assert all(math.isfinite(value) for value in curve.loss)


def test_a_curve_says_after_which_step_each_lesson_began():
    measured = {300: "numbers", 600: "numbers", 900: "sums", 1_200: "all", 1_500: "all"}
    lines = [
        {"step": step, "loss": 1.0}
        | ({"accuracy": 0.5, "lesson": measured[step]} if step in measured else {})
        for step in range(1, 1_601)
    ]
    assert curve_of(lines).lessons == [(0, "numbers"), (600, "sums"), (900, "all")]
    assert curve_of([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0, "accuracy": 0.5}]).lessons == []


def test_vendored_files_are_those_that_were_checked_and_have_their_licence():
    folder = PACKAGE / "vendor"
    listed = dict(
        reversed(line.split(maxsplit=1)) for line in (folder / "SHA256SUMS").read_text().splitlines()
    )
    assert set(listed) == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert {"echarts-LICENSE", "echarts-NOTICE"} <= set(listed)


def test_assets_are_those_that_the_page_uses():
    assert set(report.ASSETS) == {*report.STYLES, *report.SCRIPTS}
    assert all(path.is_file() for path in report.ASSETS.values())


def test_the_command_writes_a_whole_page_or_nothing(cli, submitted, home):
    ran = cli("report", submitted, "-o", str(home / "deep" / "page.html"))
    assert (ran.code, ran.out.strip()) == (0, str(home / "deep" / "page.html"))
    assert (home / "deep" / "page.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    ran = cli("report", "nobody", "-o", str(home / "other.html"))
    assert ran.code == 2
    assert "nobody" in ran.err
    assert not (home / "other.html").exists()
