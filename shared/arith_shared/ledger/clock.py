"""The database's clock: the only clock that decides liveness, so a worker's wrong time has no effect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function that it is
    """Seconds since 1970 by the database's clock, at the time of the statement."""

    inherit_cache = True
    type = Double()


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    # 2440587.5 is the Julian day of 1970-01-01; julianday() resolves milliseconds.
    return "((julianday('now') - 2440587.5) * 86400.0)"
