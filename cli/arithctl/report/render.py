"""`ReportData` to HTML: tables for everybody, and scripts that draw the charts where they may run.

A page holds all it needs and may ask nobody: its Content-Security-Policy names the hashes of its own scripts and
forbids every connection. What users wrote (names of runs, recipes) goes through autoescape, or through JSON in which
`<`, `>` and `&` are written as escapes, so that no text can end the element that it stands in.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from arith_shared.ledger.tables import RUN_OVER
from arithctl.figures.captions import correlation
from arithctl.output.values import readable
from arithctl.report import tables
from arithctl.report.data import STATUSES, UNIT, ReportData

_HERE = Path(__file__).parent
#: Every file that a page needs beside its HTML, by the name under which a server may offer it.
ASSETS: Mapping[str, Path] = {
    "report.css": _HERE / "static" / "report.css",
    "echarts.min.js": _HERE / "vendor" / "echarts.min.js",
    "numbers.js": _HERE / "static" / "numbers.js",
    "charts.js": _HERE / "static" / "charts.js",
    "report.js": _HERE / "static" / "report.js",
}
STYLES = ("report.css",)
#: In the order in which they must run.
SCRIPTS = ("echarts.min.js", "numbers.js", "charts.js", "report.js")
#: What could end a script element, or a string of an old JavaScript.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def page(data: ReportData) -> str:
    """The whole page as one self-contained file."""
    scripts = [_asset(name) for name in SCRIPTS]
    return (
        _environment()
        .get_template("page.html")
        .render(
            data=data,
            body=fragment(data),
            data_script=data_script(data),
            styles=[Markup(_asset(name)) for name in STYLES],  # noqa: S704 - our own files
            scripts=[Markup(text) for text in scripts],  # noqa: S704 - our own files
            policy=_policy(scripts),
        )
    )


def fragment(data: ReportData) -> Markup:
    """The page's middle: one section per run, and one that compares them; no script, no style."""
    text = _environment().get_template("runs.html").render(data=data, tables=tables, over=RUN_OVER)
    return Markup(text)  # noqa: S704 - rendered with autoescape


def data_script(data: ReportData) -> Markup:
    """The element from which the scripts read their numbers; it is data, and no browser runs it."""
    runs = [
        {
            name: value
            for name, value in asdict(run).items()
            if name in ("id", "name", "grid", "scatters", "curve")
        }
        for run in data.runs
    ]
    text = json.dumps(
        {"unit": UNIT, "statuses": STATUSES, "runs": runs},
        ensure_ascii=False,
        separators=(",", ":"),
        allow_nan=False,
    )
    escaped = text.translate(_ESCAPES)
    return Markup(f'<script type="application/json" id="report-data">{escaped}</script>')  # noqa: S704 - escaped above


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "percent": _percent, "r": correlation}
    return environment


def _cell(value: Any) -> str:
    return readable(value, missing="\N{EN DASH}")


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


@cache
def _asset(name: str) -> str:
    return ASSETS[name].read_text(encoding="utf-8").strip()


def _policy(scripts: Iterable[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    # Styles: the charting library sets some on the elements that it makes.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
