"""Answers that are files: tables in the words of `arithctl results`, figures to look at or to save."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from starlette.responses import Response

from arithctl.output import COLUMNS, write_rows

Download = Literal["csv", "json", "parquet"]
FigureFile = Literal["png", "svg", "pdf"]

_MIME = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
}


def written(rows: Sequence[Mapping[str, Any]], table: str, file: Download) -> bytes:
    """The rows as a file of this kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        write_rows(rows, COLUMNS[table], file, path)
        return path.read_bytes()


def attached(content: bytes, name: str, kind: str) -> Response:
    """A file to save."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=_MIME[kind], headers=headers)


def shown(content: bytes, stem: str, file: FigureFile, save: bool) -> Response:
    """A figure inside a page, or to save."""
    return attached(content, f"{stem}.{file}", file) if save else Response(content, media_type=_MIME[file])
