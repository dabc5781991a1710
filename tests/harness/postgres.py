"""A PostgreSQL server of the tests' own: the benches' one."""

from bench.servers import Postgres, programs

__all__ = ["Postgres", "programs"]
