"""What always holds between two transactions, each as one query for its counterexamples.

I1  A unit has at most one live owner.            I5  What is over stays over, unless a person resumes its run.
I2  Done means: one artifact, one set of rows.    I6  Whatever is not over will be touched by the reconciler.
I3  Stages go in order, and count their units.    I7  A stage whose units are all over does not stay open.
I4  An attempt is used once.                      I8  No two attempts write under the same name.

Tests ask after every step; nothing else depends on this module. The queries repeat in plain SQL, which SQLite
and PostgreSQL read alike, what the code that changes the rows promises, and share nothing with that code: a
wrong idea would otherwise judge itself. I5 needs two moments and so is a comparison: `ends`, then `undone`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Invariant:
    """A promise, and a query whose only column names each row that breaks it."""

    name: str
    promise: str
    query: str


INVARIANTS = (
    Invariant(
        "I1",
        "a running unit has an open attempt of its owner",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        WHERE u.state = 'running' AND NOT EXISTS (
            SELECT 1 FROM attempts a WHERE a.unit_id = u.id AND a.number = u.attempt
            AND a.owner = u.owner AND a.ended_at IS NULL)
        """,
    ),
    Invariant(
        "I1",
        "an open attempt is the current one of a running unit",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key || ' attempt ' || a.number
        FROM attempts a JOIN units u ON u.id = a.unit_id
        WHERE a.ended_at IS NULL AND (u.state <> 'running' OR a.number <> u.attempt)
        """,
    ),
    Invariant(
        "I1",
        "only a running unit has a lease",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        WHERE u.state <> 'running' AND u.lease_until IS NOT NULL
        """,
    ),
    Invariant(
        "I2",
        "a unit names an artifact, that of its content key, if and only if it is done",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        LEFT JOIN artifacts a ON a.key = u.artifact_key
        WHERE (u.state = 'done' AND (a.key IS NULL OR a.key <> u.content_key))
        OR (u.state <> 'done' AND u.artifact_key IS NOT NULL)
        """,
    ),
    Invariant(
        "I2",
        "the attempt that finished a unit is recorded as done, or as reused if the unit says so",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        WHERE u.state = 'done' AND NOT EXISTS (
            SELECT 1 FROM attempts a WHERE a.unit_id = u.id AND a.number = u.attempt
            AND a.outcome = CASE WHEN u.reused THEN 'reused' ELSE 'done' END)
        """,
    ),
    Invariant(
        "I2",
        "a result row is of a done unit of its run, and of the attempt that finished it",
        """
        SELECT r.origin || ' row of ' || u.run_id || ' ' || u.stage || '/' || u.key || ' attempt ' || r.attempt
        FROM (SELECT 'scores' AS origin, run_id, unit_id, attempt FROM scores
              UNION SELECT 'summary', run_id, unit_id, attempt FROM summary
              UNION SELECT 'emergence', run_id, unit_id, attempt FROM emergence) r
        JOIN units u ON u.id = r.unit_id
        WHERE u.state <> 'done' OR u.attempt <> r.attempt OR u.run_id <> r.run_id
        """,
    ),
    Invariant(
        "I2",
        "a done block of probes has scores, a done summary has figures",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        WHERE u.state = 'done' AND (
            (u.stage LIKE 'probe%' AND NOT EXISTS (SELECT 1 FROM scores r WHERE r.unit_id = u.id))
            OR (u.stage = 'summarize' AND NOT EXISTS (SELECT 1 FROM summary r WHERE r.unit_id = u.id)))
        """,
    ),
    Invariant(
        "I3",
        "a stage has begun only if all stages before it are done",
        """
        SELECT s.run_id || ' ' || s.name FROM stages s
        WHERE s.state <> 'waiting' AND EXISTS (
            SELECT 1 FROM stages b WHERE b.run_id = s.run_id AND b.ordinal < s.ordinal AND b.state <> 'done')
        """,
    ),
    Invariant(
        "I3",
        "a done stage has units, and all of them are done",
        """
        SELECT s.run_id || ' ' || s.name FROM stages s
        LEFT JOIN units u ON u.run_id = s.run_id AND u.stage = s.name
        WHERE s.state = 'done' AND (u.id IS NULL OR u.state <> 'done')
        """,
    ),
    Invariant(
        "I3",
        "a run is done if and only if all its stages are",
        """
        SELECT r.id FROM runs r JOIN stages s ON s.run_id = r.id GROUP BY r.id, r.state
        HAVING (r.state = 'done') <> (SUM(CASE WHEN s.state = 'done' THEN 0 ELSE 1 END) = 0)
        """,
    ),
    Invariant(
        "I3",
        "the counters of a stage are the counts of its units",
        """
        SELECT s.run_id || ' ' || s.name FROM stages s
        LEFT JOIN units u ON u.run_id = s.run_id AND u.stage = s.name
        GROUP BY s.run_id, s.name, s.total, s.done, s.reused, s.failed
        HAVING s.total <> COUNT(u.id)
        OR s.done <> SUM(CASE WHEN u.state = 'done' THEN 1 ELSE 0 END)
        OR s.reused <> SUM(CASE WHEN u.reused THEN 1 ELSE 0 END)
        OR s.failed <> SUM(CASE WHEN u.state = 'failed' THEN 1 ELSE 0 END)
        """,
    ),
    Invariant(
        "I4",
        # Below that there may be gaps: a unit that was cancelled before anybody claimed it and then resumed.
        "attempts are numbered from 1 to the unit's current one",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key || ' attempt ' || a.number
        FROM attempts a JOIN units u ON u.id = a.unit_id
        WHERE a.number < 1 OR a.number > u.attempt
        """,
    ),
    Invariant(
        "I4",
        "a unit that waits for a worker waits under an attempt that nobody has used",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key || ' attempt ' || a.number
        FROM units u JOIN attempts a ON a.unit_id = u.id AND a.number = u.attempt
        WHERE u.state IN ('ready', 'queued')
        """,
    ),
    Invariant(
        "I4",
        "an attempt begins after the one before it has ended, and has an outcome once it has ended",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key || ' attempt ' || a.number
        FROM attempts a JOIN units u ON u.id = a.unit_id
        WHERE (a.ended_at IS NULL) <> (a.outcome IS NULL) OR EXISTS (
            SELECT 1 FROM attempts b WHERE b.unit_id = a.unit_id AND b.number < a.number
            AND (b.ended_at IS NULL OR b.ended_at > a.started_at))
        """,
    ),
    Invariant(
        "I5",
        "runs and units have an end if and only if they are over",
        """
        SELECT r.id FROM runs r WHERE (r.state IN ('done', 'failed', 'cancelled')) <> (r.ended_at IS NOT NULL)
        UNION ALL
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        WHERE (u.state IN ('done', 'failed', 'cancelled')) <> (u.ended_at IS NOT NULL)
        """,
    ),
    Invariant(
        "I6",
        "a unit waits for a worker only in the open stage of an active run",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key || ' is ' || u.state FROM units u
        JOIN runs r ON r.id = u.run_id JOIN stages s ON s.run_id = u.run_id AND s.name = u.stage
        WHERE u.state IN ('ready', 'queued') AND (r.state <> 'active' OR s.state <> 'open')
        """,
    ),
    Invariant(
        "I6",
        "a unit runs only in a stage that has begun and is not done",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        JOIN stages s ON s.run_id = u.run_id AND s.name = u.stage
        WHERE u.state = 'running' AND s.state NOT IN ('open', 'failed')
        """,
    ),
    Invariant(
        "I6",
        "a queued unit will be sent again",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        WHERE u.state = 'queued' AND u.resend_at IS NULL
        """,
    ),
    Invariant(
        "I6",
        "an active run has one open stage",
        """
        SELECT r.id FROM runs r LEFT JOIN stages s ON s.run_id = r.id AND s.state = 'open'
        WHERE r.state = 'active' GROUP BY r.id HAVING COUNT(s.name) <> 1
        """,
    ),
    Invariant(
        "I7",
        "the open stage of an active run has a unit to wait for",
        """
        SELECT s.run_id || ' ' || s.name FROM stages s JOIN runs r ON r.id = s.run_id
        WHERE r.state = 'active' AND s.state = 'open' AND NOT EXISTS (
            SELECT 1 FROM units u WHERE u.run_id = s.run_id AND u.stage = s.name
            AND u.state IN ('ready', 'queued', 'running'))
        """,
    ),
    Invariant(
        "I7",
        "the open stage of an active run has no cancelled unit, for which it would wait in vain",
        """
        SELECT u.run_id || ' ' || u.stage || '/' || u.key FROM units u
        JOIN runs r ON r.id = u.run_id JOIN stages s ON s.run_id = u.run_id AND s.name = u.stage
        WHERE r.state = 'active' AND s.state = 'open' AND u.state = 'cancelled'
        """,
    ),
    Invariant(
        "I8",
        "no two artifacts have the same path",
        "SELECT a.path FROM artifacts a GROUP BY a.path HAVING COUNT(*) > 1",
    ),
    Invariant(
        "I8",
        "an artifact's path is its kind, its key, and a token",
        "SELECT a.path FROM artifacts a WHERE a.path NOT LIKE a.kind || '/' || a.key || '/_%'",
    ),
)

#: Units of a waiting stage are left out: when a resumed run gets there, they may have to be done again.
_OVER = """
    SELECT r.id, 'the run', r.state FROM runs r WHERE r.state IN ('done', 'failed', 'cancelled')
    UNION ALL
    SELECT s.run_id, 'stage ' || s.name, s.state FROM stages s WHERE s.state IN ('done', 'failed')
    UNION ALL
    SELECT u.run_id, 'unit ' || u.stage || '/' || u.key, u.state || ' in attempt ' || u.attempt
    FROM units u JOIN stages s ON s.run_id = u.run_id AND s.name = u.stage
    WHERE u.state IN ('done', 'failed', 'cancelled') AND s.state <> 'waiting'
"""
_RESUMED = """
    SELECT r.id, COUNT(e.id) FROM runs r LEFT JOIN events e ON e.run_id = r.id AND e.kind = 'resumed'
    GROUP BY r.id
"""


@dataclass(frozen=True, slots=True)
class Ends:
    """What was over at one moment."""

    #: State by (run, what of it).
    states: Mapping[tuple[str, str], str]
    #: How often each run had been resumed; a run that is missing does not exist.
    resumed: Mapping[str, int]


def violations(session: Session) -> list[str]:
    """A sentence for each counterexample to an invariant, none if all hold."""
    return [
        f"{invariant.name}: {invariant.promise}; not so: {offender}"
        for invariant in INVARIANTS
        for offender in session.scalars(text(invariant.query))
    ]


def ends(session: Session) -> Ends:
    """What is over now."""
    states = {(run_id, what): state for run_id, what, state in session.execute(text(_OVER))}
    return Ends(states, {run_id: count for run_id, count in session.execute(text(_RESUMED))})


def undone(before: Ends, after: Ends) -> list[str]:
    """A sentence for each end that was taken back although nobody resumed or deleted the run (I5)."""
    return [
        f"I5: what is over stays over; not so: {what} of {run_id} was {state}, is {after.states.get((run_id, what))}"
        for (run_id, what), state in before.states.items()
        if after.resumed.get(run_id) == before.resumed[run_id] and after.states.get((run_id, what)) != state
    ]
