"""Figures on demand: those of `arithctl figures`, made once and kept in memory while their run stays as it is.

Matplotlib's settings belong to the whole process, so one figure is drawn at a time.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import runs
from arith_shared.ledger.tables import Run, Score, Summary
from arithctl.conclude import figure_data
from arithctl.dashboard.ledger import Ledger
from arithctl.figures import FigureData, draw, draw_together

#: File name without its ending, and what is in it.
File = tuple[str, bytes]
#: Files kept; a PNG of a run is 0.2 to 1 MB.
_KEPT = 64
#: What a run's rows were when something was drawn from them: it is drawn anew when they are others.
_Stamp = tuple[object, ...]


class Drawings:
    """Draws figures of runs; safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        """Draws nothing yet."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Stamp, dict[str, File]] = OrderedDict()

    def of_run(self, text: str, family: str, format_: str) -> dict[str, File]:
        """The figures `paper` and `heatmaps` of one family.

        Raises RunNotFoundError if there is no such run, or it has no such scores, and MissingExtraError without
        matplotlib.
        """
        with self._ledger.reading() as session:
            run = runs.find(session, text)
            stamp = ("run", family, format_, _stamp(session, run))

        def make(folder: Path) -> dict[str, File]:
            data = _only(figure_data(self._ledger.database, run.id), family)
            paths = [path for path in draw(data, folder, [format_]) if path.suffix == f".{format_}"]
            return {
                "heatmaps" if path.stem.endswith("-heatmaps") else "paper": (path.stem, path.read_bytes())
                for path in paths
            }

        return self._made(stamp, make)

    def together(self, texts: Sequence[str], family: str, format_: str) -> File:
        """The paper's figure of several runs; raises as `of_run`, and UserError for runs that do not go together."""
        with self._ledger.reading() as session:
            found = list({run.id: run for run in (runs.find(session, text) for text in texts)}.values())
            stamp = ("together", family, format_, *(_stamp(session, run) for run in found))

        def make(folder: Path) -> dict[str, File]:
            data = [_only(figure_data(self._ledger.database, run.id), family) for run in found]
            paths = draw_together(data, folder, [format_])
            return {path.suffix: (path.stem, path.read_bytes()) for path in paths}

        return self._made(stamp, make)[f".{format_}"]

    def _made(self, stamp: _Stamp, make: Callable[[Path], dict[str, File]]) -> dict[str, File]:
        with self._lock:
            if stamp not in self._kept:
                with tempfile.TemporaryDirectory() as folder:
                    self._kept[stamp] = make(Path(folder))
            self._kept.move_to_end(stamp)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[stamp]


def _stamp(session: Session, run: Run) -> _Stamp:
    """Which rows there are and who wrote them: a unit that is done again writes under a new attempt."""
    scores = select(func.count(), func.sum(Score.unit_id), func.sum(Score.attempt)).where(
        Score.run_id == run.id
    )
    summary = select(func.count(), func.sum(Summary.unit_id), func.sum(Summary.attempt)).where(
        Summary.run_id == run.id
    )
    return (run.id, run.name, *session.execute(scores).one(), *session.execute(summary).one())


def _only(data: FigureData, family: str) -> FigureData:
    """The same run with one probe family."""
    if family not in data.families:
        raise RunNotFoundError(f"{data.run} has no scores of {family!r}; it has {', '.join(data.families)}")
    return replace(data, rows=tuple(row for row in data.rows if row["family"] == family))
