"""`compare` on rows in the ledger: which sides there are, what is said, and what is refused."""

from __future__ import annotations

import pytest

from arith_shared.ledger import groups, runs
from arith_shared.ledger.groups import Member
from arith_shared.ledger.tables import Score, Unit
from arith_shared.testing import fresh_database, small_spec


@pytest.fixture
def ledger(home):
    opened = fresh_database(f"sqlite:///{home / 'arith.db'}")
    yield opened
    opened.close()


def add_scores(session, run_id, value):
    unit = session.query(Unit).filter_by(run_id=run_id).first()
    for position, token in enumerate("A="):
        session.add(
            Score(
                run_id=run_id, unit_id=unit.id, attempt=1, layer=0, position=position, token=token,
                variable="B", family="ridge", metric="pearson", value=value, ci_low=value - 0.1,
                ci_high=value + 0.1, n_train=20, n_eval=10, ceiling=1.0, control=0.0, given=False, status="ok",
            )
        )  # fmt: skip


def run_of(ledger, value):
    with ledger.transaction() as session:
        run_id = runs.submit(session, small_spec(), recipe="tiny").id
        add_scores(session, run_id, value)
    return run_id


def group_of(ledger, values):
    members = [Member(small_spec().model_copy(update={"seed": seed}), {"seed": seed}) for seed in values]
    with ledger.transaction() as session:
        group, made = groups.submit(session, members, recipe="tiny")
        for run_id, value in zip(made, values.values(), strict=True):
            add_scores(session, run_id, value)
    return group


def test_the_first_run_is_the_baseline_and_the_number_of_cells_is_said(cli, ledger):
    low, high = run_of(ledger, 0.4), run_of(ledger, 0.6)
    ran = cli("compare", low, high, "--json")
    assert [(row["run"], row["baseline"], row["difference"]) for row in ran.json] == [
        (high, low, pytest.approx(0.2))
    ] * 2
    assert f"Baseline: {low}." in ran.err
    assert "2 of 2 cells are not paired" in ran.err
    assert "2 cells, each with a 95 % interval of its own" in ran.err


def test_groups_are_compared_by_their_means_over_seeds(cli, ledger):
    low, high = group_of(ledger, {1: 0.3, 2: 0.5}), group_of(ledger, {1: 0.4, 2: 0.7})
    ran = cli("compare", low, high, "--json")
    assert [(row["difference"], row["n"], row["paired"]) for row in ran.json] == [
        (pytest.approx(0.15), 2, True)
    ] * 2
    assert "Intervals are Student's over runs" in ran.err


def test_a_figure_is_drawn_in_the_format_that_its_name_ends_in(cli, ledger, tmp_path):
    names = run_of(ledger, 0.4), run_of(ledger, 0.6)
    assert cli("compare", *names, "--figure", str(tmp_path / "d.svg")).code == 0
    assert (tmp_path / "d.svg").read_text().startswith("<?xml")
    refused = cli("compare", *names, "--figure", str(tmp_path / "d.gif"))
    assert (refused.code, "expected figure formats among png, pdf, svg" in refused.err) == (2, True)


def test_one_side_or_a_run_beside_seeds_is_refused(cli, ledger):
    run, group = run_of(ledger, 0.4), group_of(ledger, {1: 0.3, 2: 0.5})
    for names, message in (((run,), "at least two runs"), ((run, group), "no interval over seeds")):
        ran = cli("compare", *names)
        assert (ran.code, message in ran.err) == (2, True)


def test_runs_without_scores_say_what_to_wait_for(cli, ledger):
    with ledger.transaction() as session:
        bare = runs.submit(session, small_spec(), recipe="tiny").id
    ran = cli("compare", run_of(ledger, 0.4), bare)
    assert (ran.code, f"{bare} has no scores to compare yet" in ran.err) == (2, True)
