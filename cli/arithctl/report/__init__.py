"""The report: runs in the ledger -> `ReportData` (`collect`) -> one page that opens anywhere (`page`).

The two halves are separate so that the dashboard can serve the same thing live: `fragment` gives the page's middle
without script and style, `data_script` the data that the scripts read, `ASSETS` the scripts and styles themselves.
"""

from arithctl.report.collect import POINTS, collect
from arithctl.report.data import ReportData, RunReport
from arithctl.report.render import ASSETS, SCRIPTS, STYLES, data_script, fragment, page

__all__ = [
    "ASSETS",
    "POINTS",
    "SCRIPTS",
    "STYLES",
    "ReportData",
    "RunReport",
    "collect",
    "data_script",
    "fragment",
    "page",
]
