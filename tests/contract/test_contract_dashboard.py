"""The dashboard shows what the ledger holds, on SQLite and on PostgreSQL alike, and cannot write to either."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from arith_shared.ledger import reconcile, runs, units, views, workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.events import record
from arith_shared.ledger.tables import Attempt, Emergence, Run, Score, Summary, Unit
from arith_shared.settings import Settings
from arith_shared.testing import RecordingSender, small_spec
from arithctl.dashboard.app import application
from arithctl.output import COLUMNS

TOKEN = "a-token-of-twenty-one"
#: Equation 1 in tokens: where each position stands is read from these.
LABELS = ("A", "=", "1", "+", "B", ",", "B", "=", "2", "+", "3", ";", "A", "=")
#: Signs that mean something in HTML.
NASTY = "<script>alert('x')</script> & \"quotes\""


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    url = database.engine.url.render_as_string(hide_password=False)
    return Settings(home=tmp_path / "home", database_url=url)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A script with the token."""
    app = application(settings, TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url="http://127.0.0.1", headers=bearer) as asked:
        yield asked


def submit(database: Database, recipe: str = "tiny", name: str | None = None) -> str:
    with database.transaction() as session:
        return runs.submit(session, small_spec(), recipe=recipe, name=name).id


def finish(database: Database, run_id: str, shift: float = 0.0) -> None:
    """Give a run rows as a probe stage and a summary leave them, and end it."""
    with database.transaction() as session:
        unit = session.scalars(select(Unit.id).where(Unit.run_id == run_id)).first()
        mine = {"run_id": run_id, "unit_id": unit, "attempt": 1}
        session.add_all(
            Score(
                **mine, layer=layer, position=position, token=token, variable=variable, family=family,
                metric="pearson", value=position / 20 + shift, ci_low=0.0, ci_high=1.0, n_train=20, n_eval=10,
                ceiling=1.0, control=0.0, given=False, status="ok",
            )
            for family in ("mlp", "ridge", "ridge@untrained")
            for variable in "AB"
            for layer in (0, 1)
            for position, token in enumerate(LABELS)
        )  # fmt: skip
        session.add(Summary(**mine, name="accuracy", value=0.875 + shift, ci_low=0.8, ci_high=0.9, n=200))
        session.add(
            Emergence(
                **mine, variable="B", family="ridge", threshold=0.9, position=10, token="3", layer=1,
                offset_from_own_equation=0, ci_low=10.0, ci_high=None,
            )
        )  # fmt: skip
        session.execute(update(Run).where(Run.id == run_id).values(state="done", ended_at=now()))


def claim(database: Database) -> units.Claim:
    """Take the first unit that is sent, as a worker does."""
    sender = RecordingSender()
    reconcile.tick(database, sender, resend_s=60.0, retry_s=0.0)
    message = sender.take()[0]
    with database.transaction() as session:
        workers.report(session, "w", host="box", pid=7, queue="train", version="1")
        workers.set_device(session, "w", "NVIDIA H100")
        held = units.claim(
            session, message.unit_id, message.attempt, owner="o", worker_id="w", host="box", lease_s=60.0
        )
    assert held is not None
    return held


def rows_of(page: str, caption: str) -> list[list[str]]:
    """The cells of the table with a caption, as a reader without a script sees them."""
    table = next(part for part in re.findall(r"<table.*?</table>", page, re.DOTALL) if caption in part)
    body = table.partition("<tbody>")[2]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", line, re.DOTALL)]
        for line in lines
    ]


STATEMENTS = (
    "UPDATE runs SET state = 'done'",
    "DELETE FROM runs",
    "INSERT INTO events (run_id, at, kind, message) SELECT id, 0, 'x', 'x' FROM runs",
    "CREATE TABLE extra (a INTEGER)",
    "DROP TABLE runs CASCADE",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_dashboards_database_refuses_every_change(database: Database, settings: Settings, statement: str):
    run_id = submit(database)
    looking = Database(settings.database, read_only=True)
    with looking.reading() as session:
        assert runs.find(session, run_id).state == "active"
    reasons = 'read-only transaction|readonly database|near "CASCADE"'
    for writes in (True, False):
        engine = looking.engine.execution_options(writes=writes)
        with pytest.raises(DBAPIError, match=reasons), engine.begin() as connection:
            connection.execute(text(statement))
    looking.close()
    with database.reading() as session:
        assert runs.find(session, run_id).state == "active"


def test_a_read_only_database_is_never_created(tmp_path: Path):
    looking = Database(f"sqlite:///{tmp_path}/sub folder/a?b#c.db", read_only=True)
    with pytest.raises(Exception, match="unable to open database file"), looking.reading() as session:
        session.execute(text("SELECT 1"))
    assert list(tmp_path.iterdir()) == []


def test_no_page_changes_the_ledger(database: Database, client: TestClient):
    run_id = submit(database)
    finish(database, run_id)
    submit(database)

    def contents() -> list[object]:
        with database.reading() as session:
            tables = [Run, Unit, Attempt, Score, Summary]
            return [sorted(map(repr, session.execute(select(table.__table__)).all())) for table in tables]

    before = contents()
    for path in (
        "/", "/runs.json", "/workers", "/workers.json", f"/runs/{run_id}", f"/runs/{run_id}.json",
        f"/runs/{run_id}/log", f"/runs/{run_id}/tables/scores", f"/runs/{run_id}/tables/claims.csv",
        f"/compare?run={run_id}&run=last", f"/live/runs/{run_id}", "/live/runs", "/live/workers",
    ):  # fmt: skip
        assert client.get(path).status_code == 200, path
    assert contents() == before


def test_the_list_shows_all_runs_newest_first_and_filters_by_state_and_recipe(database, client):
    first, second, third = (submit(database, recipe) for recipe in ("tiny", "other", "tiny"))
    finish(database, first)

    def listed(query: str = "") -> list[str]:
        page = client.get(f"/?{query}").text
        assert [row["run"] for row in client.get(f"/runs.json?{query}").json()] == re.findall(
            r'<a id="run-([\w-]+)"', page
        )
        return re.findall(r'<a id="run-([\w-]+)"', page)

    assert listed() == [third, second, first]
    assert listed("state=done") == [first]
    assert listed("recipe=tiny") == [third, first]
    assert listed("recipe=tiny&state=active") == [third]
    assert listed("state=failed") == []
    assert "No runs like that" in client.get("/?state=failed").text
    assert "<option selected>other</option>" in client.get("/?recipe=other").text


def test_a_long_list_has_pages(database, client):
    submitted = [submit(database) for _ in range(30)]
    pages = [client.get(f"/runs.json?page={number}").json() for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [25, 5, 0]
    assert [row["run"] for page in pages for row in page] == submitted[::-1]
    assert 'id="older" href="/?page=2"' in client.get("/").text
    assert 'id="newer" href="/?page=1"' in client.get("/?page=2").text
    assert client.get("/?page=0").status_code == 404


def test_a_running_unit_shows_as_progress_on_the_list_its_page_and_the_workers(database, client):
    run_id = submit(database)
    held = claim(database)
    with database.transaction() as session:
        units.heartbeat(session, held, units.Report(25.0, 100.0, "steps", "loss 1.5"), lease_s=60.0)
    assert "25/100 steps" in client.get("/").text
    page = client.get(f"/runs/{run_id}").text
    assert "25 %" in page
    assert "loss 1.5" in page
    assert "on NVIDIA H100" in page
    (worker,) = client.get("/workers.json").json()
    assert (worker["state"], worker["device"], worker["run"]) == ("busy", "NVIDIA H100", run_id)
    shown = rows_of(client.get("/workers").text, "last hour")
    assert shown[0][:3] == ["train", "NVIDIA H100", "busy"]
    with database.transaction() as session:
        session.execute(text("UPDATE workers SET seen_at = seen_at - 100"))
    assert client.get("/workers.json").json()[0]["state"] == "silent"


def test_a_failure_shows_on_the_runs_page_and_its_traceback_in_the_log(database, client):
    run_id = submit(database)
    held = claim(database)
    with database.transaction() as session:
        trace = f"Traceback ...\nValueError: {NASTY}"
        units.fail(session, held, NASTY, trace, permanent=True, retry_s=0.0)
    page = client.get(f"/runs/{run_id}").text
    assert "&lt;script&gt;alert" in page
    log = client.get(f"/runs/{run_id}/log").text
    assert "Traceback ...\nValueError: &lt;script&gt;alert" in log
    assert NASTY not in page + log


def test_whatever_a_run_is_called_or_has_recorded_is_text(database, client):
    run_id = submit(database, name=NASTY)
    with database.transaction() as session:
        record(session, run_id, "note", NASTY)
    finish(database, run_id)
    for path in ("/", f"/runs/{run_id}", f"/runs/{run_id}/log", f"/compare?run={run_id}"):
        answer = client.get(path).text
        assert "<script>alert" not in answer
    assert "&lt;script&gt;alert" in client.get(f"/runs/{run_id}").text


def test_tables_can_be_read_and_downloaded_and_hold_the_rows_of_the_database(database, client, tmp_path):
    run_id = submit(database)
    finish(database, run_id)
    with database.reading() as session:
        expected = views.table(session, run_id, "scores")
    base = f"/runs/{run_id[:-1]}/tables/scores"
    answer = client.get(f"{base}.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="{run_id}-scores.csv"'
    as_csv = list(csv.DictReader(io.StringIO(answer.text)))
    as_json = client.get(f"{base}.json").json()
    (tmp_path / "rows").write_bytes(client.get(f"{base}.parquet").content)
    as_parquet = pq.read_table(tmp_path / "rows").to_pylist()
    assert [float(row["value"]) for row in as_csv] == [row["value"] for row in expected]
    assert as_json == json.loads(json.dumps(expected))
    assert as_parquet == expected
    assert list(as_json[0]) == list(COLUMNS["scores"])
    page = client.get(f"{base}?family=ridge&variable=B").text
    wanted = [row for row in expected if (row["family"], row["variable"]) == ("ridge", "B")]
    shown = rows_of(page, "Page 1 of 1")
    value = COLUMNS["scores"].index("value") - 1
    assert [row[value] for row in shown] == [f"{row['value']:.3f}" for row in wanted]
    assert f"{len(wanted)} rows" in page


def test_a_long_table_has_pages(database, client):
    run_id = submit(database)
    finish(database, run_id)
    with database.transaction() as session:
        unit = session.scalars(select(Unit.id).where(Unit.run_id == run_id)).first()
        session.add_all(
            Summary(run_id=run_id, unit_id=unit, attempt=1, name=f"n{number:04}", value=0.5)
            for number in range(700)
        )
    base = f"/runs/{run_id}/tables/summary"
    pages = [rows_of(client.get(f"{base}?page={number}").text, " of 3") for number in (1, 2, 3, 9)]
    assert [len(rows) for rows in pages] == [300, 300, 101, 101]
    assert len(client.get(f"{base}.json").json()) == 701


def test_two_runs_stand_side_by_side_with_their_differences(database, client, tmp_path):
    first, second = submit(database), submit(database)
    finish(database, first)
    finish(database, second, shift=0.05)
    query = f"run={first}&run={second}"
    page = client.get(f"/compare?{query}").text
    assert "87.5" in page
    assert "92.5" in page
    base, escaped = "/compare/differences", query.replace("&", "&amp;")
    for family in ("mlp", "ridge"):
        for place in (base, "/compare/figures"):
            assert f'src="{place}/{family}.png?{escaped}"' in page
    assert "untrained.png" not in page
    rows = client.get(f"{base}.json?{query}").json()
    cells = [row for row in rows if row["metric"] == "pearson"]
    assert [row["difference"] for row in cells] == pytest.approx([0.05] * len(cells))
    shown = rows_of(page, "Differences by variable, probe family and token")
    assert [row[-5] for row in shown] == ["0.050"] * len(rows)
    (tmp_path / "rows").write_bytes(client.get(f"{base}.parquet?{query}").content)
    assert pq.read_table(tmp_path / "rows").to_pylist() == rows
    assert len(client.get(f"{base}.csv?{query}").text.splitlines()) == len(rows) + 1
    assert client.get(f"/compare?run={first}&run=nobody").status_code == 404
    assert "Choose two runs" in client.get("/compare").text
    assert "Choose a second run" in client.get(f"/compare?run={first}&run={first}&run=").text


def test_runs_that_cannot_be_compared_cell_by_cell_still_stand_side_by_side(database, client):
    first, second = submit(database), submit(database)
    finish(database, first)
    query = f"run={first}&run={second}"
    page = client.get(f"/compare?{query}")
    assert page.status_code == 200
    assert f"{second} has no scores to compare yet" in page.text
    assert "87.5" in page.text
    assert client.get(f"/compare/differences.csv?{query}").status_code == 404
    assert client.get(f"/compare/differences/ridge.png?{query}").status_code == 404


def test_figures_are_drawn_on_demand_once_and_again_when_the_rows_change(database, client, monkeypatch):
    from arithctl.dashboard import drawing

    drawn = []
    draw = drawing.draw
    monkeypatch.setattr(drawing, "draw", lambda *given: drawn.append(given[0].rows) or draw(*given))
    run_id = submit(database)
    assert client.get(f"/runs/{run_id}/figures/ridge/paper.png").status_code == 404
    finish(database, run_id)
    for name in ("paper", "heatmaps"):
        answer = client.get(f"/runs/{run_id}/figures/ridge/{name}.svg")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert b"<svg" in answer.content
    saved = client.get(f"/runs/{run_id}/figures/ridge/paper.svg?save=1")
    assert saved.headers["content-disposition"] == f'attachment; filename="{run_id}-ridge-fig2.svg"'
    assert len(drawn) == 1
    assert {row["family"] for row in drawn[0]} == {"ridge"}
    with database.transaction() as session:
        session.execute(update(Score).where(Score.run_id == run_id).values(value=0.5, attempt=2))
    assert client.get(f"/runs/{run_id}/figures/ridge/paper.svg").content != saved.content
    assert len(drawn) == 2
    for path in ("ridge/other.png", "nobody/paper.png", "ridge@untrained/paper.png", "ridge/paper.gif"):
        assert client.get(f"/runs/{run_id}/figures/{path}").status_code == 404
    other = submit(database)
    finish(database, other)
    for kind in ("figures", "differences"):
        query = f"run={run_id}&run={other}&save=1"
        answer = client.get(f"/compare/{kind}/ridge.pdf?{query}")
        assert answer.content.startswith(b"%PDF")
        assert answer.headers["content-disposition"].endswith('.pdf"')
        assert client.get(f"/compare/{kind}/nobody.pdf?{query}").status_code == 404


def test_an_older_schema_is_answered_with_what_to_do(database, client):
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = client.get("/")
    assert answer.status_code == 400
    assert "arithctl db upgrade" in answer.text
