"""A sweep is submitted whole or not at all, is found by name, and ends with its last run."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from arith_shared.errors import RunNotFoundError, UserError
from arith_shared.ledger import groups, runs
from arith_shared.ledger.groups import Member
from arith_shared.ledger.tables import Run
from arith_shared.testing import small_spec


def sweep(*seeds):
    return [Member(small_spec().model_copy(update={"seed": seed}), {"seed": seed}) for seed in seeds]


def submit(database, *seeds, key=None, recipe="tiny"):
    with database.transaction() as session:
        return groups.submit(session, sweep(*seeds), recipe=recipe, key=key)


def test_runs_of_a_group_know_their_values_and_keep_the_order_of_the_sweep(database):
    group, made = submit(database, 3, 1, 2)
    with database.reading() as session:
        found = groups.find(session, group)
        assert [run.id for run in found.runs] == made
        assert [run.swept for run in found.runs] == [{"seed": 3}, {"seed": 1}, {"seed": 2}]
        assert found.is_group


def test_a_name_stands_for_a_run_a_group_or_what_was_submitted_last(database):
    with database.transaction() as session:
        alone = runs.submit(session, small_spec(), recipe="other").id
    group, made = submit(database, 1, 2)
    with database.reading() as session:
        assert groups.find(session, group[:-2]).id == group
        assert groups.find(session, "last").id == group
        assert groups.find(session, made[0]).runs[0].id == made[0]
        assert [run.id for run in groups.find_all(session, ["other", group, made[1]])] == [alone, *made]
    with database.transaction() as session:
        newer = runs.submit(session, small_spec(), recipe="other").id
    with database.reading() as session:
        assert groups.find(session, "last").id == newer


def test_an_ambiguous_or_unknown_name_says_what_there_is(database):
    first, _ = submit(database, 1)
    second, _ = submit(database, 1)
    with database.reading() as session:
        with pytest.raises(RunNotFoundError, match="could be any of 2 groups") as error:
            groups.find(session, "group-tiny")
        assert first in str(error.value)
        assert second in str(error.value)
        with pytest.raises(RunNotFoundError, match="no run is called 'nothing'"):
            groups.find(session, "nothing")


def test_a_prefix_of_a_group_and_of_a_run_is_ambiguous(database):
    group, _ = submit(database, 1)
    with database.transaction() as session:
        run = runs.submit(session, small_spec(), recipe="group-x").id
    with database.reading() as session:
        with pytest.raises(RunNotFoundError, match="could be") as error:
            groups.find(session, "group-")
        assert group in str(error.value)
        assert run in str(error.value)


def test_nothing_of_a_sweep_exists_if_one_run_cannot_be_made(database):
    broken = [*sweep(1), Member(None, {"seed": 2})]
    with pytest.raises(AttributeError), database.transaction() as session:
        groups.submit(session, broken, recipe="tiny")
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0


def test_a_sweep_repeated_with_its_key_is_the_one_of_before(database):
    group, made = submit(database, 1, 2, key="k")
    with database.reading() as session:
        assert groups.of_key(session, sweep(1, 2), recipe="tiny", key="k") == (group, made)
        assert groups.of_key(session, sweep(1, 2), recipe="tiny", key="other") is None
        with pytest.raises(UserError, match="another sweep"):
            groups.of_key(session, sweep(1, 2, 3), recipe="tiny", key="k")
    with pytest.raises(IntegrityError):
        submit(database, 1, 2, key="k")


def test_a_group_ends_with_its_last_run(database):
    group, made = submit(database, 1, 2)
    for left, run in zip((1, 0), made, strict=True):
        with database.transaction() as session:
            runs.cancel(session, run)
            runs.delete(session, run)
        with database.reading() as session:
            if left:
                assert len(groups.find(session, group).runs) == left
    with database.reading() as session, pytest.raises(RunNotFoundError):
        groups.find(session, group)
