"""`arithctl results --table claims` judges what stands in the database, one run or two."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import insert, update

from arith_shared.ledger.tables import Run, Score, Summary, Unit
from arith_shared.problems import ceiling
from arith_shared.specs import parse_spec
from arithctl import recipes

TOKENS = "A=1+B,B=2+3,C=4+5;A="


def finish(database, run_id: str, best_c: float) -> None:
    """Give a run the rows of a model in which B and A are readable at once, and C at `best_c`."""
    with database.transaction() as session:
        run = session.get(Run, run_id)
        ceilings = ceiling(parse_spec(run.spec).task.evaluation(), "none")
        by = {"unit_id": session.query(Unit.id).filter_by(run_id=run_id).scalar(), "attempt": 1}
        best = {"A": lambda p: 0.99 if p >= 10 else 0.6, "B": lambda p: 0.99 if p >= 10 else 0.5,
                "C": lambda p: best_c if p == 17 else 0.1}  # fmt: skip
        scores = [
            {
                "run_id": run_id, "layer": 1, "position": p, "token": token, "variable": variable,
                "family": "ridge", "metric": "pearson", "value": r(p), "ci_low": r(p) - 0.01,
                "ci_high": min(1.0, r(p) + 0.01), "n_train": 4_000, "n_eval": 2_000,
                "ceiling": float(ceilings[p, "ABC".index(variable)]), "control": 0.0, "given": False,
                "status": "ok", **by,
            }
            for p, token in enumerate(TOKENS)
            for variable, r in best.items()
        ]  # fmt: skip
        session.execute(insert(Score), scores)
        accuracy = {"name": "accuracy", "value": 0.99, "ci_low": 0.985, "ci_high": 0.994, "n": 2_000}
        session.execute(insert(Summary), [{"run_id": run_id, **accuracy, **by}])
        session.execute(update(Run).where(Run.id == run_id).values(state="done"))


@pytest.fixture
def pair(cli, submitted, database):
    """A specialised and a general run, both finished."""
    general = cli("submit", "tiny-general", "--json").json["run"]
    finish(database, submitted, 0.66)
    finish(database, general, 0.95)
    return submitted, general


def test_claims_of_a_run_name_sentence_place_measurement_verdict_and_reason(cli, pair):
    rows = cli("results", pair[0], "--table", "claims", "--json").json
    found = {row["claim"]: row for row in rows}
    assert list(rows[0]) == ["run", "claim", "source", "measured", "ci_low", "ci_high", "verdict", "why"]
    b = found["b-after-its-equation/ridge"]
    assert (b["measured"], b["ci_low"], b["ci_high"], b["verdict"]) == (0, 0, 0, "pass")
    assert b["source"].startswith("section 3.2, timing, figure 2: right after B=2+3")
    assert found["accuracy"]["verdict"] == "inconclusive"  # a tiny recipe is judged on orders only
    assert found["c-not-computed/ridge"]["verdict"] == "pass"


def test_two_runs_are_judged_together(cli, pair):
    alone = cli("results", pair[0], "--table", "claims", "--json").json
    both = cli("results", *pair, "--table", "claims", "--json").json
    compared = [row for row in both if row["claim"] == "c-higher-in-general/ridge"]
    assert [row["verdict"] for row in compared] == ["pass"]
    assert compared[0]["measured"] == pytest.approx(0.29)
    assert [row for row in both if row["run"] == pair[0]] == alone


def test_a_run_named_twice_is_one_run(cli, pair):
    once = cli("results", pair[0], "--table", "claims", "--json").json
    assert cli("results", pair[0], pair[0], "--table", "claims", "--json").json == once


@pytest.mark.parametrize("name", ["summary", "scores"])
def test_other_tables_of_several_runs_stand_one_after_the_other(cli, pair, name):
    text = cli("results", *pair, "--table", name, "--format", "csv").out
    assert list(dict.fromkeys(row["run"] for row in csv.DictReader(io.StringIO(text)))) == list(pair)


@pytest.mark.parametrize("format_", ["table", "csv", "markdown", "latex"])
def test_claims_come_in_every_format(cli, pair, format_):
    ran = cli("results", pair[0], "--table", "claims", "--format", format_)
    assert "b-after-its-equation/ridge" in ran.out.replace(r"\_", "_")
    assert "pass" in ran.out


def test_claims_come_as_parquet(cli, pair, tmp_path):
    import pyarrow.parquet as pq

    assert (
        cli("results", pair[0], "--table", "claims", "--format", "parquet", "-o", "claims.parquet").code == 0
    )
    table = pq.read_table(tmp_path / "claims.parquet")
    assert str(table.schema.field("measured").type) == "double"
    assert "pass" in table.column("verdict").to_pylist()


def test_check_exits_with_4_and_names_what_failed(cli, pair, database):
    assert cli("results", pair[0], "--table", "claims", "--check").code == 0
    other = cli("submit", "tiny-specialized", "--json").json["run"]
    finish(database, other, 0.9)
    ran = cli("results", other, "--table", "claims", "--check")
    assert (ran.code, "1 of 7 claims failed: c-not-computed/ridge" in ran.err) == (4, True)
    assert "c-not-computed/ridge" in ran.out  # the table is printed all the same
    assert cli("results", other, "--table", "claims").code == 0


def test_checking_nothing_does_not_pass(cli, submitted):
    ran = cli("results", submitted, "--table", "claims", "--check")
    assert (ran.code, ran.out.splitlines()[1:]) == (4, [])
    assert "has no claims rows yet" in ran.err
    assert "no claim to check" in ran.err


def test_check_without_claims_is_refused(cli, pair):
    ran = cli("results", pair[0], "--check")
    assert (ran.code, "add --table claims" in ran.err) == (2, True)


def test_a_run_about_other_problems_is_told_that_the_paper_says_nothing_of_them(cli, database):
    run = cli("submit", "tiny-specialized", "-s", "task.layout=level-2", "--json").json["run"]
    with database.transaction() as session:
        unit = session.query(Unit.id).filter_by(run_id=run).scalar()
        row = {"name": "accuracy", "value": 1.0, "ci_low": 0.9, "ci_high": 1.0, "n": 9}
        session.execute(insert(Summary), [{"run_id": run, **row, "unit_id": unit, "attempt": 1}])
    ran = cli("results", run, "--table", "claims")
    assert ran.code == 0
    assert "the paper claims nothing about its problems" in ran.err


def test_every_shipped_recipe_has_claims():
    from arith_shared.analysis.claims.evidence import experiment

    assert [name for name in recipes.names() if experiment(recipes.load(name).resolve()) is None] == []


def test_the_papers_own_recipes_are_judged_on_values_and_the_tiny_ones_are_not():
    from arith_shared.analysis.claims.evidence import paper_size

    large = {name for name in recipes.names() if paper_size(recipes.load(name).resolve())}
    assert large == {name for name in recipes.names() if not name.startswith("tiny-")}
