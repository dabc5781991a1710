"""Figures on demand, as `arithctl figures` and `compare` draw them; kept while their runs stay as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import groups, runs
from arithctl.conclude import figure_data
from arithctl.dashboard.kept import Kept, Stamp, stamp
from arithctl.dashboard.ledger import Ledger
from arithctl.dashboard.reports import Reports
from arithctl.figures import FigureData, draw, draw_together
from arithctl.figures.draw import draw_differences

#: File name without its ending, and what is in it.
File = tuple[str, bytes]
#: Sets of files kept; a PNG of a run is 0.2 to 1 MB.
_LIMIT = 32


class Drawings:
    """Draws figures of runs, one at a time, since Matplotlib's settings belong to the whole process."""

    def __init__(self, ledger: Ledger, reports: Reports) -> None:
        """Draws nothing yet."""
        self._ledger, self._reports = ledger, reports
        self._kept: Kept[dict[str, File]] = Kept(_LIMIT)

    def of_run(self, text: str, family: str, format_: str) -> dict[str, File]:
        """The figures `paper` and `heatmaps` of one family.

        Raises RunNotFoundError if there is no such run, or it has no such scores, and MissingExtraError without
        matplotlib.
        """
        with self._ledger.reading() as session:
            run = runs.find(session, text)
            found = stamp(session, [run])

        def make(folder: Path) -> dict[str, File]:
            data = _only(figure_data(self._ledger.database, run.id), family)
            paths = [path for path in draw(data, folder, [format_]) if path.suffix == f".{format_}"]
            return {
                "heatmaps" if path.stem.endswith("-heatmaps") else "paper": (path.stem, path.read_bytes())
                for path in paths
            }

        return self._made(("run", family, format_, found), make)

    def together(self, names: Sequence[str], family: str, format_: str) -> File:
        """The paper's figure of several runs; raises as `of_run`, and UserError for runs that do not go together."""
        with self._ledger.reading() as session:
            found = groups.find_all(session, names)
            mark = stamp(session, found)

        def make(folder: Path) -> dict[str, File]:
            data = [_only(figure_data(self._ledger.database, run.id), family) for run in found]
            paths = draw_together(data, folder, [format_])
            return {path.suffix: (path.stem, path.read_bytes()) for path in paths}

        return self._made(("together", family, format_, mark), make)[f".{format_}"]

    def differences(self, names: Sequence[str], family: str, format_: str) -> File:
        """The differences of runs from the first one; raises as `Reports.differences` and `of_run`."""
        found = self._reports.differences(names)
        rows = [row for row in found.rows if row["family"] in (family, None)]
        if all(row["family"] is None for row in rows):
            raise RunNotFoundError(f"the runs have no scores of {family!r} in common")

        def make(folder: Path) -> dict[str, File]:
            (path,) = draw_differences(rows, folder / f"differences-{family}.{format_}", found.remarks)
            return {path.suffix: (path.stem, path.read_bytes())}

        return self._made(("differences", family, format_, found.stamp), make)[f".{format_}"]

    def _made(self, stamped: Stamp, make: Callable[[Path], dict[str, File]]) -> dict[str, File]:
        def in_folder() -> dict[str, File]:
            with tempfile.TemporaryDirectory() as folder:
                return make(Path(folder))

        return self._kept.get(stamped, in_folder)


def _only(data: FigureData, family: str) -> FigureData:
    """The same run with one probe family."""
    if family not in data.families:
        raise RunNotFoundError(f"{data.run} has no scores of {family!r}; it has {', '.join(data.families)}")
    return replace(data, rows=tuple(row for row in data.rows if row["family"] == family))
