"""What `arithctl report` and `arithctl compare` show, for pages; kept while their runs stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from arith_shared.analysis.panel import UNTRAINED_SUFFIX
from arith_shared.ledger import groups, runs
from arith_shared.ledger.tables import Score
from arithctl import comparison, report
from arithctl.dashboard.kept import Kept, Stamp, stamp
from arithctl.dashboard.ledger import Ledger

#: Reports kept; one of paper size takes about 10 MB.
_REPORTS = 8
_COMPARISONS = 16

#: Paths of the scripts that draw charts, in the order in which they must run.
SCRIPTS = tuple(f"/static/report/{name}" for name in report.SCRIPTS)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Charts:
    """A part of a page with charts, and the element with their numbers."""

    body: Markup
    data: Markup


@dataclass(frozen=True, slots=True)
class Differences:
    """A comparison's rows, and what must be said about any of them."""

    rows: tuple[Row, ...]
    baseline: str
    remarks: Callable[[Sequence[Mapping[str, Any]]], Sequence[str]]
    stamp: Stamp


class Reports:
    """Reports and comparisons of runs; safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        """Makes nothing yet."""
        self._ledger = ledger
        self._charts: Kept[Charts] = Kept(_REPORTS)
        self._differences: Kept[Differences] = Kept(_COMPARISONS)

    def of_run(self, run_id: str) -> Charts:
        """The report of one run, without what the page around it shows."""
        with self._ledger.reading() as session:
            mark = ("run", stamp(session, [runs.find(session, run_id)]))

        def make() -> Charts:
            data = self._collect([run_id])
            return Charts(report.fragment(data, within=True), report.data_script(data))

        return self._charts.get(mark, make)

    def together(self, names: Sequence[str]) -> Charts:
        """The part of a report that shows several runs side by side."""
        with self._ledger.reading() as session:
            mark = ("together", stamp(session, groups.find_all(session, names)))

        def make() -> Charts:
            data = self._collect(names)
            return Charts(report.together(data), report.data_script(data))

        return self._charts.get(mark, make)

    def differences(self, names: Sequence[str]) -> Differences:
        """How the runs or groups differ from the first one.

        Raises UserError for what cannot be compared, RunNotFoundError for a run without scores.
        """
        with self._ledger.reading() as session:
            sides = comparison.arms(session, names)
            mark = ("differences", *names, stamp(session, groups.find_all(session, names)))

        def make() -> Differences:
            rows = comparison.compared(self._ledger.database, self._ledger.settings, sides)
            about = partial(comparison.remarks, seeds=len(sides[0].runs) > 1)
            return Differences(tuple(rows), sides[0].label, about, mark)

        return self._differences.get(mark, make)

    def _collect(self, names: Sequence[str]) -> report.ReportData:
        store, unreadable = report.store_for(self._ledger.settings, names)
        return report.collect(self._ledger.database, names, store, unreadable=unreadable)


def scored_families(session: Session, run_id: str) -> list[str]:
    """Probe families that a run has scores of; those of the untrained LM are no findings."""
    query = select(Score.family).where(Score.run_id == run_id).distinct().order_by(Score.family)
    return [family for family in session.scalars(query) if not family.endswith(UNTRAINED_SUFFIX)]
