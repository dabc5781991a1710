# ruff: noqa: E501 - a change is shown as it stands in the code, and read as one line
"""Take one guard after another out of the ledger; does a story notice? `python tests/acceptance/mutants.py`.

Each mutant is a copy of `arith_shared` with one change; the stories that lean on that guard run against it on SQLite.
A mutant that survives is either a guard that nothing leans on, or one that another guard stands behind. Prints a line
for each and the count; exits with 1 if one survives that is not listed as expected to.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Imported here once, so that no fork need do it.
import alembic.command
import numpy
import psycopg
import pydantic
import pytest
import sqlalchemy.orm

_ONCE = (alembic, numpy, psycopg, pydantic, sqlalchemy)

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "tests/contract/test_contract_stories.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one file, and which stories should notice (an expression for `pytest -k`)."""

    file: str
    old: str
    new: str
    stories: str
    #: Why nothing can notice, where that is so.
    because: str = ""


U, A, P, R, G, C = (
    f"ledger/{name}.py" for name in ("units", "again", "plan", "runs", "garbage", "reconcile")
)
#: Exit status of a try that says nothing.
NO_VERDICT = 70
#: A change that changes nothing: unless all stories survive it, no other verdict means anything.
CONTROL = Mutant(U, "def finish(", "def finish(", "answered_once or counts_what_it_reused")
SECOND = "a second guard stands behind it: "

MUTANTS = (
    # Claims
    Mutant(U, "Unit.attempt == attempt, Unit.state == \"queued\"", "Unit.state == \"queued\"", "attempt_that_is_over"),
    Mutant(U, ", Unit.state == \"queued\", _run_is_active())", ", _run_is_active())", "answered_once"),
    Mutant(U, "Unit.state == \"queued\", _run_is_active())", "Unit.state == \"queued\")", "after_the_cancellation",
           SECOND + "cancelling takes the unit out of `queued`"),
    # The fence
    Mutant(U, "Unit.attempt == held.attempt, Unit.owner == held.owner]", "Unit.attempt == held.attempt]",
           "numbers_now or lost_its_lease"),
    Mutant(U, "Unit.attempt == held.attempt, Unit.owner == held.owner]", "Unit.owner == held.owner]",
           "lost_its_lease or gave_its_unit", SECOND + "an owner token belongs to one attempt"),
    Mutant(U, "return [*_is_of(held), Unit.state == \"running\"]", "return _is_of(held)", "has_finished_may"),
    Mutant(U, "_held(held, _run_is_active()).values(\n            lease_until", "_held(held).values(\n            lease_until",
           "cancelled_run_ends_when"),
    Mutant(U, "where(*_is_held(held), _run_is_active()).with_for_update()", "where(*_is_held(held)).with_for_update()",
           "cancelled_run_ends_when"),
    Mutant(U, "Unit.id).where(*_is_of(held), Unit.state == \"done\")) is not None", "Unit.id).where(Unit.id == held.unit_id, Unit.state == \"done\")) is not None",
           "lost_its_lease"),
    # Finishing
    Mutant(U, " or (reused and not _is_kept(session, artifact))", "", "reused_must_still"),
    Mutant(U, "Artifact.key == artifact.key, Artifact.path == artifact.path)", "Artifact.key == artifact.key)", "reused_must_still"),
    Mutant(U, "kept.where(Artifact.deleted_at.is_(None)).with_for_update()", "kept.with_for_update()", "reused_must_still"),
    Mutant(U, "unit.reused = \"done\", artifact.key, reused", "unit.reused = \"done\", artifact.key, False", "counts_what_it_reused"),
    Mutant(U, "    stage.reused += int(reused)\n", "", "counts_what_it_reused"),
    Mutant(U, "\"reused\" if reused else \"done\"", "\"done\"", "counts_what_it_reused"),
    Mutant(U, "    stage.done += 1\n", "", "answered_once"),
    Mutant(U, ", \"deleted_at\": None}", "}", "reused_must_still"),
    # Failing, giving back, expiring
    Mutant(U, "    unit = session.scalar(select(Unit).where(*_is_held(held)))\n    if stage", "    unit = session.get(Unit, held.unit_id)\n    if stage",
           "lost_its_lease"),
    Mutant(U, "unit.failures < MAX_FAILURES", "True", "given_up_after_three"),
    Mutant(U, "        unit.attempt += 1\n        unit.resend_at", "        unit.resend_at", "given_up_after_three"),
    Mutant(U, "if run_is_active and not permanent", "if not permanent", "lease_lost_in_a_failed or however_its_last"),
    Mutant(U, "stage.failed += int(run_is_active)", "stage.failed += 1", "lease_lost_in_a_failed"),
    Mutant(U, "unit.state = \"failed\" if run_is_active else \"cancelled\"", "unit.state = \"failed\"", "lease_lost_in_a_failed"),
    Mutant(U, "        plan.settle_cancelled(session, unit.run_id)\n    elif", "        pass\n    elif", "however_its_last"),
    Mutant(U, "unit.not_before = now() + delay", "unit.not_before = 0.0", "attempt_that_is_over"),
    Mutant(U, "\"attempt\": Unit.attempt + 1, ", "", "given_up_after_three"),
    Mutant(U, "    if over:\n        values =", "    if False:\n        values =", "however_its_last"),
    Mutant(U, "    if over:\n        plan.settle", "    if False:\n        plan.settle", "however_its_last"),
    Mutant(U, "Unit.state == \"running\", Unit.lease_until < now())\n    if run_id", "Unit.state == \"running\")\n    if run_id", "lease_that_is_kept"
           , SECOND + "the unit is looked at again under the stage's lock"),
    Mutant(U, "        silent = silent.where(Unit.run_id == run_id)", "        pass", "cancelling_one_run"),
    # Again
    Mutant(A, "\"ready\", unit.attempt + 1, 0", "\"ready\", unit.attempt, 0", "reused or fresh_start"),
    Mutant(A, "\"ready\", unit.attempt + 1, 0", "\"ready\", unit.attempt + 1, unit.failures", "fresh_start"),
    Mutant(A, "unit.sends, unit.ended_at = 0.0, None, 0, None", "unit.sends, unit.ended_at = unit.not_before, None, 0, None", "fresh_start"),
    Mutant(A, "unit.sends, unit.ended_at = 0.0, None, 0, None", "unit.sends, unit.ended_at = 0.0, None, 0, unit.ended_at", "fresh_start"),
    Mutant(A, "        session.execute(delete(table).where(table.unit_id == unit.id))", "        pass", "counts_what_it_reused or repaired_summary"),
    Mutant(A, "    stage.done -= 1\n", "", "counts_what_it_reused"),
    Mutant(A, "    stage.reused -= int(unit.reused)\n", "", "counts_what_it_reused"),
    Mutant(A, "unit.reused = \"cancelled\", None, False", "unit.reused = \"cancelled\", None, unit.reused", "counts_what_it_reused"),
    Mutant(A, "        stage.failed -= int(unit.state == \"failed\")\n", "", "failed_run_keeps"),
    Mutant(A, "        unit.content_key = content_keys[unit.key]\n", "", "another_model"),
    Mutant(A, "if same and unit.state not in", "if unit.state not in", "another_model"),
    Mutant(A, "if same and unit.state not in", "if False and unit.state not in", "same_model_again"),
    Mutant(A, ".values(used_at=now())", ".values(used_at=Artifact.used_at)", "resumed_run_has_read"),
    # Stages and runs
    Mutant(P, "stage.state != \"open\" or ", "", "failed_run_keeps or however_its_last",
           SECOND + "only units of an active run get there, and its stage is open"),
    Mutant(P, " or stage.done + stage.failed < stage.total:", ":", "answered_once or failed_run_keeps"),
    Mutant(P, "    cancel_waiting(session, run_id)\n    session.execute(\n        update(Stage)", "    session.execute(\n        update(Stage)", "failed_run_keeps"),
    Mutant(P, "Stage.run_id == run_id, Stage.state == \"open\")\n        .values(state=\"failed\"", "Stage.run_id == run_id)\n        .values(state=\"failed\"", "failed_run_keeps"),
    Mutant(P, "Unit.state.in_((\"ready\", \"queued\")))\n        .values", "Unit.state.in_((\"ready\", \"queued\", \"running\")))\n        .values", "failed_run_keeps"),
    Mutant(P, "Unit.state.in_((\"ready\", \"queued\")))\n        .values", "Unit.state.in_((\"ready\",)))\n        .values", "after_the_cancellation"),
    Mutant(P, "if held is None and state == \"cancelling\"", "if state == \"cancelling\"", "cancelled_run_ends_when"),
    Mutant(P, "if held is None and state == \"cancelling\"", "if held is None", "however_its_last or failed_run_keeps",
           SECOND + "a run that is over is not ended again"),
    Mutant(P, "if stage.state != \"done\" or stage.done < stage.total)", "if stage.state != \"done\")", "counts_what_it_reused"),
    Mutant(P, "        advance(session, stage)\n\n\ndef _insert", "\n\ndef _insert", "same_model_again"),
    # People
    Mutant(R, "Run.id == run_id, Run.state == \"active\")", "Run.id == run_id)", "cancelled_run_ends_when or what_is_over"),
    Mutant(R, "    plan.cancel_waiting(session, run_id)\n", "", "after_the_cancellation"),
    Mutant(R, "    units.expire(session, 0.0, run_id=run_id)\n    plan.settle_cancelled(session, run_id)\n    return True", "    plan.settle_cancelled(session, run_id)\n    return True", "numbers_now"),
    Mutant(R, "    if run.state not in RUN_OVER:\n        return 0\n", "", "cancelled_run_ends_when or what_is_over"),
    Mutant(R, "    if run.state == \"done\" and not lost:\n        return 0\n", "", "what_is_over"),
    Mutant(R, "    if lost and _is_held(session, run_id):", "    if False:", "under_its_hands"),
    Mutant(R, "run.state == \"cancelling\" or _is_held(session, run_id)", "run.state == \"cancelling\"", "under_its_hands"),
    # Garbage
    Mutant(G, "        Artifact.used_at == spare.used_at,\n", "", "resumed_run_has_read or used_since"),
    Mutant(G, "delete(Artifact).where(*_unused_since(spare), _is_unreferenced())", "delete(Artifact).where(*_unused_since(spare))", "wants",
           ),
    Mutant(G, "update(Artifact).where(*_unused_since(spare), _is_spare())", "update(Artifact).where(*_unused_since(spare))", "only_hidden"),
    Mutant(G, "(Artifact.kind == \"states\") & ~wanted", "~wanted", "only_hidden"),
    Mutant(G, "Run.id == Unit.run_id, Run.state.not_in(RUN_OVER)\n    )\n    return (Artifact", "Run.id == Unit.run_id, Run.state == \"nothing\"\n    )\n    return (Artifact", "wanted_by_a_run"),
    # The reconciler
    Mutant(C, "Unit.state == \"ready\", Unit.not_before <= now(), Run", "Unit.state == \"ready\", Run", "attempt_that_is_over"),
)  # fmt: skip


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether all stories pass that should not, or none was there."""
    copy = folder / "arith_shared"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "shared/arith_shared", copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file}: expected once, found {text.count(mutant.old)} times: {mutant.old}")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(_verdict(folder, mutant.stories))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise SystemExit(f"{mutant.file}: pytest ended with {code} for -k {mutant.stories!r}")
    return code == 0


def _verdict(folder: Path, stories: str) -> int:
    """Pytest's exit status, with the mutated copy in place of the real package."""
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    chosen = f"sqlite and ({stories})"
    try:
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", str(STORIES), "-k", chosen]))
    except BaseException:  # noqa: BLE001 - whatever it is, no story failed
        return NO_VERDICT


def main() -> None:
    """Try all, or those whose change or stories contain one of the arguments."""
    wanted = [m for m in MUTANTS if not sys.argv[1:] or any(arg in m.old + m.stories for arg in sys.argv[1:])]
    left = unexpected = 0
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as name:
        if not survives(CONTROL, Path(name)):
            raise SystemExit("the stories fail on the ledger as it is")
        for mutant in wanted:
            lives = survives(mutant, Path(name))
            left += lives
            unexpected += lives and not mutant.because
            word = ("survives" + (f" ({mutant.because})" if mutant.because else "")) if lives else "killed"
            change = " ".join(mutant.old.split()), " ".join(mutant.new.split())
            sys.stdout.write(f"{mutant.file}: {change[0]!r} -> {change[1]!r}: {word}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(wanted) - left} of {len(wanted)} killed, {unexpected} unexpected survivors\n")
    sys.exit(1 if unexpected else 0)


if __name__ == "__main__":
    main()
